"""Dialogues with one stream: what the client says, what it is told, in which order."""

from __future__ import annotations

import pytest

from kubelb_manager.delivery.messages import Snapshot
from kubelb_manager.delivery.stream import DeltaStream
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES, TYPES


class Dialogue:
    """A stream and what it said; `reply` answers what is open, oldest first."""

    def __init__(self, tools, stream: DeltaStream) -> None:
        self.tools = tools
        self.stream = stream
        self.open = []

    def ask(self, short: str, **fields) -> list[str]:
        return self._note(self.stream.on_request(self.tools.request(short, **fields)))

    def publish(self, generation: int, **kinds: str) -> list[str]:
        return self._note(self.stream.on_publish(self.tools.snapshot(generation, **kinds)))

    def reply(self, error: str | None = None, *, last: bool = False) -> list[str]:
        response = self.open.pop(-1 if last else 0)
        return self._note(self.stream.on_request(self.tools.ack(response, error)))

    def reply_all(self) -> list[str]:
        out = []
        while self.open:
            out += self.reply()
        return out

    def _note(self, responses) -> list[str]:
        self.open += responses
        return self.tools.said(responses)


@pytest.fixture
def talk(tools):
    def start(**kinds: str) -> Dialogue:
        return Dialogue(tools, DeltaStream(tools.snapshot(1, **kinds) if kinds else None))

    return start


@pytest.fixture
def settled(talk) -> Dialogue:
    """A client that has everything of generation 1: cluster a, listener http, its routes to a."""
    dialogue = talk(c="a", e="a", l="http", r="http")
    for short, names in (("c", ()), ("e", ("a",)), ("l", ()), ("r", ("http",))):
        dialogue.ask(short, subscribe=names)
    dialogue.reply_all()
    assert [dialogue.stream.acknowledged(url) for url in (CLUSTER, ENDPOINTS, LISTENER, ROUTES)] == [1] * 4
    return dialogue


def test_a_fresh_client(talk):
    d = talk(c="a b", e="a b", l="http", r="http")
    assert d.ask("c") == ["c +a +b"]
    assert d.ask("e", subscribe=("a", "b")) == ["e +a +b"]
    assert not d.stream.has_current(ENDPOINTS, "a")
    assert d.reply(last=True) == []
    assert d.stream.has_current(ENDPOINTS, "a")
    assert d.stream.acknowledged(CLUSTER) == 0
    assert d.ask("l") == ["l +http"]
    assert d.ask("r", subscribe=("http",)) == ["r +http"]
    assert d.reply_all() == []
    assert d.stream.acknowledged(CLUSTER) == d.stream.acknowledged(ROUTES) == 1


def test_nothing_is_said_before_the_first_publication(talk):
    d = talk()
    assert d.ask("c", initial_versions={"old": "1"}) == []
    assert d.ask("l", initial_versions={"http": "1"}) == []
    assert d.ask("r", subscribe=("http",), initial_versions={"http": "1"}) == []
    assert d.stream.acknowledged(CLUSTER) == 0
    assert d.publish(7, c="a", e="a", l="http", r="http@2") == ["c +a"]
    assert d.reply_all() == ["r +http@2", "c -old"]
    assert d.stream.acknowledged(LISTENER) == 7


def test_an_empty_fleet_is_an_answer(talk):
    d = talk(c="", l="")
    assert d.ask("c") == ["c"]
    assert d.ask("l") == ["l"]
    assert d.reply_all() == []
    assert d.stream.acknowledged(CLUSTER) == 1
    assert d.stream.acknowledged(ROUTES) == 1


def test_a_name_that_does_not_exist_is_an_answer(talk):
    d = talk(c="a", e="a")
    assert d.ask("e", subscribe=("a", "b")) == ["e +a -b"]
    d.reply()
    assert d.publish(2, c="a b", e="a b") == ["e +b"]


def test_what_the_client_has_is_not_sent(talk):
    d = talk(c="a b", e="a b", l="http", r="http")
    assert d.ask("c", initial_versions={"a": "1", "b": "1"}) == []
    assert d.ask("e", subscribe=("a", "b"), initial_versions={"a": "1", "b": "0"}) == ["e +b"]
    assert d.ask("l", initial_versions={"http": "1"}) == []
    assert d.ask("r", subscribe=("http",), initial_versions={"http": "1"}) == []
    assert d.stream.has_current(ENDPOINTS, "a")
    assert d.stream.acknowledged(ROUTES) == 1
    assert d.reply_all() == []


def test_types_differ_together_in_order(settled):
    assert settled.publish(2, c="a@2", e="a@2", l="http@2", r="http@2") == [
        "c +a@2",
        "e +a@2",
        "l +http@2",
        "r +http@2",
    ]


