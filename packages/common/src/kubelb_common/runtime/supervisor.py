"""Ordered start and stop of everything that runs in a process.

What happens, in which order
----------------------------
Start: early services (health) -> preparations, one after the other -> informers -> all informers synced ->
controllers and the other services -> leadership.
Stop: the leader's controllers, and the lease goes back -> controllers (no new keys; running reconciles get their
grace) -> services, the last one first -> informers -> early services. Each step is complete before the next begins,
so that a reconcile never runs against a store that nobody feeds, and health is told until the end.

Controllers that write where replicas must not both write are registered with `by_leader`. They start and stop with
the terms of the process's leadership (see `runtime.leader`) while caches and everything else stay; without a
leadership they are as any other controller.

A stop begins when SIGTERM or SIGINT comes, when `run` is cancelled, when `stop()` is called, or when a part
*crashes*: raises, or returns although it should run for ever. A crash is logged in one line (with its stack if it
was not foreseeable), everything else is stopped in order, and `run` raises `Crash`; `run_to_exit` makes that exit
code 1. A second signal, or a second cancellation, ends every grace at once.

What may never happen
---------------------
* An exception of one reconcile or handler ends the process: these are caught where they run (`runtime.border`).
* A part ends unnoticed while the rest goes on.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubelb_common.faults import Fault
from kubelb_common.kube.errors import KubeError
from kubelb_common.runtime import border
from kubelb_common.runtime.controller import Controller, Terminal
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.leader import Leadership
from kubelb_common.telemetry import logs

_log = logs.get(__name__)

Run = Callable[[], Awaitable[None]]
SERVICE_GRACE_SECONDS = 10.0
SYNC_REPORT_SECONDS = 10.0
#: For reconciles under way, and for giving the lease back.
LEADERSHIP_GRACE_SECONDS = 15.0


class Crash(Fault):
    """A part of the process ended that should run for ever; it was logged already."""


@dataclass(slots=True)
class _Part:
    name: str
    run: Run
    stop: Run | None = None
    grace: float = SERVICE_GRACE_SECONDS
    task: asyncio.Task[None] | None = None


class Supervisor:
    """Starts parts in order, watches them, stops them in the reverse order."""

    def __init__(self) -> None:
        self._informers: list[Informer] = []
        self._informer_parts: list[_Part] = []
        self._controllers: list[_Part] = []
        self._writers: list[_Part] = []
        self._leadership: list[_Part] = []
        self._preparations: list[_Part] = []
        self._services: list[_Part] = []
        self._early: list[_Part] = []
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._crash: Crash | None = None
        self._ready = False

    @property
    def ready(self) -> bool:
        """Whether all informers are synced, controllers and services were started, and no stop has begun."""
        return self._ready

    def informer(self, informer: Informer) -> Informer:
        """Register an informer and return it."""
        self._informers.append(informer)
        self._informer_parts.append(_Part(f"informer {informer.resource}", informer.run))
        return informer

    def controller(self, controller: Controller, *, by_leader: bool = False) -> Controller:
        """Register a controller and return it; with `by_leader` it runs while this process leads."""
        part = _Part(f"controller {controller.name}", controller.run, grace=float("inf"))
        if by_leader:
            controller.suspend()
        (self._writers if by_leader else self._controllers).append(part)
        return controller

    def lead_by(self, leadership: Leadership) -> None:
        """Have the controllers registered with `by_leader` run in the terms of `leadership`."""
        part = _Part("leadership", lambda: leadership.run(_Writers(self)), leadership.stop, LEADERSHIP_GRACE_SECONDS)
        self._leadership = [part]

    def prepare(self, name: str, step: Run) -> None:
        """Register what must be done before the informers start; it may wait for an API server, and be cancelled."""
        self._preparations.append(_Part(name, step))

    def service(
        self,
        name: str,
        run: Run,
        *,
        stop: Run | None = None,
        early: bool = False,
        grace: float = SERVICE_GRACE_SECONDS,
    ) -> None:
        """Register another long-running part.

        Args:
            name: for the logs.
            run: runs until cancelled, or until `stop` ends it.
            stop: asks the part to end by itself; without it the part is cancelled at once.
            early: start before the informers and stop last.
            grace: seconds that it gets to end after `stop` before it is cancelled.
        """
        (self._early if early else self._services).append(_Part(name, run, stop, grace))

    def unsynced(self) -> list[str]:
        """Return which kinds are not listed yet."""
        return [str(informer.resource) for informer in self._informers if not informer.synced]

    def stop(self) -> None:
        """Begin the ordered stop; a second call ends every grace."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self) -> None:
        """Start, run until a stop begins, and stop.

        Raises:
            Crash: a part crashed; everything else was stopped in order.
        """
        signals = self._catch_signals()
        try:
            await self._start()
            await self._stopping.wait()
        finally:
            self._ready = False
            self._stopping.set()
            try:
                await self._stop_all()
            finally:
                self._release_signals(signals)
        if self._crash:
            raise self._crash

    async def _start(self) -> None:
        self._begin(self._early)
        if not await self._prepared():
            return
        self._begin(self._informer_parts)
        if not await self._all_synced():
            return
        self._begin(self._controllers)
        self._begin(self._services)
        self._begin(self._leadership or self._writers)
        self._ready = True
        controllers = len(self._controllers) + len(self._writers)
        _log.info("started", controllers=controllers, informers=len(self._informers))

    async def _prepared(self) -> bool:
        """Take the preparations one after the other; False when a stop, or a crash, came first."""
        for part in self._preparations:
            part.task = asyncio.create_task(self._step(part), name=part.name)
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait((part.task, stopping), return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                part.task.cancel()
                await asyncio.gather(part.task, stopping, return_exceptions=True)
        return not self._stopping.is_set()

    async def _step(self, part: _Part) -> None:
        with self._watched(part):
            await part.run()

    def _begin(self, parts: list[_Part]) -> None:
        for part in parts:
            part.task = asyncio.create_task(self._guard(part), name=part.name)

    async def _guard(self, part: _Part) -> None:
        with self._watched(part):
            await part.run()
            if not self._stopping.is_set():
                self._crashed(part, "it ended although it should run until the process stops")

    @contextmanager
    def _watched(self, part: _Part) -> Iterator[None]:
        """What the block raises is a crash of `part`."""
        try:
            yield
        except (KubeError, Fault, Terminal) as error:
            self._crashed(part, str(error))
        except Exception as error:  # noqa: BLE001  # the supervisor's border
            border.report("part", error, part=part.name)
            self._crashed(part, f"{type(error).__name__}: {error}")

    async def _begin_term(self) -> None:
        self._begin(self._writers)

    async def _end_term(self, grace: float) -> None:
        await self._end(self._writers, grace)

    def _crashed(self, part: _Part, why: str) -> None:
        if self._stopping.is_set():
            _log.warning("part failed while stopping", part=part.name, error=why)
            return
        _log.error("part crashed, the process stops", part=part.name, error=why)
        self._crash = Crash(f"{part.name} crashed: {why}")
        self._stopping.set()

    async def _all_synced(self) -> bool:
        """Wait for all informers, or for a stop; tell which one is waited for."""
        waits = [asyncio.create_task(informer.wait_synced()) for informer in self._informers]
        synced = asyncio.gather(*waits)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                await asyncio.wait((synced, stopping), timeout=SYNC_REPORT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if synced.done():
                    return not self._stopping.is_set()
                if not self._stopping.is_set():
                    _log.warning("still waiting for first lists", resources=self.unsynced())
            return False
        finally:
            synced.cancel()
            stopping.cancel()
            await asyncio.gather(synced, stopping, return_exceptions=True)

    async def _stop_all(self) -> None:
        try:
            await self._end(self._leadership or self._writers)
            await self._end(self._controllers)
            for part in reversed(self._services):
                await self._end([part])
            await self._end(self._informer_parts)
            await self._end(self._early)
        finally:  # cancelled a second time: no grace any more
            parts = [
                *self._leadership,
                *self._writers,
                *self._controllers,
                *self._services,
                *self._informer_parts,
                *self._early,
            ]
            left = [part.task for part in parts if part.task is not None and not part.task.done()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _end(self, parts: list[_Part], most: float = float("inf")) -> None:
        await asyncio.gather(*(self._end_one(part, min(part.grace, most)) for part in parts))

    async def _end_one(self, part: _Part, grace: float) -> None:
        task = part.task
        if task is None or task.done():
            return
        if part.stop is not None:
            with border.contained("stop", part=part.name):
                await part.stop()
            await self._patiently(task, grace)
        task.cancel()
        await self._patiently(task, grace)
        if not task.done():
            if not self._hurry.is_set():
                _log.warning("part does not end", part=part.name, grace=grace)
            task.cancel()
            await asyncio.wait((task,), timeout=1.0)

    async def _patiently(self, task: asyncio.Task[None], grace: float) -> None:
        """Wait for the task, for its grace at most, and not at all when it is urgent."""
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            limit = None if grace == float("inf") else grace
            await asyncio.wait((task, hurry), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()

    def _catch_signals(self) -> list[signal.Signals]:
        loop = asyncio.get_running_loop()
        caught = []
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self._on_signal, number)
            except (ValueError, RuntimeError, NotImplementedError):
                continue  # not the main thread: whoever runs us cancels us
            caught.append(number)
        return caught

    def _on_signal(self, number: signal.Signals) -> None:
        _log.info("stopping", signal=number.name)
        self.stop()

    @staticmethod
    def _release_signals(numbers: list[signal.Signals]) -> None:
        for number in numbers:
            asyncio.get_running_loop().remove_signal_handler(number)


class _Writers:
    """The supervisor as a leadership sees it: what its terms start and stop."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def begin(self) -> None:
        await self._supervisor._begin_term()  # noqa: SLF001  # its other half

    async def end(self, grace: float) -> None:
        await self._supervisor._end_term(grace)  # noqa: SLF001  # its other half


def run_to_exit(main: Coroutine[Any, Any, None]) -> int:
    """Run a process's main coroutine and return its exit code: 0 after an ordered stop, 1 after a fault.

    A foreseeable fault is told in one line on standard error; a crash was logged already.
    """
    try:
        asyncio.run(main)
    except Crash:
        return 1
    except (KubeError, Fault) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # for the person at the terminal
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
