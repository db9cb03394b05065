from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from kubelb_common.kube.errors import AlreadyExists, Conflict, Forbidden, TooManyRequests, Unreachable
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import CONFIG_MAPS
from kubelb_common.runtime.controller import DONE, Again, Controller, Reconcile, Result, Terminal, label_key, owner_key
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.telemetry import metrics
from kubelb_common.testing.fake_kube import FakeKube

pytestmark = pytest.mark.looptime

KEY = ObjectKey("ns", "web")


@asynccontextmanager
async def running(*parts: Controller | Informer) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Script:
    """A reconcile that does one thing after the other and remembers when."""

    def __init__(self, *outcomes: Result | BaseException) -> None:
        self.outcomes = list(outcomes)
        self.times: list[float] = []

    async def __call__(self, _key: ObjectKey) -> Result:
        self.times.append(asyncio.get_running_loop().time())
        outcome = self.outcomes.pop(0) if self.outcomes else DONE
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def gaps(self) -> list[float]:
        return [round(later - earlier, 3) for earlier, later in zip(self.times, self.times[1:], strict=False)]


def counted(controller: str, result: str) -> float:
    return (
        metrics.REGISTRY.get_sample_value("kubelb_reconcile_total", {"controller": controller, "result": result}) or 0.0
    )


async def play(name: str, *outcomes: Result | BaseException, seconds: float = 1000) -> Script:
    script = Script(*outcomes)
    controller = Controller(name, script)
    async with running(controller):
        controller.enqueue(KEY)
        await asyncio.sleep(seconds)
    return script


async def test_done_ends_it() -> None:
    assert len((await play("done")).times) == 1
    assert counted("done", "done") == 1


async def test_again_comes_back_after_its_time() -> None:
    assert (await play("again", Again(after=30))).gaps == [30]


async def test_a_conflict_is_tried_again_at_once_then_after_milliseconds() -> None:
    stale, there = Conflict(409, "Conflict", "x"), AlreadyExists(409, "AlreadyExists", "x")
    script = await play("conflict", stale, there, stale)
    assert script.gaps == [0, 0.01, 0.02]
    assert counted("conflict", "conflict") == 3


async def test_an_error_backs_off_and_success_starts_anew() -> None:
    down = Unreachable("down")
    script = await play("error", down, down, down, Again(after=1), down)
    assert script.gaps == [0.005, 0.01, 0.02, 1, 0.005]


async def test_retry_after_is_honoured() -> None:
    assert (await play("slow", TooManyRequests(429, "", "slow down", retry_after=7))).gaps == [7]


async def test_terminal_is_not_tried_again() -> None:
    assert (await play("terminal", Terminal("no such thing"))).gaps == []
    assert counted("terminal", "terminal") == 1


async def test_a_bug_is_counted_and_backs_off_and_the_worker_goes_on() -> None:
    before = metrics.REGISTRY.get_sample_value("kubelb_programming_errors_total", {"where": "reconcile"}) or 0
    script = await play("bug", ValueError("oops"), asyncio.CancelledError(), Forbidden(403, "", "no"))
    assert script.gaps == [0.005, 0.01, 0.02]
    assert counted("bug", "bug") == 2
    after = metrics.REGISTRY.get_sample_value("kubelb_programming_errors_total", {"where": "reconcile"})
    assert after == before + 2


async def test_a_wrong_result_is_a_bug() -> None:
    async def forgets_to_return(_key: ObjectKey) -> Result:
        return None  # type: ignore[return-value]

    controller = Controller("wrong", forgets_to_return)
    async with running(controller):
        controller.enqueue(KEY)
        await asyncio.sleep(0.001)
    assert counted("wrong", "bug") == 1


async def test_one_key_is_never_reconciled_twice_at_once() -> None:
    now_running: set[ObjectKey] = set()
    calls = 0

    async def reconcile(key: ObjectKey) -> Result:
        nonlocal calls
        assert key not in now_running
        now_running.add(key)
        calls += 1
        await asyncio.sleep(1)
        now_running.discard(key)
        return DONE

    controller = Controller("single", reconcile, workers=4)
    async with running(controller):
        for _ in range(10):
            controller.enqueue(KEY)
            controller.enqueue(ObjectKey("ns", "other"))
            await asyncio.sleep(0.1)
        await controller.idle()
    assert calls == 4
    assert counted("single", "bug") == 0


def slow(seconds: float, ended: list[str]) -> Reconcile:
    async def reconcile(_key: ObjectKey) -> Result:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        ended.append("complete")
        return DONE

    return reconcile


@pytest.mark.parametrize(("seconds", "expected", "took"), [(3, "complete", 2), (60, "cancelled", 10)])
async def test_a_stop_gives_running_reconciles_their_grace(seconds: float, expected: str, took: float) -> None:
    ended: list[str] = []
    controller = Controller("grace", slow(seconds, ended))
    task = asyncio.create_task(controller.run())
    controller.enqueue(KEY)
    controller.enqueue(ObjectKey("ns", "never"))
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ended == [expected]
    assert asyncio.get_running_loop().time() - began == pytest.approx(took)


def owned(name: str, *, owner: str, kind: str = "Deployment", controller: bool = True) -> Object:
    reference = {"kind": kind, "name": owner, "controller": controller}
    return {"metadata": {"name": name, "namespace": "ns", "ownerReferences": [reference]}}