def test_routes_wait_until_new_clusters_are_taken(settled):
    assert settled.publish(2, c="a b", e="a@2 b", l="http@2", r="http@2") == ["c +b", "e +a@2"]
    assert settled.ask("e", subscribe=("b",)) == ["l +http@2", "r +http@2"]
    assert settled.reply(last=True) == []
    assert settled.reply() == []
    assert settled.reply() == ["e +b"]


def test_routes_wait_until_new_clusters_are_acknowledged(settled):
    """As above, for a client that acknowledges before it asks."""
    assert settled.publish(2, c="a b", e="a b", l="http", r="http@2") == ["c +b"]
    assert settled.reply() == ["r +http@2"]


def test_changes_during_a_flight_are_one_response(settled):
    assert settled.publish(2, c="a", e="a", l="http", r="http@2") == ["r +http@2"]
    assert settled.publish(3, c="a", e="a", l="http", r="http@3") == []
    assert settled.publish(4, c="a", e="a", l="http", r="http@4") == []
    assert settled.reply() == ["r +http@4"]
    assert settled.stream.acknowledged(ROUTES) == 2
    settled.reply()
    assert settled.stream.acknowledged(ROUTES) == 4


def test_there_and_back_during_a_flight(settled):
    settled.publish(2, c="a", e="a", l="http", r="http@2")
    settled.publish(3, c="a", e="a", l="http", r="http@3")
    settled.publish(4, c="a", e="a", l="http", r="http@2")
    assert settled.reply() == []
    assert settled.stream.acknowledged(ROUTES) == 4


def test_clusters_do_not_wait_for_each_other(settled):
    """Their acknowledgement waits for endpoints and health checks; others must not."""
    assert settled.publish(2, c="a b", e="a b", l="http", r="http") == ["c +b"]
    assert settled.publish(3, c="a b d", e="a b d", l="http", r="http") == ["c +d"]
    assert settled.ask("e", subscribe=("b", "d")) == ["e +b +d"]
    assert settled.reply(last=True) == []
    assert settled.publish(4, c="a b d", e="a b d", l="http", r="http@2") == ["r +http@2"]
    settled.reply(last=True)
    assert settled.stream.acknowledged(ROUTES) == 4
    assert settled.stream.acknowledged(CLUSTER) == 1
    settled.reply_all()
    assert settled.stream.acknowledged(CLUSTER) == 4


def test_routes_wait_for_clusters_that_could_not_be_sent(settled):
    names = "a"
    for generation in range(2, 2 + 32):
        names += f" n{generation}"
        assert settled.publish(generation, c=names, e=names, l="http", r="http") == [f"c +n{generation}"]
    names += " late"
    assert settled.publish(40, c=names, e=names, l="http", r="http@2") == []
    settled.ask("e", subscribe=tuple(names.split()))
    assert settled.reply() == ["c +late", "r +http@2"]


def test_a_cluster_goes_after_its_routes(settled):
    assert settled.publish(2, c="b", e="b", l="http", r="http@2") == ["c +b"]
    assert settled.stream.may_have(CLUSTER, "a")
    assert settled.reply() == ["r +http@2"]
    assert settled.reply() == ["c -a"]
    assert settled.stream.may_have(CLUSTER, "a")
    assert settled.reply() == ["e -a"]
    assert not settled.stream.may_have(CLUSTER, "a")
    assert settled.reply() == []
    assert settled.stream.acknowledged(CLUSTER) == settled.stream.acknowledged(ENDPOINTS) == 2


def test_endpoints_that_were_let_go_are_not_removed_too(settled):
    settled.publish(2, c="b", e="b", l="http", r="http@2")
    settled.reply()
    settled.reply()
    assert settled.ask("e", unsubscribe=("a",)) == []
    assert settled.reply() == []


def test_removal_does_not_starve_under_constant_change(settled):
    settled.publish(2, c="", e="", l="http", r="http@2")
    settled.publish(3, c="", e="", l="http", r="http@3")
    assert settled.reply() == ["r +http@3", "c -a"]


def test_a_cluster_that_comes_back_is_not_removed(settled):
    settled.publish(2, c="", e="", l="http", r="http@2")
    settled.publish(3, c="a", e="a", l="http", r="http")
    assert settled.reply_all() == ["r +http"]
    assert settled.stream.acknowledged(CLUSTER) == 3


def test_leftovers_wait_for_the_routes_of_this_stream(talk):
    d = talk(c="b", e="b", l="http", r="http@2")
    assert d.ask("c", initial_versions={"a": "1", "b": "1"}) == []
    assert d.ask("e", subscribe=("a", "b"), initial_versions={"a": "1", "b": "1"}) == []
    assert d.ask("l", initial_versions={"http": "1"}) == []
    assert d.ask("r", subscribe=("http",), initial_versions={"http": "1"}) == ["r +http@2"]
    assert d.reply() == ["c -a"]
    assert d.reply() == ["e -a"]


