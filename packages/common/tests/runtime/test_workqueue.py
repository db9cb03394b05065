from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb_common.runtime.backoff import Backoff
from kubelb_common.runtime.workqueue import WorkQueue

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_adds_of_a_waiting_key_are_one_handling() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]


async def test_a_key_added_while_it_is_handled_waits_for_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(1)
    assert not second.done()
    queue.done("a")
    assert await second == "a"


async def test_done_without_an_add_leaves_nothing() -> None:
    queue: WorkQueue[str] = WorkQueue()
    assert queue.is_idle
    queue.add("a")
    assert not queue.is_idle
    key = await queue.get()
    assert not queue.is_idle
    queue.done(key)
    assert queue.is_idle
    await queue.idle()
    assert len(queue) == 0


async def test_the_earliest_of_several_delays_wins() -> None:
    queue: WorkQueue[str] = WorkQueue()
    began = now()
    for seconds in (30, 5, 60):
        queue.add_after("a", seconds)
    queue.add_after("b", 1)
    assert await queue.get() == "b"
    assert now() - began == pytest.approx(1)
    assert await queue.get() == "a"
    assert now() - began == pytest.approx(5)
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 100)


async def test_no_delay_is_an_add() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0)
    assert len(queue) == 1


async def test_retry_waits_longer_each_time_and_forget_starts_anew() -> None:
    queue: WorkQueue[str] = WorkQueue(Backoff(base=1, cap=5))
    assert [queue.retry("a") for _ in range(4)] == [1, 2, 4, 5]
    queue.forget("a")
    assert queue.retry("a") == 1
    assert queue.retry("b", at_least=20) == 20
    assert queue.retry("c", at_once=True) == 0
    assert queue.retry("c") == 2


async def test_back_off_never_overflows() -> None:
    assert Backoff(base=0.005, cap=30).delay(100_000) == 30


async def test_a_cancelled_waiter_takes_no_key_with_it() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"


async def test_an_idle_worker_has_the_key_in_the_next_turn_of_the_loop() -> None:
    queue: WorkQueue[str] = WorkQueue()
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    for _ in range(2):
        await asyncio.sleep(0)
    assert worker.done()


async def test_groups_take_turns() -> None:
    """A group with thousands of keys delays another group's key by one handling."""
    queue: WorkQueue[str] = WorkQueue(group_of=lambda key: key[0])
    for number in range(1000):
        queue.add(f"a{number}")
    assert await queue.get() == "a0"
    queue.add("b0")
    queue.add("b1")
    queue.add("c0")
    assert [await queue.get() for _ in range(7)] == ["a1", "b0", "c0", "a2", "b1", "a3", "a4"]
    assert len(queue) == 995


async def test_a_resting_key_comes_when_its_rest_is_over() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.rest("a", 3)
    queue.done("a")
    queue.add("b")
    began = now()
    assert await queue.get() == "b"
    queue.done("b")
    assert await queue.get() == "a"
    assert now() - began == pytest.approx(3)
    queue.done("a")
    queue.add("a")
    assert await queue.get() == "a"
    assert now() - began == pytest.approx(3), "one rest, not two"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=60))
def test_turns_are_fair_and_lose_nothing(adds: list[tuple[str, int]]) -> None:
    """Between two keys of a group that waits, each other group gets one at most; within a group order is kept."""

    async def scenario() -> list[tuple[str, int]]:
        queue: WorkQueue[tuple[str, int]] = WorkQueue(group_of=lambda key: key[0])
        for key in adds:
            queue.add(key)
        return [await queue.get() for _ in range(len(queue))]

    taken = asyncio.run(scenario())
    for group in "abc":
        assert [key for key in taken if key[0] == group] == list(dict.fromkeys(key for key in adds if key[0] == group))
        places = [place for place, key in enumerate(taken) if key[0] == group]
        assert all(later - earlier <= 3 for earlier, later in itertools.pairwise(places))


async def test_close_drops_timers() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 1)
    queue.close()
    await asyncio.sleep(10)
    assert len(queue) == 0


Step = tuple[str, str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "after", "pause", "cancel"]), st.sampled_from("abc"), st.integers(0, 4)),
    max_size=40,
)


class Workers:
    """Handles keys for random times and checks what may never happen."""

    def __init__(self, queue: WorkQueue[str], count: int, seconds: list[int]) -> None:
        self.queue = queue
        self.running: set[str] = set()
        self.begun: dict[str, list[float]] = {}
        self._seconds = seconds or [0]
        self._number = 0
        self.tasks = [asyncio.create_task(self._work()) for _ in range(count)]

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            assert key not in self.running, "two workers have one key"
            self.running.add(key)
            self.begun.setdefault(key, []).append(now())
            self._number += 1
            try:
                await asyncio.sleep(self._seconds[self._number % len(self._seconds)])
            finally:
                self.running.discard(key)
                self.queue.done(key)

    def replace_one(self, number: int) -> None:
        index = number % len(self.tasks)
        self.tasks[index].cancel()
        self.tasks[index] = asyncio.create_task(self._work())

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


@given(steps=STEPS, count=st.integers(1, 3), seconds=st.lists(st.integers(0, 3), max_size=5))
@settings(max_examples=150, deadline=None)
def test_no_add_is_lost_and_no_key_is_handled_twice_at_once(steps: list[Step], count: int, seconds: list[int]) -> None:
    with VirtualRunner() as runner:
        runner.run(random_walk(steps, count, seconds))


async def random_walk(steps: list[Step], count: int, seconds: list[int]) -> None:
    queue: WorkQueue[str] = WorkQueue()
    workers = Workers(queue, count, seconds)
    asked: dict[str, list[float]] = {}
    for step, key, number in steps:
        if step == "add":
            asked.setdefault(key, []).append(now())
            queue.add(key)
        elif step == "after":
            asked.setdefault(key, []).append(now())  # the earliest of several wins, so only this much is promised
            queue.add_after(key, number)
        elif step == "cancel":
            workers.replace_one(number)
        await asyncio.sleep(number * 0.5 if step == "pause" else 0)
    await asyncio.sleep(1000)
    for key, times in asked.items():
        assert workers.begun[key][-1] >= times[-1], f"{key} was not handled after its last add"
    await asyncio.wait_for(queue.idle(), 1)
    await workers.end()


class VirtualRunner(asyncio.Runner):
    """Runs a coroutine in virtual time; for Hypothesis, whose examples are not pytest's tests."""

    def __init__(self) -> None:
        super().__init__(loop_factory=VirtualLoop)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next timer when nothing is ready."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped = 0.0

    def time(self) -> float:
        return self._skipped

    def _run_once(self) -> None:
        live = [handle.when() for handle in self._scheduled if not handle.cancelled()]
        if not self._ready and live:
            self._skipped = max(self._skipped, min(live))
        super()._run_once()
