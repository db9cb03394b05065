from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubelb_common.kube.errors import Forbidden, Gone, ServerError, Unreachable
from kubelb_common.kube.port import Object, ObjectList, WatchEvent
from kubelb_common.kube.resources import CONFIG_MAPS, ROUTES
from kubelb_common.runtime.backoff import Backoff
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.loss import hold_if_went_back
from kubelb_common.testing.fake_kube import FakeKube

pytestmark = pytest.mark.looptime

STEADY = Backoff(base=0.2, cap=30)


class Seen:
    """An informer that runs, and every change it told, as short text."""

    def __init__(self, kube: Any, **options: Any) -> None:
        self.informer = Informer(kube, options.pop("resource", CONFIG_MAPS), backoff=STEADY, **options)
        self.changes: list[str] = []
        self.informer.on_change(self._note)

    def _note(self, change: Change) -> None:
        match change:
            case Change(None, dict(new)):
                text = f"+{new['metadata']['name']}"
            case Change(dict(old), None):
                text = f"-{old['metadata']['name']}"
            case Change(_, new):
                assert new is not None
                text = f"~{new['metadata']['name']}"
        obj = change.new or change.old
        assert obj is not None
        stored = self.informer.store.get(obj["metadata"].get("namespace"), obj["metadata"]["name"])
        assert stored is change.new, "a handler saw a change that the store does not have"
        self.changes.append(text)

    def take(self) -> list[str]:
        taken, self.changes = self.changes, []
        return taken

    def names(self) -> list[str]:
        return [obj["metadata"]["name"] for obj in self.informer.store.list()]


@asynccontextmanager
async def following(seen: Seen) -> AsyncIterator[Seen]:
    task = asyncio.create_task(seen.informer.run())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def put(kube: FakeKube, *names: str, value: str = "") -> None:
    for name in names:
        metadata = {"name": name, "namespace": "default"}
        kube.put(CONFIG_MAPS, {"metadata": metadata, "data": {"v": value}})


def remove(kube: FakeKube, name: str) -> None:
    kube.store.delete(CONFIG_MAPS, name, "default", uid=None, resource_version=None, propagation="Background")


async def cut(kube: FakeKube) -> None:
    """Break the watches and return while the informer waits before it comes back."""
    kube.break_watches()
    await asyncio.sleep(0.05)


async def settle(seconds: float = 1.5) -> None:
    await asyncio.sleep(seconds)


async def test_lists_then_follows() -> None:
    kube = FakeKube()
    put(kube, "a", "b")
    async with following(Seen(kube)) as seen:
        assert not seen.informer.synced
        await seen.informer.wait_synced()
        assert seen.take() == ["+a", "+b"]
        await settle()
        put(kube, "c", value="1")
        put(kube, "a", value="2")
        remove(kube, "b")
        await settle()
        assert seen.take() == ["+c", "~a", "-b"]
        assert seen.names() == ["a", "c"]


async def test_a_broken_watch_resumes_without_a_gap_and_without_a_list() -> None:
    kube = FakeKube()
    put(kube, "a", "b")
    async with following(Seen(kube)) as seen:
        await settle()
        seen.take()
        await cut(kube)
        put(kube, "c")
        remove(kube, "a")
        await settle()
        assert seen.take() == ["+c", "-a"]
        assert [request.verb for request in kube.requests()] == ["list", "watch", "watch"]


async def test_a_watch_that_ends_is_opened_again_at_once() -> None:
    kube = FakeKube()
    async with following(Seen(kube)) as seen:
        await settle()
        kube.end_watches()
        put(kube, "c")
        await settle(0.01)
        assert seen.take() == ["+c"]


async def test_gone_lists_again_and_tells_the_differences_once() -> None:
    kube = FakeKube()
    put(kube, "changed", "gone", "same")
    async with following(Seen(kube)) as seen:
        await settle()
        seen.take()
        await cut(kube)
        put(kube, "changed", value="2")
        remove(kube, "gone")
        put(kube, "new")
        kube.expire_history()
        await settle()
        assert seen.take() == ["-gone", "~changed", "+new"]
        assert seen.names() == ["changed", "new", "same"]
        put(kube, "later")
        await settle()
        assert seen.take() == ["+later"]


async def test_a_failed_list_leaves_the_store_as_it_is() -> None:
    kube = FakeKube()
    put(kube, "a", "b")
    async with following(Seen(kube)) as seen:
        await settle()
        seen.take()
        kube.fail_next("list", CONFIG_MAPS, ServerError(500, "", "ill"), times=5)
        await cut(kube)
        remove(kube, "a")
        kube.expire_history()
        await settle(2)
        assert seen.take() == []
        assert seen.names() == ["a", "b"]
        assert seen.informer.synced
        await settle(60)
        assert seen.take() == ["-a"]


