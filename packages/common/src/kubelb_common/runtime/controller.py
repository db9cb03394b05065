"""A controller: keys come from changes, a reconcile function makes the world match, errors come back later.

What can happen, and in which order
-----------------------------------
A change in a watched informer is mapped to keys, of the object before *and* after, so that an object which leaves
somebody's scope is seen by the one it leaves. Keys go through a `WorkQueue`: one key never has two reconciles at
once, changes during a reconcile lead to one more; namespaces take turns, so one with many changes delays no other by
more than a reconcile. A reconcile gets a key and nothing else; it reads the stores,
which are at least as new as the change that caused it. It may run at any time and twice in a row.

A reconcile ends in one of these ways:

* `DONE`: the key's back-off is forgotten.
* `Again(after)`: as DONE, and the key comes back after so many seconds.
* `Conflict` / `AlreadyExists`: somebody wrote in between, which is no fault; the key is tried again, the first time
  at once and then after milliseconds (the store must catch up), without error logs, and like any other error when
  it goes on.
* another `KubeError` or `Fault`: logged as a warning, tried again by back-off, not before the server's Retry-After.
* `Terminal`: trying again cannot help; logged once, and the next change of the object starts anew.
* anything else: a programming error; logged with its stack, counted, tried again by back-off. The worker goes on.

When `run` is cancelled no further key is handed out; reconciles that run get a grace to end before they are
cancelled. Keys that still wait are dropped, and so are all that come until `run` is called again: it begins with the
keys of every object that the controller watches. A controller that waits for its turn (`suspend`) does the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from kubelb_common.faults import Fault
from kubelb_common.kube.errors import ApiError, Conflict, KubeError
from kubelb_common.kube.port import Object
from kubelb_common.runtime import border
from kubelb_common.runtime.backoff import Backoff
from kubelb_common.runtime.clock import Clock, SystemClock
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.workqueue import RECONCILE_BACKOFF, WorkQueue
from kubelb_common.telemetry import logs, metrics

_log = logs.get(__name__)

QUIET_CONFLICTS = 5
GRACE_SECONDS = 10.0
#: A namespace has work while one of its keys was handled within so many seconds.
BUSY_SECONDS = 1.0
#: Longest rest of a key.
REST_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do until something changes."""


@dataclass(frozen=True, slots=True)
class Again:
    """Look again after so many seconds, whatever happens."""

    after: float


Result = Done | Again
DONE = Done()

Reconcile = Callable[[ObjectKey], Awaitable[Result]]
ToKeys = Callable[[Object], Iterable[ObjectKey]]
When = Callable[[Change], bool]


class Terminal(Exception):  # noqa: N818  # an outcome, not an accident
    """Trying again cannot help until the object changes; the text says what is wrong and what to do."""


def own_key(obj: Object) -> Iterable[ObjectKey]:
    """Map an object to its own key."""
    return (ObjectKey.of(obj),)


def owner_key(kind: str, *, namespaced: bool = True) -> ToKeys:
    """Return a mapping from an object to its controlling owner of this kind.

    Args:
        kind: the owner's kind; owners of other kinds, and references without `controller: true`, do not count.
        namespaced: False if the owner is cluster-scoped; otherwise it lives in the object's namespace.
    """

    def keys(obj: Object) -> Iterable[ObjectKey]:
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "") if namespaced else ""
        for reference in metadata.get("ownerReferences") or ():
            if reference.get("controller") and reference.get("kind") == kind:
                yield ObjectKey(namespace, reference["name"])

    return keys


def label_key(namespace_label: str, name_label: str) -> ToKeys:
    """Return a mapping from a copy to its origin, maybe in another cluster, by the labels that name it.

    An object without the name label maps to nothing; without the namespace label to a cluster-scoped origin.
    """

    def keys(obj: Object) -> Iterable[ObjectKey]:
        labels = obj["metadata"].get("labels") or {}
        if name := labels.get(name_label):
            yield ObjectKey(labels.get(namespace_label, ""), name)

    return keys


def _namespace(key: ObjectKey) -> str:
    return key.namespace


def always(_change: Change) -> bool:
    """Let every change through."""
    return True


