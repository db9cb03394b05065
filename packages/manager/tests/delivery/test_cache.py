"""Generations, who is told, and what a fleet's end means."""

from __future__ import annotations

import pytest

from kubelb_manager.delivery.cache import Cache, differences
from kubelb_manager.xds.resources import CLUSTER, ROUTES

FLEET = "tenant-a/shared"


class Peer:
    def __init__(self, tools, cache: Cache, pod: str = "pod", fleet: str = FLEET) -> None:
        self.tools, self.got, self.ended = tools, [], False
        self.session = cache.connect(fleet, pod, self.got.extend, self._end)

    def _end(self) -> None:
        self.ended = True

    def ask(self, short: str, **fields) -> list[str]:
        self.got.clear()
        self.session.on_request(self.tools.request(short, **fields))
        return self.tools.said(self.got)

    def reply(self, error: str | None = None) -> None:
        self.session.on_request(self.tools.ack(self.got.pop(0), error))


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_generations_only_grow_and_equal_tables_are_one(cache, tools):
    first = cache.publish(FLEET, tools.table(c="a"))
    peer = Peer(tools, cache)
    assert peer.ask("c") == ["c +a"]
    peer.got.clear()
    assert cache.publish(FLEET, tools.table(c="a")) == first
    assert peer.got == []
    second = cache.publish(FLEET, tools.table(c="a@2"))
    assert second > first
    assert tools.said(peer.got) == ["c +a@2"]
    cache.remove(FLEET)
    assert cache.publish(FLEET, tools.table(c="a@2")) > second


def test_fleets_are_apart(cache, tools):
    cache.publish(FLEET, tools.table(c="a"))
    other = Peer(tools, cache, fleet="tenant-b/shared")
    assert other.ask("c") == []
    cache.publish(FLEET, tools.table(c="a@2"))
    assert other.got == []
    cache.publish("tenant-b/shared", tools.table(c="b"))
    assert tools.said(other.got) == ["c +b"]


def test_a_removed_fleet_ends_its_streams(cache, tools):
    cache.publish(FLEET, tools.table(c="a"))
    peer = Peer(tools, cache)
    cache.remove(FLEET)
    assert peer.ended
    assert peer.ask("c") == []
    peer.session.close()
    assert cache.progress(FLEET).generation == 0
    cache.remove(FLEET)


def test_progress_is_told_after_the_responses(cache, tools):
    cache.publish(FLEET, tools.table(c="a", e="a"))
    seen = []
    peer = None
    cache.on_progress(lambda key: seen.append((key, tools.said(peer.got) if peer else None)))
    peer = Peer(tools, cache)
    assert seen == [(FLEET, None)]
    peer.ask("c")
    assert seen.pop() == (FLEET, ["c +a"])
    peer.reply("no")
    assert seen.pop()[0] == FLEET
    (stream,) = cache.progress(FLEET).streams
    assert [each.names for each in stream.nacks] == [("a",)]
    seen.clear()
    cache.publish(FLEET, tools.table(c="", e=""))
    assert seen == []
    peer.session.close()
    peer.session.close()
    assert len(seen) == 1
    assert cache.progress(FLEET).streams == ()


def test_a_handler_may_publish(cache, tools):
    cache.publish(FLEET, tools.table(c="a", e="a"))
    peer = Peer(tools, cache)
    peer.ask("c")
    cache.on_progress(lambda key: cache.publish(key, tools.table(c="a b", e="a b")))
    peer.session.on_request(tools.ack(peer.got[0]))
    assert tools.said(peer.got) == ["c +a", "c +b"]


def test_the_newer_stream_of_a_pod_counts(cache, tools):
    generation = cache.publish(FLEET, tools.table(c="a"))
    old, other = Peer(tools, cache), Peer(tools, cache, "pod-2")
    old.ask("c", initial_versions={"a": "1"})
    new = Peer(tools, cache)
    assert [each.pod for each in cache.progress(FLEET).streams] == ["pod", "pod-2"]
    assert cache.progress(FLEET).streams[0].acknowledged[CLUSTER] == 0
    new.ask("c", initial_versions={"a": "1"})
    assert cache.progress(FLEET).streams[0].acknowledged[CLUSTER] == generation
    old.session.close()
    assert [each.pod for each in cache.progress(FLEET).streams] == ["pod", "pod-2"]
    other.session.close()
    new.session.close()
    assert cache.progress(FLEET).streams == ()


def test_differences(tools):
    before = tools.table(c="a b", r="http")
    after = tools.table(c="a@2 d", r="http")
    assert differences(before, after) == {CLUSTER: {"a", "b", "d"}}
    assert differences({}, after) == {CLUSTER: {"a", "d"}, ROUTES: {"http"}}
    assert differences(after, after) == {}