async def test_an_api_server_that_is_away_changes_nothing() -> None:
    kube = FakeKube()
    put(kube, "a")
    async with following(Seen(kube)) as seen:
        await settle()
        seen.take()
        kube.stop()
        await settle(600)
        assert seen.take() == []
        assert seen.names() == ["a"]
        put(kube, "b")
        kube.start()
        await settle(31)
        assert seen.take() == ["+b"]


async def test_reconnects_back_off_with_the_given_jitter_and_start_anew() -> None:
    kube = FakeKube()
    waits: list[float] = []

    def jitter(seconds: float) -> float:
        waits.append(seconds)
        return seconds

    seen = Seen(kube)
    seen.informer._backoff = Backoff(base=1, cap=4, jitter=jitter)
    async with following(seen):
        await settle()
        kube.fail_next("watch", CONFIG_MAPS, Forbidden(403, "", "no"), times=4)
        kube.break_watches()
        await settle(20)
        assert waits == [1, 2, 4, 4, 4]
        await settle(100)
        kube.break_watches()
        await settle()
        assert waits[5:] == [1]


async def test_bookmarks_move_the_place_to_resume_from() -> None:
    kube = FakeKube(history_limit=1)
    async with following(Seen(kube, namespace="default")) as seen:
        await settle()
        for number in range(3):
            kube.put(
                CONFIG_MAPS, {"metadata": {"name": "noise", "namespace": "kube-system"}, "data": {"n": str(number)}}
            )
        kube.send_bookmarks()
        await settle()
        kube.break_watches()
        await settle()
        assert [request.verb for request in kube.requests()] == ["list", "watch", "watch"]
        assert seen.take() == []


async def test_a_long_quiet_time_costs_no_list() -> None:
    kube = FakeKube()
    put(kube, "a")
    async with following(Seen(kube)) as seen:
        await settle(7200)
        assert seen.take() == ["+a"]
        verbs = [request.verb for request in kube.requests()]
        assert verbs.count("list") == 1
        assert 10 <= verbs.count("watch") <= 26


async def test_a_missing_optional_kind_is_empty_until_it_is_there() -> None:
    kube = FakeKube()
    kube.put(ROUTES, {"metadata": {"name": "r", "namespace": "default"}, "spec": {}})
    kube.hide(ROUTES)
    async with following(Seen(kube, resource=ROUTES, optional=True)) as seen:
        await asyncio.wait_for(seen.informer.wait_synced(), 1)
        assert seen.names() == []
        kube.show(ROUTES)
        await settle(31)
        assert seen.take() == ["+r"]


async def test_a_missing_needed_kind_is_waited_for() -> None:
    kube = FakeKube()
    kube.hide(ROUTES)
    async with following(Seen(kube, resource=ROUTES)) as seen:
        await settle(60)
        assert not seen.informer.synced
        kube.show(ROUTES)
        await settle(31)
        assert seen.informer.synced


async def test_a_kind_that_vanishes_invents_no_deletions() -> None:
    kube = FakeKube()
    kube.put(ROUTES, {"metadata": {"name": "r", "namespace": "default"}, "spec": {}})
    async with following(Seen(kube, resource=ROUTES, optional=True)) as seen:
        await settle()
        kube.expire_history()
        kube.hide(ROUTES)
        await settle(100)
        assert seen.names() == ["r"]


async def test_a_handler_that_raises_does_not_keep_the_change_from_others() -> None:
    kube = FakeKube()
    informer = Informer(kube, CONFIG_MAPS)
    told: list[str] = []

    def broken(_change: Change) -> None:
        raise RuntimeError("oops")

    informer.on_change(broken)
    informer.on_change(lambda change: told.append("seen"))
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    put(kube, "a")
    await settle()
    assert told == ["seen"]
    assert not task.done()
    task.cancel()


