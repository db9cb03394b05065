"""A random walk of publications, answers, refusals, reconnects and restarts.

Whatever happens: the client never has a route to a cluster that it does not have, and once all is quiet
it has exactly what was published last, has acknowledged it, and a reconnect then sends nothing.
"""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from kubelb_manager.delivery.cache import Cache
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES, TYPES

FLEET = "tenant-a/shared"
REFUSED = "9"
NAMES = ("a", "b", "d")


@st.composite
def tables(draw, *, bad: bool = True) -> dict[str, str]:
    """The words of `tools.table`: every name that is used exists. Version 9 is refused; a cluster in it has no route."""
    versions = st.sampled_from(("1", "2"))
    maybe_bad = st.sampled_from(("1", "2", REFUSED)) if bad else versions
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    clusters = [f"{name}@{draw(versions)}" for name in names]
    endpoints = [f"{name}@{draw(versions)}" for name in names]
    if bad and draw(st.booleans()):
        clusters.append(f"z@{REFUSED}")
        endpoints.append("z")
    out = {"c": " ".join(clusters), "e": " ".join(endpoints), "x": "", "l": "", "r": ""}
    if draw(st.booleans()):
        to = draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        out["l"] = f"http@{draw(maybe_bad)}:rds"
        out["r"] = f"http@{draw(maybe_bad)}:{'+'.join(to)}"
    if names and draw(st.booleans()):
        out["l"] += f" udp@{draw(maybe_bad)}:{draw(st.sampled_from(names))}"
    if names and draw(st.booleans()):
        out["l"] += f" tcp@{draw(maybe_bad)}:ecds"
        out["x"] = f"tcp@{draw(maybe_bad)}:{draw(st.sampled_from(names))}"
    return out


class Walk:
    def __init__(self, tools) -> None:
        self.tools = tools
        self.cache = Cache()
        self.client = tools.Client(refuse=lambda each: each.version.startswith(REFUSED))
        self.inbox = []
        self.sent = 0
        self.served = None
        self.session = None
        self.connect()

    def publish(self, words: dict[str, str]) -> None:
        self.served = self.tools.table(**words)
        self.cache.publish(FLEET, self.served)

    def connect(self) -> None:
        if self.session is not None:
            self.session.close()
        self.inbox.clear()
        self.client.connect()
        self.session = self.cache.connect(FLEET, "pod", self._receive, lambda: None)

    def restart(self, words: dict[str, str] | None) -> None:
        """Another manager takes over, with the same content or with another, at once or before its first publication."""
        self.cache = Cache()
        if words is not None:
            self.publish(words)
        self.connect()
        if words is None and self.served is not None:
            self.cache.publish(FLEET, self.served)

    def deliver(self) -> None:
        if self.inbox:
            self.client.take(self.inbox.pop(0))
            assert self.client.routed_clusters() <= self.client.have[CLUSTER].keys()

    def answer(self) -> None:
        if self.client.outbox:
            self.session.on_request(self.client.outbox.pop(0))

    def drain(self) -> None:
        for _ in range(2000):
            if not self.inbox and not self.client.outbox:
                return
            self.answer()
            self.deliver()
        pytest.fail("the dialogue does not end")

    def _receive(self, responses) -> None:
        self.inbox += responses
        self.sent += len(responses)


steps = st.one_of(
    st.tuples(st.just("publish"), tables()),
    st.tuples(st.just("restart"), st.none() | tables()),
    st.tuples(st.sampled_from(("deliver", "answer", "deliver", "answer", "connect", "drain"))),
)


@given(st.lists(steps, max_size=40), tables(bad=False))
@settings(deadline=None, max_examples=200)
def test_walk(tools, walked, last):
    walk = Walk(tools)
    for name, *arguments in walked:
        getattr(walk, name)(*arguments)
    walk.publish(last)
    walk.drain()

    have = walk.client.have
    assert {url: dict(each) for url, each in walk.served.items()} == have
    progress = walk.cache.progress(FLEET)
    (stream,) = progress.streams
    assert stream.nacks == ()
    assert dict(stream.acknowledged) == dict.fromkeys(TYPES, progress.generation)
    assert all(stream.has_endpoints(name) and stream.may_have_cluster(name) for name in have[CLUSTER])
    assert not any(stream.may_have_cluster(name) for name in set(NAMES) - have[CLUSTER].keys())

    walk.sent = 0
    walk.restart(None)
    walk.drain()
    # What wildcards found empty is answered with nothing; whatever the client has is not sent.
    assert walk.sent == sum(not have[url] for url in (CLUSTER, LISTENER))
    assert have[ENDPOINTS].keys() == have[CLUSTER].keys()
    assert have[ROUTES].keys() <= have[LISTENER].keys()
    assert have[EXTENSIONS].keys() <= have[LISTENER].keys()
