"""Reads see this process's own writes while the watch has not brought them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import CONFIG_MAPS
from kubelb_common.runtime.backoff import Backoff
from kubelb_common.runtime.fresh import Fresh
from kubelb_common.runtime.informer import Informer
from kubelb_common.testing.fake_kube import FakeKube

pytestmark = pytest.mark.looptime

HOLD = "kubelb.k8c.io/hold"


class Blind:
    """One object under a Fresh whose watch can be cut for some seconds."""

    def __init__(self, seconds: float) -> None:
        self.kube = FakeKube()
        self.informer = Informer(self.kube, CONFIG_MAPS, backoff=Backoff(base=seconds, cap=seconds))
        self.fresh = Fresh(self.informer)

    async def cut(self) -> None:
        await asyncio.sleep(1.5)
        self.kube.break_watches()
        await asyncio.sleep(0.05)

    async def sees_again(self) -> None:
        await asyncio.sleep(6)

    def get(self) -> Object | None:
        return self.fresh.get("default", "a")

    def value(self) -> str | None:
        found = self.get()
        return None if found is None else found["data"]["v"]

    async def create(self, value: str, *finalizers: str) -> Object:
        body = {"metadata": {"name": "a", "finalizers": list(finalizers)}, "data": {"v": value}}
        return self.fresh.note(await self.kube.create(CONFIG_MAPS, body, "default"))

    async def write(self, value: str) -> Object:
        return self.fresh.note(await self.kube.patch(CONFIG_MAPS, "a", {"data": {"v": value}}, "default"))

    async def delete(self) -> None:
        """Delete as a controller does: what it knows is what it asks to go."""
        known = self.get()
        assert known is not None
        await self.kube.delete(CONFIG_MAPS, "a", "default")
        self.fresh.note_gone(known)


@asynccontextmanager
async def blind(seconds: float = 5) -> AsyncIterator[Blind]:
    made = Blind(seconds)
    task = asyncio.create_task(made.informer.run())
    try:
        await made.informer.wait_synced()
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_write_is_read_before_the_watch_brings_it() -> None:
    async with blind() as world:
        await world.create("1")
        await world.cut()
        await world.write("2")
        assert world.informer.store.list()[0]["data"]["v"] == "1"
        assert world.value() == "2"
        await world.sees_again()
        assert world.get() is world.informer.store.list()[0]


async def test_a_creation_is_read_before_the_watch_brings_it() -> None:
    async with blind() as world:
        await world.cut()
        await world.create("1")
        assert world.informer.store.list() == []
        assert world.value() == "1"


async def test_a_newer_state_from_the_watch_wins() -> None:
    async with blind() as world:
        await world.create("1")
        await world.cut()
        await world.write("2")
        await world.kube.patch(CONFIG_MAPS, "a", {"data": {"v": "theirs"}}, "default")
        assert world.value() == "2"
        await world.sees_again()
        assert world.value() == "theirs"


async def test_a_write_is_not_believed_for_ever() -> None:
    async with blind(60) as world:
        await world.create("1")
        await world.cut()
        await world.write("2")
        await asyncio.sleep(11)
        assert world.value() == "1"


async def test_an_object_that_was_asked_to_go_counts_as_gone() -> None:
    async with blind() as world:
        made = await world.create("1")
        await world.cut()
        await world.delete()
        assert world.informer.store.list() != []
        assert world.get() is None
        assert world.fresh.is_going(made)
        await world.sees_again()
        assert world.get() is None
        assert not world.fresh.is_going(made)


async def test_an_object_that_goes_slowly_is_seen_as_soon_as_the_watch_tells() -> None:
    async with blind() as world:
        made = await world.create("1", HOLD)
        await world.cut()
        await world.delete()
        assert world.get() is None
        await world.sees_again()
        found = world.get()
        assert found is not None
        assert found["metadata"]["deletionTimestamp"]
        assert not world.fresh.is_going(made)


async def test_what_was_written_before_the_deletion_does_not_bring_it_back() -> None:
    async with blind() as world:
        seen: list[Object | None] = []
        await world.create("1")
        await world.cut()
        world.informer.on_change(lambda _change: seen.append(world.get()))
        await world.write("2")
        await world.delete()
        await world.sees_again()
        assert seen == [None, None]


async def test_letting_go_of_the_last_finalizer_is_the_end() -> None:
    async with blind() as world:
        await world.create("1", HOLD)
        await world.kube.delete(CONFIG_MAPS, "a", "default")
        await world.cut()
        assert world.value() == "1"
        patch = {"metadata": {"finalizers": None}}
        world.fresh.note(await world.kube.patch(CONFIG_MAPS, "a", patch, "default"))
        assert world.informer.store.list() != []
        assert world.get() is None


async def test_an_object_of_the_same_name_is_another_one() -> None:
    async with blind() as world:
        await world.create("1")
        await world.cut()
        await world.delete()
        again = await world.create("2")
        assert world.value() == "2"
        assert not world.fresh.is_going(again)
        await world.sees_again()
        assert world.value() == "2"


async def test_somebody_elses_object_of_the_same_name_was_not_asked_to_go() -> None:
    async with blind(2) as world:
        made = await world.create("1")
        await world.cut()
        await world.delete()
        theirs = await world.kube.create(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"v": "3"}}, "default")
        assert world.fresh.is_going(made)
        assert not world.fresh.is_going(theirs)
        world.kube.expire_history()  # a list shows the new object in the place of the old one
        await world.sees_again()
        assert world.value() == "3"


async def test_an_answer_that_comes_after_the_end_of_its_object_is_not_remembered() -> None:
    """The watch can be faster than the answer to a write."""
    async with blind() as world:
        await world.create("1")
        answer = await world.kube.patch(CONFIG_MAPS, "a", {"data": {"v": "2"}}, "default")
        await world.kube.delete(CONFIG_MAPS, "a", "default")
        await asyncio.sleep(1)
        world.fresh.note(answer)
        assert world.get() is None


async def test_only_the_echo_of_a_write_is_one() -> None:
    async with blind() as world:
        echoes: list[bool] = []
        world.informer.on_change(lambda change: echoes.append(world.fresh.is_echo(change)))
        await world.create("1")
        await asyncio.sleep(1)
        await world.write("2")
        await world.kube.patch(CONFIG_MAPS, "a", {"data": {"v": "theirs"}}, "default")
        await asyncio.sleep(1)
        assert echoes == [True, True, False]