async def test_trim_and_selectors_are_applied() -> None:
    kube = FakeKube()
    kube.put(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default", "labels": {"x": "1"}}, "data": {"k": "v"}})
    put(kube, "b")

    def trim(obj: Object) -> Object:
        return {key: value for key, value in obj.items() if key != "data"}

    async with following(Seen(kube, trim=trim, namespace="default", label_selector="x=1")) as seen:
        await settle()
        assert seen.names() == ["a"]
        assert "data" not in seen.informer.store.list()[0]
        await kube.patch(CONFIG_MAPS, "a", {"metadata": {"labels": None}}, "default")
        await settle()
        assert seen.names() == []


class Rewound:
    """A client whose answers are written down beforehand, for storages that go back in time."""

    def __init__(self, *lists: ObjectList, events: Callable[[], list[WatchEvent]] = list) -> None:
        self.lists = list(lists)
        self.asked = 0
        self.watches = 0
        self._events = events

    async def list(self, *_args: Any, **_options: Any) -> ObjectList:
        self.asked += 1
        return self.lists[min(self.asked, len(self.lists)) - 1]

    @asynccontextmanager
    async def watch(
        self, *_args: Any, timeout_seconds: int, **_options: Any
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        self.watches += 1

        async def events() -> AsyncIterator[WatchEvent]:
            await asyncio.sleep(timeout_seconds)
            for event in self._events():
                yield event
            if self.asked < len(self.lists):
                raise Gone(410, "Expired", "old")

        yield events()


def listed(version: str, *names: str) -> ObjectList:
    return ObjectList([{"metadata": {"name": name, "resourceVersion": "5", "uid": name}} for name in names], version)


async def test_a_sudden_loss_is_held_while_the_storage_is_in_the_past() -> None:
    client = Rewound(listed("1000", "a", "b"), listed("40", "b"), listed("41", "b", "c"), listed("1001", "b", "c"))
    async with following(Seen(client, watch_timeout=lambda: 100)) as seen:
        await settle(50)
        assert seen.take() == ["+a", "+b"]
        await settle(60)
        assert seen.names() == ["a", "b"]
        assert [key.name for key in seen.informer.held] == ["a"]
        assert seen.take() == []
        await settle(30)  # a held loss is looked at again every 30 s
        assert seen.take() == ["+c"]
        assert seen.names() == ["a", "b", "c"]
        await settle(31)
        assert seen.take() == ["-a"]
        assert not seen.informer.held


async def test_an_empty_list_with_good_evidence_is_obeyed() -> None:
    client = Rewound(listed("1000", "a", "b"), listed("1001"))
    async with following(Seen(client, watch_timeout=lambda: 100)) as seen:
        await settle(150)
        assert seen.take() == ["+a", "+b", "-a", "-b"]


async def test_a_held_object_that_the_server_names_again_is_live() -> None:
    lists = [listed("1000", "a"), listed("40")]
    gone = {"metadata": {"name": "a", "resourceVersion": "42", "uid": "a"}}
    steps = iter([[], [WatchEvent("ADDED", gone), WatchEvent("DELETED", gone)]])
    client = Rewound(*lists, events=lambda: next(steps, []))
    async with following(Seen(client, watch_timeout=lambda: 100)) as seen:
        await settle(110)
        assert seen.informer.held
        await settle(30)
        assert seen.take() == ["+a", "~a", "-a"]


async def test_a_bookmark_from_the_past_leads_to_a_list() -> None:
    back = WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "40"}})
    steps = iter([[back]])
    client = Rewound(listed("1000", "a"), events=lambda: next(steps, []))
    client.lists = [listed("1000", "a")]
    async with following(Seen(client, watch_timeout=lambda: 100)) as seen:
        await settle(50)
        client.lists = [listed("41", "b")]
        await settle(60)
        assert seen.names() == ["a", "b"]
        assert [key.name for key in seen.informer.held] == ["a"]


async def test_a_server_that_ends_every_watch_at_once_is_not_asked_in_a_busy_loop() -> None:
    client = Rewound(listed("1", "a"))
    async with following(Seen(client, watch_timeout=lambda: 0)):
        await settle(60)
    assert client.watches < 12


async def test_a_server_that_forgets_every_version_is_not_asked_in_a_busy_loop() -> None:
    lists = [listed(str(number), "a") for number in range(100)]
    client = Rewound(*lists)
    async with following(Seen(client, watch_timeout=lambda: 0)):
        await settle(60)
    assert client.watches < 12


@pytest.mark.parametrize(
    ("highest", "now", "held"),
    [("1000", "999", True), ("1000", "1000", False), ("999", "1000", False), ("", "5", False), ("x", "5", False)],
)
def test_evidence_is_a_lower_version(highest: str, now: str, held: bool) -> None:
    assert hold_if_went_back([{}], highest=highest, listed=now) is held


async def test_unreachable_at_the_start_is_tried_again() -> None:
    kube = FakeKube()
    put(kube, "a")
    kube.fail_next("list", CONFIG_MAPS, Unreachable("down"), times=3)
    async with following(Seen(kube)) as seen:
        await asyncio.wait_for(seen.informer.wait_synced(), 5)
        assert seen.take() == ["+a"]