def test_leftovers_of_a_fleet_without_http(talk):
    d = talk(c="", l="")
    assert d.ask("c", initial_versions={"a": "1"}) == []
    assert d.ask("l", initial_versions={"tcp": "1"}) == ["l -tcp"]
    assert d.reply() == ["c -a"]


def test_a_changed_cluster_gets_its_endpoints_again(settled):
    assert settled.publish(2, c="a@2", e="a", l="http", r="http") == ["c +a@2", "e +a"]
    settled.reply_all()
    # New on this stream: the client will ask by itself.
    assert settled.publish(3, c="a@2 b", e="a b", l="http", r="http") == ["c +b"]


def test_a_changed_cluster_after_a_reconnect_gets_its_endpoints_again(talk):
    d = talk(c="a@2", e="a", l="http", r="http")
    assert d.ask("c", initial_versions={"a": "1"}) == ["c +a@2"]
    assert d.ask("e", subscribe=("a",), initial_versions={"a": "1"}) == ["e +a"]


def test_a_name_asked_for_again_is_sent_again(settled):
    assert settled.ask("e", unsubscribe=("a",)) == []
    assert settled.ask("e", subscribe=("a",)) == ["e +a"]
    settled.reply()
    assert settled.ask("e", subscribe=("a",)) == ["e +a"]


def test_a_subscription_with_an_acknowledgement(settled, tools):
    responses = settled.stream.on_publish(tools.snapshot(2, c="a b", e="a@2 b", l="http", r="http"))
    assert tools.said(responses) == ["c +b", "e +a@2"]
    both = tools.request("e", subscribe=("b",), nonce=responses[1].nonce)
    assert tools.said(settled.stream.on_request(both)) == ["e +b"]


def test_all_and_names_together(talk):
    d = talk(c="a b")
    assert d.ask("c", subscribe=("*", "x")) == ["c +a +b -x"]
    d.reply()
    assert d.ask("c", unsubscribe=("*",)) == []
    assert d.publish(2, c="a@2 b x") == ["c +x"]
    d.reply()
    assert d.ask("c", subscribe=("*",)) == ["c +a@2 +b"]


def test_a_refused_resource_is_not_sent_again_but_its_next_version_is(settled):
    settled.publish(2, c="a", e="a", l="http", r="http@2")
    assert settled.reply("missing ]") == []
    (nack,) = settled.stream.nacks()
    assert (nack.type_url, nack.names, nack.message, nack.generation) == (ROUTES, ("http",), "missing ]", 2)
    assert settled.stream.acknowledged(ROUTES) == 1
    assert settled.publish(3, c="a b", e="a b", l="http", r="http@2") == ["c +b"]
    assert settled.stream.nacks() == (nack,)
    settled.reply()
    assert settled.publish(4, c="a b", e="a b", l="http", r="http@4") == ["r +http@4"]
    settled.reply_all()
    assert settled.stream.nacks() == ()
    assert settled.stream.acknowledged(ROUTES) == 4


def test_a_refusal_is_over_when_the_old_version_is_served_again(settled):
    settled.publish(2, c="a", e="a", l="http", r="http@2")
    settled.reply("no")
    assert settled.publish(3, c="a", e="a", l="http", r="http") == []
    assert settled.stream.nacks() == ()
    assert settled.stream.acknowledged(ROUTES) == 3


def test_refused_routes_keep_the_cluster_they_name(settled):
    """The client goes on with its old routes, so their cluster stays."""
    settled.publish(2, c="b", e="b", l="http", r="http@2")
    assert settled.reply() == ["r +http@2"]
    assert settled.reply("no") == []
    assert settled.publish(3, c="b", e="b", l="http", r="http@3") == ["r +http@3"]
    assert settled.reply() == ["c -a"]


def test_a_refused_new_listener_keeps_no_cluster(settled):
    settled.publish(2, c="", e="", l="http new", r="http@2")
    assert settled.reply("port in use") == []
    assert settled.reply() == ["c -a"]


def test_a_refused_message_is_taken_apart(settled):
    assert settled.publish(2, c="a p q r s", e="a p q r s", l="http", r="http@2") == ["c +p +q +r +s"]
    assert settled.reply("bad") == ["c +p +q"]
    assert settled.stream.may_have(CLUSTER, "r")
    # While it is taken apart, what comes new waits, and so do routes that could name it.
    assert settled.publish(3, c="a p q r s t", e="a p q r s t", l="http", r="http@3") == []
    assert settled.reply() == ["c +r +s"]
    assert settled.reply("bad") == ["c +r"]
    assert settled.reply("r is bad") == ["c +s"]
    assert settled.reply() == ["c +t"]
    assert settled.reply() == ["r +http@3"]
    settled.reply_all()
    assert [(each.names, each.message) for each in settled.stream.nacks()] == [(("r",), "r is bad")]
    assert settled.stream.acknowledged(CLUSTER) == 1
    assert settled.stream.has_current(CLUSTER, "s")
    assert not settled.stream.may_have(CLUSTER, "r")


