"""The life of one container: start, probes, end, restart.

What happens, in which order
----------------------------
`run` starts the process (and tries again while the image, a ConfigMap or a Secret is missing), runs the postStart
hook and the probes beside it, waits for its end, and, if the restart policy wants that, waits the back-off and starts
it again. It returns when the container will not run any more.

`stop` is the way down of a pod: no restart from then on; the preStop hook, SIGTERM when it is done, SIGKILL when the
grace period is over. A failed startup or liveness probe takes the same way, followed by a restart.

What may never happen: two processes of one container at a time, a restart after `stop` began, a probe of one process
that counts for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_e2e import catalogue
from kubelb_e2e.clusters.local.agent import checks, env, process, restarts
from kubelb_e2e.clusters.local.agent.cluster import NamespaceSources, now
from kubelb_e2e.clusters.local.agent.env import MissingReference
from kubelb_e2e.clusters.local.agent.probes import Kind, ProbeSpec, ProbeState
from kubelb_e2e.clusters.local.agent.process import Command, Process, Sandbox, StartError
from kubelb_e2e.clusters.local.agent.rootfs import Mount, layered
from kubelb_e2e.clusters.local.agent.status import ContainerRecord, Running, Terminated, Waiting

if TYPE_CHECKING:
    from kubelb_e2e.clusters.local.agent.pod import PodRunner

_RETRY_SECONDS = 2.0
_MESSAGE_MAX = 4096
_MIN_GRACE_AFTER_HOOK = 2.0
_PROBES: tuple[tuple[Kind, str], ...] = (("readiness", "readinessProbe"), ("liveness", "livenessProbe"))


@dataclass(slots=True)
class ContainerRunner:
    """Runs one container of a pod; `record` says what is known of it."""

    pod: PodRunner
    spec: Object
    record: ContainerRecord
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # its startup probe passed once
    _process: Process | None = None
    _stopping: bool = False
    _task: asyncio.Task[None] | None = None
    _backoff: restarts.RestartBackoff = field(default_factory=restarts.RestartBackoff)

    def launch(self) -> asyncio.Task[None]:
        """Start `run` as a task."""
        self._task = asyncio.create_task(self.run())
        return self._task

    async def run(self) -> None:
        """Run the container until it will not run any more."""
        while True:
            started = await self._start_when_possible()
            ran = await self._live(started)
            code = self.record.state.code if isinstance(self.record.state, Terminated) else 0
            policy = self.spec.get("restartPolicy") if self.record.kind == "init" else None
            policy = policy or view.text(self.pod.obj, "spec", "restartPolicy") or "Always"
            if self._stopping or not restarts.wanted(policy, self.record.kind, code):
                self.record.finished = True
                self.pod.notify()
                return
            await self._wait_backoff(self._backoff.delay(ran))
            self.record.restarts += 1

    async def stop(self, grace: float) -> None:
        """End the container within `grace` seconds; returns when it is gone."""
        self._stopping = True
        if self._process is None:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
            self._mark_never_run()
        if self._process is not None:
            await self._end(self._process, grace)
            if self._task is not None:
                await asyncio.wait([self._task])

    def kill(self) -> None:
        """End the container at once."""
        self._stopping = True
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
        elif self._task is not None:
            self._task.cancel()

    def _mark_never_run(self) -> None:
        self.record.finished = True
        self.record.ready = self.record.started = False

    async def _wait_backoff(self, delay: float) -> None:
        if delay <= 0:
            return
        name = self.record.name
        text = f"back-off {delay:.0f}s restarting failed container={name} pod={view.name(self.pod.obj)}"
        assert isinstance(self.record.state, Terminated)
        self.record.last = self.record.state
        self._wait("CrashLoopBackOff", text)
        self.pod.event("BackOff", text)
        await asyncio.sleep(delay)

    def _wait(self, reason: str, message: str = "") -> None:
        if self.record.state != Waiting(reason, message):
            self.record.state = Waiting(reason, message)
            self.pod.notify()

    async def _start_when_possible(self) -> Process:
        """Start the process; while something is missing say so and try again when it may be there."""
        while True:
            try:
                return await self._start()
            except _NotYet as error:
                if self.record.state != Waiting(error.reason, str(error)):
                    self.pod.event("Failed", str(error))
                    if isinstance(self.record.state, Terminated):
                        self.record.last = self.record.state
                self._wait(error.reason, str(error))
            await self.pod.references_changed(_RETRY_SECONDS)

    async def _start(self) -> Process:
        shared, name = self.pod.shared, str(self.spec["image"])
        image = catalogue.find(shared.catalogue, name)
        if image is None:
            raise _NotYet("ErrImagePull", f"image {name!r} is not in the testbed's catalogue (see `up --images`)")
        context = env.EnvContext(
            self.pod.obj, self.pod.facts, NamespaceSources(shared, view.namespace(self.pod.obj)), shared.service_env
        )
        try:
            variables = env.environment(self.spec, image, context)
            mounts = [*self.pod.own_mounts, *self.pod.volumes.mounts(self.spec, variables), self._message_mount()]
        except MissingReference as error:
            raise _NotYet("CreateContainerConfigError", str(error)) from error
        words = env.command_line(self.spec, image, variables)
        command = Command(words, variables, str(self.spec.get("workingDir") or image.working_dir))
        sandbox = Sandbox(
            netns=self.pod.netns,
            hostname=env.hostname(self.pod.obj),
            root=shared.spec.directory / "root",
            mounts=layered(shared.system, mounts),
            log=self.pod.log_file(self.record.name, self.record.restarts),
            read_only_root=bool(view.get(self.spec, "securityContext", "readOnlyRootFilesystem")),
        )
        try:
            self._process = await process.start(command, sandbox)
        except StartError as error:
            return self._failed_start(command, str(error))
        if self._stopping:
            self._process.signal(signal.SIGKILL)
        return self._process

    def _failed_start(self, command: Command, message: str) -> Process:
        """Return a process that ended already: a command that cannot be executed counts as one that failed."""
        self.pod.event("Failed", message)
        over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        over.set_result(128)
        self._message_file().write_text(message)
        return Process(0, command, over, -1)

    async def _live(self, running: Process) -> float:
        """Watch a process from its start to its end; returns how long it ran, in seconds."""
        began, start_time = time.monotonic(), now()
        record = self.record
        if isinstance(record.state, Terminated):
            record.last = record.state
        record.state, record.identity = Running(start_time), f"{view.uid(self.pod.obj)[:8]}-{running.pid}"
        record.started = "startupProbe" not in self.spec
        record.ready = record.started and "readinessProbe" not in self.spec and record.kind != "init"
        self.pod.notify()
        beside = asyncio.create_task(self._accompany(running))
        try:
            code = await asyncio.shield(running.exited)
        except asyncio.CancelledError:
            running.signal(signal.SIGKILL)
            raise
        finally:
            beside.cancel()
            self._process = None
            record.ready = record.started = False
        reason = "Completed" if code == 0 else "StartError" if running.pid == 0 else "Error"
        record.state = Terminated(code, reason, start_time, now(), self._termination_message(code))
        self.pod.notify()
        return time.monotonic() - began

    async def _accompany(self, running: Process) -> None:
        """Hooks and probes of one process; cancelled when it ends."""
        if hook := view.get(self.spec, "lifecycle", "postStart"):
            problem = await checks.hook_failure(hook, self.spec, running, self.pod.facts.pod_ip)
            if problem:
                self.pod.event("FailedPostStartHook", problem)
                await self._end(running, self.pod.grace)
                return
        if probe := self.spec.get("startupProbe"):
            await self._probe(running, "startup", ProbeSpec.of(probe))
        self.begun.set()
        self.pod.notify()
        async with asyncio.TaskGroup() as group:
            for kind, key in _PROBES:
                if probe := self.spec.get(key):
                    group.create_task(self._probe(running, kind, ProbeSpec.of(probe)))

    async def _probe(self, running: Process, kind: Kind, probe: ProbeSpec) -> None:
        """Probe until cancelled; a startup probe until it passed."""
        state = ProbeState(probe)
        await asyncio.sleep(probe.initial_delay)
        while True:
            problem = await checks.failure(probe.check, self.spec, running, self.pod.facts.pod_ip, probe.timeout)
            if state.observe(problem is None, time.monotonic()):
                await self._act(running, kind, probe, problem)
            if kind == "startup" and state.verdict:
                return
            await asyncio.sleep(state.next_delay())

    async def _act(self, running: Process, kind: Kind, probe: ProbeSpec, problem: str | None) -> None:
        """A probe's verdict changed to passed (`problem` None) or failed."""
        if problem is not None:
            self.pod.event("Unhealthy", f"{kind} probe of {self.record.name} failed: {problem}")
        if kind == "readiness":
            self.record.ready = problem is None
            self.pod.notify()
        elif kind == "startup" and problem is None:
            self.record.started = True
            self.record.ready = "readinessProbe" not in self.spec
            self.pod.notify()
        elif problem is not None and not self._stopping:
            self.pod.event("Killing", f"container {self.record.name} failed {kind} probe, will be restarted")
            await self._end(running, self.pod.grace if probe.grace is None else probe.grace)

    async def _end(self, running: Process, grace: float) -> None:
        """preStop, SIGTERM, SIGKILL; returns when the process is gone."""
        deadline = time.monotonic() + grace
        hook = view.get(self.spec, "lifecycle", "preStop")
        if hook and grace > 0:
            hooked = asyncio.create_task(checks.hook_failure(hook, self.spec, running, self.pod.facts.pod_ip))
            both: list[asyncio.Future[Any]] = [hooked, running.exited]
            await asyncio.wait(both, timeout=grace, return_when="FIRST_COMPLETED")
            if hooked.done() and (problem := hooked.result()):
                self.pod.event("FailedPreStopHook", f"{self.record.name}: {problem}")
            hooked.cancel()
            await asyncio.wait([hooked])
            deadline = max(deadline, time.monotonic() + _MIN_GRACE_AFTER_HOOK)
        running.signal(signal.SIGTERM)
        await asyncio.wait([running.exited], timeout=max(0.0, deadline - time.monotonic()))
        running.signal(signal.SIGKILL)
        await asyncio.wait([running.exited])

    def _message_file(self) -> Path:
        return self.pod.folder / f"message-{self.record.name}"

    def _message_mount(self) -> Mount:
        self._message_file().write_text("")
        path = self.spec.get("terminationMessagePath") or "/dev/termination-log"
        return Mount(str(self._message_file()), path, read_only=False)

    def _termination_message(self, code: int) -> str:
        with contextlib.suppress(OSError):
            text = self._message_file().read_bytes()[:_MESSAGE_MAX].decode(errors="replace")
            if not text and code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
                log = self.pod.log_file(self.record.name, self.record.restarts)
                text = log.read_bytes()[-_MESSAGE_MAX // 2 :].decode(errors="replace")
            return text
        return ""


class _NotYet(Exception):  # noqa: N818 - named for what it says
    """The container cannot start now; `reason` is the waiting state's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