class Controller:
    """Runs `reconcile` for keys, by several workers.

    Args:
        name: for logs and metrics; unique in the process.
        reconcile: makes the world match what the stores say of a key.
        workers: how many keys are handled side by side.
        clock: for durations.
        backoff: between failures of one key.
        hold: seconds that a change waits so that others join it; 0 hands it on in the same turn of the loop.
        grace: seconds that running reconciles get when the controller stops.
        on_start: called when a suspended controller starts; forgets what was only true before.
        share: of one worker's time, what a key may take while keys of other namespaces have work; it rests after
            each handling accordingly. For reconciles that block the loop: what others wait for needs its turns too.
    """

    def __init__(
        self,
        name: str,
        reconcile: Reconcile,
        *,
        workers: int = 1,
        clock: Clock | None = None,
        backoff: Backoff = RECONCILE_BACKOFF,
        hold: float = 0.0,
        grace: float = GRACE_SECONDS,
        on_start: Callable[[], None] | None = None,
        share: float = 1.0,
    ) -> None:
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._clock = clock or SystemClock()
        self._hold = hold
        self._grace = grace
        self._rest_ratio = 1 / share - 1
        self._handled_at: dict[str, float] = {}
        self._backoff = backoff
        self._on_start = on_start
        self._watched: list[tuple[Informer, ToKeys]] = []
        self._suspended = False
        self._queue = self._new_queue()
        self._busy: set[asyncio.Task[None]] = set()
        self._seconds = metrics.RECONCILE_SECONDS.labels(name)
        self._log = _log.bind(controller=name)

    def _new_queue(self) -> WorkQueue[ObjectKey]:
        depth = metrics.QUEUE_DEPTH.labels(self.name)
        depth.set(0)
        wait = metrics.QUEUE_SECONDS.labels(self.name)
        return WorkQueue(self._backoff, group_of=_namespace, on_depth=depth.set, on_wait=wait.observe)

    def watch(self, informer: Informer, to_keys: ToKeys = own_key, *, when: When = always) -> None:
        """Enqueue the keys of an informer's changes.

        Args:
            informer: where changes come from; may belong to another cluster than the keys.
            to_keys: keys of one object; asked for the object before and after.
            when: which changes count.
        """

        def on_change(change: Change) -> None:
            if not when(change):
                return
            keys = {key for obj in change if obj is not None for key in to_keys(obj)}
            for key in sorted(keys):
                self.enqueue(key, after=self._hold)

        self._watched.append((informer, to_keys))
        informer.on_change(on_change)

    def enqueue(self, key: ObjectKey, *, after: float = 0.0) -> None:
        """Have the key reconciled, now or after so many seconds; dropped while the controller is suspended."""
        if not self._suspended:
            self._queue.add_after(key, after)

    def suspend(self) -> None:
        """Take no keys until `run`, which then begins with everything that is watched."""
        self._suspended = True
        self._queue.close()
        self._queue = self._new_queue()

    def _resume(self) -> None:
        if not self._suspended:
            return
        self._suspended = False
        if self._on_start is not None:
            self._on_start()
        for informer, to_keys in self._watched:
            for obj in informer.store.list():
                for key in to_keys(obj):
                    self.enqueue(key)

    @property
    def is_idle(self) -> bool:
        """Whether no key waits or is being reconciled; keys that wait for a timer do not count."""
        return self._queue.is_idle

    async def idle(self) -> None:
        """Wait until no key waits or is being reconciled; keys that wait for a timer do not count."""
        await self._queue.idle()

    async def run(self) -> None:
        """Reconcile until cancelled; may be run again afterwards."""
        self._resume()
        workers = [asyncio.create_task(self._work(), name=f"{self.name}-{n}") for n in range(self._workers)]
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)  # unlike gather, passes no cancellation on
            for worker in workers:
                if worker.done():
                    worker.result()
        finally:
            await self._stop(workers)

    async def _stop(self, workers: list[asyncio.Task[None]]) -> None:
        self._queue.close()
        self._suspended = True
        for worker in workers:
            if worker not in self._busy:
                worker.cancel()
        busy = [worker for worker in workers if worker in self._busy]
        for worker in busy:
            self._busy.discard(worker)  # tells the worker to end after this key
        try:
            if busy:
                _, late = await asyncio.wait(busy, timeout=self._grace)
                if late:
                    self._log.warning("reconciles cancelled after their grace", count=len(late), grace=self._grace)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self.suspend()

    async def _work(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        while True:
            key = await self._queue.get()
            self._busy.add(me)
            began = asyncio.get_running_loop().time()
            try:
                await self._handle(key)
            finally:
                self._rest(key, began)
                self._queue.done(key)
            if me not in self._busy:
                return
            self._busy.discard(me)

    def _rest(self, key: ObjectKey, began: float) -> None:
        if not self._rest_ratio:
            return
        now = asyncio.get_running_loop().time()
        self._handled_at = {name: at for name, at in self._handled_at.items() if now - at < BUSY_SECONDS}
        if any(name != key.namespace for name in self._handled_at):
            self._queue.rest(key, min((now - began) * self._rest_ratio, REST_MAX))
        self._handled_at[key.namespace] = now

    async def _handle(self, key: ObjectKey) -> None:
        started = self._clock.monotonic()
        try:
            outcome = self._settle(key, await self._reconcile(key))
        except Conflict as error:
            outcome = self._conflict(key, error)
        except (KubeError, Fault) as error:
            outcome = self._failed(key, error)
        except Terminal as error:
            self._queue.forget(key)
            self._log.warning("reconcile gave up", key=str(key), error=str(error))
            outcome = "terminal"
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            outcome = self._bug(key, error)  # something inside was cancelled, not this worker
        except Exception as error:  # noqa: BLE001  # the supervisor's border: a worker never dies of one key
            outcome = self._bug(key, error)
        self._seconds.observe(self._clock.monotonic() - started)
        metrics.RECONCILES.labels(self.name, outcome).inc()

    def _settle(self, key: ObjectKey, result: Result) -> str:
        match result:
            case Done():
                self._queue.forget(key)
                return "done"
            case Again(after):
                self._queue.forget(key)
                self._queue.add_after(key, after)
                return "again"
        raise TypeError(f"reconcile of {self.name} returned {result!r} instead of DONE or Again")

    def _conflict(self, key: ObjectKey, error: Conflict) -> str:
        before = self._queue.failures(key)
        delay = self._queue.retry(key, at_once=before == 0)
        if before < QUIET_CONFLICTS:
            self._log.debug("reconcile meets a conflict", key=str(key), error=str(error))
        else:
            self._log.warning("reconcile conflicts again and again", key=str(key), error=str(error), retry_in=delay)
        return "conflict"

    def _failed(self, key: ObjectKey, error: Exception) -> str:
        wait = (error.retry_after if isinstance(error, ApiError) else None) or 0.0
        delay = self._queue.retry(key, at_least=wait)
        self._log.warning("reconcile failed", key=str(key), error=str(error), retry_in=round(delay, 3))
        return "error"

    def _bug(self, key: ObjectKey, error: BaseException) -> str:
        delay = self._queue.retry(key)
        border.report("reconcile", error, controller=self.name, key=str(key), retry_in=round(delay, 3))
        return "bug"


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