def test_owner_key_takes_the_controlling_owner_of_the_kind() -> None:
    keys = owner_key("Deployment")
    assert list(keys(owned("x", owner="d"))) == [ObjectKey("ns", "d")]
    assert list(keys(owned("x", owner="d", kind="Other"))) == []
    assert list(keys(owned("x", owner="d", controller=False))) == []
    assert list(keys({"metadata": {"name": "x"}})) == []
    assert list(owner_key("Tenant", namespaced=False)(owned("x", owner="t", kind="Tenant"))) == [ObjectKey("", "t")]


def test_label_key_names_the_origin() -> None:
    keys = label_key("origin-ns", "origin-name")
    obj = {"metadata": {"name": "uid", "labels": {"origin-ns": "a", "origin-name": "b"}}}
    assert list(keys(obj)) == [ObjectKey("a", "b")]
    assert list(keys({"metadata": {"name": "uid", "labels": None}})) == []


Setup = Callable[[Controller, Informer], None]


async def seen_keys(kube: FakeKube, setup: Setup, act: Callable[[], Awaitable[object]], **options: float) -> list[str]:
    keys: list[str] = []

    async def reconcile(key: ObjectKey) -> Result:
        keys.append(str(key))
        return DONE

    informer = Informer(kube, CONFIG_MAPS)
    controller = Controller("keys", reconcile, **options)  # type: ignore[arg-type]
    setup(controller, informer)
    async with running(informer, controller):
        await informer.wait_synced()
        await asyncio.sleep(1)
        keys.clear()
        await act()
        await asyncio.sleep(10)
    return keys


async def test_an_object_that_changes_its_origin_wakes_both() -> None:
    kube = FakeKube()
    labels = {"ns": "t", "name": "old"}
    await kube.create(CONFIG_MAPS, {"metadata": {"name": "copy", "labels": labels}}, "default")

    async def act() -> None:
        await kube.patch(CONFIG_MAPS, "copy", {"metadata": {"labels": {"name": "new"}}}, "default")

    def setup(controller: Controller, informer: Informer) -> None:
        controller.watch(informer, label_key("ns", "name"))

    assert await seen_keys(kube, setup, act) == ["t/new", "t/old"]


async def test_when_filters_changes() -> None:
    kube = FakeKube()

    def deleted(change: Change) -> bool:
        return change.new is None

    async def act() -> None:
        await kube.create(CONFIG_MAPS, {"metadata": {"name": "x"}}, "default")
        await asyncio.sleep(1)
        assert kube.peek(CONFIG_MAPS, "x", "default")
        await kube.delete(CONFIG_MAPS, "x", "default")

    assert await seen_keys(kube, lambda c, i: c.watch(i, when=deleted), act) == ["default/x"]


async def test_hold_joins_changes() -> None:
    kube = FakeKube()

    async def act() -> None:
        await kube.create(CONFIG_MAPS, {"metadata": {"name": "x"}}, "default")
        for number in range(5):
            await asyncio.sleep(0.1)
            await kube.patch(CONFIG_MAPS, "x", {"data": {"n": str(number)}}, "default")

    assert await seen_keys(kube, lambda c, i: c.watch(i), act, hold=2.0) == ["default/x"]


class Loop:
    """Reconciles that block: while one of `greedy` runs, nothing else does; each of its ends brings the next."""

    def __init__(self, share: float) -> None:
        self.controller = Controller("loop", self.reconcile, share=share)
        self.greedy = True
        self.hops: list[float] = []
        self._free = asyncio.Lock()

    async def reconcile(self, key: ObjectKey) -> Result:
        async with self._free:
            await asyncio.sleep(0.1 if key.namespace == "greedy" else 0.001)
        if key.namespace == "greedy":
            return Again(0.0) if self.greedy else DONE
        self.hops.append(asyncio.get_running_loop().time())
        return DONE

    async def chain(self, count: int) -> float:
        """Return the seconds that `count` reconciles of a modest key take, each caused by the one before."""
        began = asyncio.get_running_loop().time()
        for number in range(count):
            self.controller.enqueue(ObjectKey("modest", "x"))
            while len(self.hops) <= number:
                async with self._free:  # what it waits for needs the loop as well
                    pass
                await asyncio.sleep(0.0005)
        return asyncio.get_running_loop().time() - began


async def test_a_greedy_key_leaves_the_loop_to_others() -> None:
    """Ten hops of another namespace: a share of a quarter costs them two or three of the greedy passes, not ten."""
    seconds = {}
    for share in (1.0, 0.25):
        loop = Loop(share)
        async with running(loop.controller):
            loop.controller.enqueue(ObjectKey("greedy", "x"))
            await asyncio.sleep(1)
            seconds[share] = await loop.chain(10)
            loop.greedy = False
    assert seconds[1.0] > 0.9
    assert seconds[0.25] < 0.35


async def test_a_greedy_key_that_is_alone_does_not_rest() -> None:
    loop = Loop(0.25)
    async with running(loop.controller):
        loop.controller.enqueue(ObjectKey("greedy", "x"))
        before = counted("loop", "again")
        await asyncio.sleep(10)
        assert counted("loop", "again") - before >= 99
