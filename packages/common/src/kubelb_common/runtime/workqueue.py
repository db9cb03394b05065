"""De-duplicating work queue with delayed adds and per-key back-off.

What can happen to a key, and in which order
--------------------------------------------
A key is *waiting* (due, no worker has it), *handled* (a worker has it), *delayed* (a timer will make it waiting),
or none of these. `add` makes it waiting; if it is waiting already, nothing happens, because one handling sees the
newest state and so serves every event before it. If it is handled now, the add is remembered and the key becomes
waiting when the worker calls `done`: the handling may have read the state before the event. Keys belong to groups,
which take turns: `get` hands out the key that waited longest of the group whose turn it is, so a group of ten thousand
waiting keys delays another group's key by one handling, not by ten thousand. A delayed key may be waiting or handled as
well; of several delays the earliest due time wins, and a key that is handed out for another reason keeps its timer.

A key may be told to *rest* (`rest`): it is handed out again when its rest is over, whoever adds it.

What may never happen
---------------------
* A key is handled by two workers at once.
* An add is lost: after each `add` a handling begins that had not begun before it; after each `add_after` one
  begins at or after the earliest due time asked for.
* A worker that is cancelled while it waits in `get` takes a key with it.

Everything runs on one event loop. Nothing polls: `add` wakes a waiting worker in the same turn of the loop.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from kubelb_common.runtime.backoff import Backoff

K = TypeVar("K", bound=Hashable)

RECONCILE_BACKOFF = Backoff(base=0.005, cap=30.0)


def _nothing(_waited: float) -> None: ...


def _one_group(_key: Hashable) -> Hashable:
    return None


class _Turns(Generic[K]):
    """Keys in groups; groups take turns, and within a group the first key comes first."""

    __slots__ = ("_count", "_group_of", "_groups")

    def __init__(self, group_of: Callable[[K], Hashable]) -> None:
        self._group_of = group_of
        self._groups: OrderedDict[Hashable, deque[K]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, key: K) -> None:
        self._groups.setdefault(self._group_of(key), deque()).append(key)
        self._count += 1

    def take(self) -> K:
        group, keys = self._groups.popitem(last=False)
        key = keys.popleft()
        if keys:
            self._groups[group] = keys
        self._count -= 1
        return key


class _Waiting(asyncio.Queue[K]):
    """A queue of asyncio over `_Turns`, by the hooks that its own LIFO and priority queues use."""

    def __init__(self, group_of: Callable[[K], Hashable]) -> None:
        self._turns = _Turns(group_of)
        super().__init__()

    def _put(self, item: K) -> None:
        self._turns.put(item)

    def _get(self) -> K:
        return self._turns.take()

    def qsize(self) -> int:
        return len(self._turns)

    def empty(self) -> bool:
        return not self._turns


class WorkQueue(Generic[K]):
    """Keys to handle, each by one worker at a time.

    Args:
        backoff: delays for `retry`, by the failures in a row of that key.
        group_of: the group of a key; all keys are one group if it is not given.
        on_depth: told how many keys wait whenever that changes.
        on_wait: told how many seconds a key waited when it is handed out.
    """

    def __init__(
        self,
        backoff: Backoff = RECONCILE_BACKOFF,
        *,
        group_of: Callable[[K], Hashable] = _one_group,
        on_depth: Callable[[int], object] = _nothing,
        on_wait: Callable[[float], object] = _nothing,
    ) -> None:
        self._backoff = backoff
        self._on_depth = on_depth
        self._on_wait = on_wait
        self._waiting = _Waiting(group_of)
        self._since: dict[K, float] = {}  # keys that wait, and since when
        self._handled: dict[K, bool] = {}  # keys with a worker, and whether they were added again meanwhile
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []  # a heap; entries that `_due` does not confirm are stale
        self._sequence = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._failures: dict[K, int] = {}
        self._resting: dict[K, float] = {}  # until when
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """Return how many keys wait for a worker now."""
        return len(self._since)

    def add(self, key: K) -> None:
        """Have the key handled as soon as a worker is free, and its rest, if it has one, is over."""
        if key in self._handled:
            self._handled[key] = True
        elif (until := self._resting.get(key, 0.0)) > _now():
            self.add_after(key, until - _now())
        elif key not in self._since:
            self._resting.pop(key, None)
            self._since[key] = _now()
            self._waiting.put_nowait(key)
            self._idle.clear()
            self._on_depth(len(self._since))

    def add_after(self, key: K, seconds: float) -> None:
        """Have the key handled after so many seconds; an earlier due time that is set already stays."""
        if seconds <= 0:
            self.add(key)
            return
        due = _now() + seconds
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._timers, (due, self._sequence, key))
        self._set_alarm()

    def retry(self, key: K, *, at_least: float = 0.0, at_once: bool = False) -> float:
        """Count a failure and have the key handled after its back-off.

        Args:
            key: what failed.
            at_least: seconds the other side asked to wait.
            at_once: count the failure but do not wait for it.

        Returns:
            The delay in seconds.
        """
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = 0.0 if at_once else max(at_least, self._backoff.delay(self._failures[key]))
        self.add_after(key, delay)
        return delay

    def rest(self, key: K, seconds: float) -> None:
        """Hand out the key, which is being handled, not before so many seconds from now."""
        if seconds > 0:
            self._resting[key] = _now() + seconds

    def failures(self, key: K) -> int:
        """Return how often the key failed in a row."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """Start the key's back-off from the beginning."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for a key and take it; the taker must call `done` with it."""
        key = await self._waiting.get()
        self._on_wait(_now() - self._since.pop(key))
        self._handled[key] = False
        self._on_depth(len(self._since))
        return key

    def done(self, key: K) -> None:
        """Give a key back; if it was added meanwhile it waits again."""
        again = self._handled.pop(key)
        if again:
            self.add(key)
        elif not self._since and not self._handled:
            self._idle.set()

    @property
    def is_idle(self) -> bool:
        """Whether no key waits or is handled; delayed keys do not count."""
        return self._idle.is_set()

    async def idle(self) -> None:
        """Wait until no key waits or is handled; delayed keys do not count."""
        await self._idle.wait()

    def close(self) -> None:
        """Drop the timers; keys that wait stay."""
        self._due.clear()
        self._timers.clear()
        self._set_alarm()

    def _set_alarm(self) -> None:
        while self._timers and self._due.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        due = self._timers[0][0] if self._timers else None
        if self._alarm is not None:
            if due == self._alarm.when():
                return
            self._alarm.cancel()
            self._alarm = None
        if due is not None:
            self._alarm = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        assert self._alarm is not None
        now = max(_now(), self._alarm.when())  # a loop may call a little early, by its clock's resolution
        self._alarm = None
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            if self._due.get(key) == due:
                del self._due[key]
                if self._resting.get(key, now) <= now:
                    self._resting.pop(key, None)
                self.add(key)
        self._set_alarm()


def _now() -> float:
    return asyncio.get_running_loop().time()