def test_a_listener_whose_port_was_held_is_sent_again_after_the_removal(settled):
    assert settled.publish(2, c="a", e="a", l="http second", r="http") == ["l +second"]
    assert settled.reply("duplicate address") == []
    assert settled.publish(3, c="a", e="a", l="second", r="http") == ["l -http"]
    assert settled.reply() == ["l +second"]
    settled.reply()
    assert settled.stream.nacks() == ()
    assert settled.stream.acknowledged(LISTENER) == 3


def test_a_refused_removal_is_not_repeated(settled):
    assert settled.publish(2, c="a", e="a", l="", r="") == ["l -http"]
    assert settled.reply("no") == []
    assert [each.names for each in settled.stream.nacks()] == [("http",)]


def test_a_foreign_nonce_acknowledges_nothing(settled, tools):
    settled.publish(2, c="a", e="a", l="http", r="http@2")
    assert settled.ask("r", nonce="other") == []
    assert settled.stream.acknowledged(ROUTES) == 1


def test_nothing_after_the_close(settled, tools):
    settled.stream.on_close()
    assert settled.publish(2, c="a b", e="a b", l="http", r="http@2") == []


def test_only_named_differences_are_looked_at(settled, tools):
    """The publisher says what differs, so that a change costs the same in a small and in a large table."""
    responses = settled.stream.on_publish(tools.snapshot(2, c="a@2", e="a", l="http", r="http@2"), {ROUTES: {"http"}})
    assert tools.said(responses) == ["r +http@2"]


@pytest.fixture
def tunnelled(talk) -> Dialogue:
    """A client that has everything of generation 1: cluster a, a listener, its extension that names a."""
    dialogue = talk(c="a", e="a", x="tcp:a", l="tcp:ecds")
    for short, names in (("c", ()), ("e", ("a",)), ("l", ()), ("x", ("tcp",))):
        dialogue.ask(short, subscribe=names)
    dialogue.reply_all()
    assert [dialogue.stream.acknowledged(url) for url in TYPES] == [1] * len(TYPES)
    return dialogue


def test_an_extension_is_told_before_listeners_when_its_cluster_was_taken(tunnelled):
    assert tunnelled.publish(2, c="a b", e="a b", x="tcp@2:b", l="tcp@2:ecds") == ["c +b"]
    assert tunnelled.ask("e", subscribe=("b",)) == ["e +b", "x +tcp@2:b", "l +tcp@2:ecds"]
    tunnelled.reply_all()
    assert tunnelled.stream.acknowledged(EXTENSIONS) == 2


def test_a_cluster_goes_when_no_extension_names_it_any_more(tunnelled):
    d = tunnelled
    d.publish(2, c="a b", e="a b", x="tcp:a", l="tcp:ecds")
    d.ask("e", subscribe=("b",))
    d.reply_all()
    assert d.publish(3, c="b", e="b", x="tcp@2:b", l="tcp:ecds") == ["x +tcp@2:b"]
    assert d.reply() == ["c -a"]


def test_an_extension_outlives_its_listener(tunnelled):
    assert tunnelled.publish(2, c="", e="") == ["l -tcp"]
    assert tunnelled.reply() == ["x -tcp"]
    assert tunnelled.reply() == ["c -a"]


def test_extensions_are_not_acknowledged_before_anybody_asked_for_them(talk):
    d = talk(c="a", e="a", x="tcp:a", l="tcp:ecds")
    for short, names in (("c", ()), ("e", ("a",)), ("l", ())):
        d.ask(short, subscribe=names)
    d.reply_all()
    assert d.stream.acknowledged(LISTENER) == 1
    assert d.stream.acknowledged(EXTENSIONS) == 0


def test_no_extension_while_only_clusters_are_known(tools, tunnelled):
    snapshot = Snapshot(2, tools.table(c="a@2", e="a", x="tcp@2:a", l=""), clusters_only=True)
    assert tools.said(tunnelled.stream.on_publish(snapshot)) == ["c +a@2", "e +a"]


def test_a_refused_extension_is_told_with_its_name(tunnelled):
    assert tunnelled.publish(2, c="a", e="a", x="tcp@2:a", l="tcp:ecds") == ["x +tcp@2:a"]
    assert tunnelled.reply(error="bad filter") == []
    assert [(nack.type_url, nack.names) for nack in tunnelled.stream.nacks()] == [(EXTENSIONS, ("tcp",))]
    assert tunnelled.stream.acknowledged(EXTENSIONS) == 1
