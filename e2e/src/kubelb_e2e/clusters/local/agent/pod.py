"""The life of one pod: network, volumes, containers, status, deletion.

What happens, in which order
----------------------------
1. network namespace and address; volumes (tried again while a ConfigMap, Secret or token is missing)
2. init containers one after another (sidecars go on beside the rest), then the other containers together
3. status is written when it differs from what the API server has, at most one write at a time
4. deletion asked for: containers stop together within the grace period, sidecars after the others; the last status;
   the network and all files go; at last the object, by a delete with grace period 0 and the UID as precondition
5. object vanished (force deletion): the same within one second, and there is nothing to write any more

What may never happen: a process, mount, address or file of a pod that is left when its object is gone; a write for a
pod of the same name but another UID.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kubelb_common.kube.errors import Conflict, KubeError, NotFound
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import PODS
from kubelb_common.objects import view
from kubelb_common.telemetry import logs
from kubelb_e2e.clusters.local import netns as namespaces
from kubelb_e2e.clusters.local import network
from kubelb_e2e.clusters.local.agent import fields, status
from kubelb_e2e.clusters.local.agent.cluster import Shared, now
from kubelb_e2e.clusters.local.agent.container import ContainerRunner
from kubelb_e2e.clusters.local.agent.env import MissingReference
from kubelb_e2e.clusters.local.agent.podvolumes import PodVolumes
from kubelb_e2e.clusters.local.agent.rootfs import Mount
from kubelb_e2e.clusters.local.agent.status import ContainerRecord, PodRecord, Waiting

_log = logs.get(__name__)
_RETRY_SECONDS = 2.0
_COALESCE_SECONDS = 0.01
_DEFAULT_GRACE = 30.0
_FORCED_GRACE = 1.0


@dataclass(frozen=True, slots=True)
class _Key:
    namespace: str
    name: str
    uid: str


class PodRunner:
    """Runs one pod; `update`, `vanish` and `wake` are told what the API server says."""

    def __init__(self, shared: Shared, pod: Object) -> None:
        self.shared = shared
        self.obj = pod
        self.key = _Key(view.namespace(pod), view.name(pod), view.uid(pod))
        self.folder = shared.pod_folder(self.key.uid)
        self.volumes = PodVolumes(shared, self.folder)
        self.facts = fields.Facts(shared.spec.name, shared.spec.addresses, ())
        self.netns: str | None = None
        self.own_mounts: list[Mount] = []
        self.record = PodRecord(shared.spec.name, shared.spec.addresses, now())
        self.runners = self._runners()
        self._dirty = asyncio.Event()
        self._wake = asyncio.Event()
        self._down = asyncio.Event()
        self._vanished = False
        self._volumes_ready = False
        self._task: asyncio.Task[None] | None = None
        self._events: set[tuple[str, str]] = set()

    @property
    def grace(self) -> float:
        """The pod's grace period in seconds."""
        asked = view.get(self.obj, "metadata", "deletionGracePeriodSeconds")
        if asked is None:
            asked = view.get(self.obj, "spec", "terminationGracePeriodSeconds", default=_DEFAULT_GRACE)
        return _FORCED_GRACE if self._vanished else float(asked)

    def _runners(self) -> list[ContainerRunner]:
        runners = []
        before = {
            item.get("name"): item
            for key in ("initContainerStatuses", "containerStatuses")
            for item in view.objects(self.obj, "status", key)
        }
        has_init = bool(view.objects(self.obj, "spec", "initContainers"))
        for field in ("initContainers", "containers"):
            for spec in view.objects(self.obj, "spec", field):
                sidecar = field == "initContainers" and spec.get("restartPolicy") == "Always"
                kind: status.Kind = "sidecar" if sidecar else "init" if field == "initContainers" else "app"
                known = before.get(spec["name"], {})
                record = ContainerRecord(spec["name"], spec["image"], kind)
                if known.get("containerID"):  # it ran before this agent started
                    record.restarts = int(known.get("restartCount") or 0) + 1
                record.state = Waiting("PodInitializing" if has_init else "ContainerCreating")
                self.record.containers.append(record)
                runners.append(ContainerRunner(self, spec, record))
        return runners

    # --- told from outside ---

    def launch(self) -> asyncio.Task[None]:
        """Start the pod's life as a task, which ends when nothing of the pod is left."""
        self._task = asyncio.create_task(self._live())
        return self._task

    def update(self, pod: Object) -> None:
        """Take a newer version of the object."""
        self.obj = pod
        self._wake.set()
        self._dirty.set()
        if view.deleting(pod):
            self._down.set()

    def vanish(self) -> None:
        """The object is gone: end quickly."""
        self._vanished = True
        self._down.set()

    def wake(self) -> None:
        """A ConfigMap or Secret of the namespace changed."""
        self._wake.set()

    def kill(self) -> None:
        """End all processes at once and leave the object as it is: the agent stops."""
        for runner in self.runners:
            runner.kill()
        if self._task is not None:
            self._task.cancel()

    # --- used by containers ---

    def notify(self) -> None:
        """A container's record changed."""
        self._dirty.set()

    def event(self, reason: str, message: str) -> None:
        """Report a problem, once per text."""
        if (reason, message) not in self._events and not self._vanished:
            self._events.add((reason, message))
            self.shared.event(self.obj, reason, message)

    async def references_changed(self, limit: float) -> None:
        """Wait until something that the pod refers to may have changed, at most `limit` seconds."""
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), limit)

    def log_file(self, container: str, restarts: int) -> Path:
        """Return the file of one run's output."""
        pod = f"{self.key.namespace}_{self.key.name}_{self.key.uid}"
        return self.shared.spec.pod_logs / pod / container / f"{restarts}.log"

    # --- the life ---

    async def _live(self) -> None:
        reporter = asyncio.create_task(self._report_forever())
        runner = asyncio.create_task(self._run())
        waiter = asyncio.create_task(self._down.wait())
        try:
            await asyncio.wait([runner, waiter], return_when="FIRST_COMPLETED")
            if runner.done():
                runner.result()
                await waiter
            await self._stop_containers(runner)
        finally:
            for task in (reporter, runner, waiter):
                task.cancel()
        if not self._vanished:
            await self._last_report()
        async with self.shared.network:
            await asyncio.to_thread(self._clean)
        if not self._vanished:
            await self._delete_object()

    async def _run(self) -> None:
        """Bring the pod up and keep it; returns when all its containers are over for good."""
        if view.text(self.obj, "status", "phase") in {"Succeeded", "Failed"}:
            self._dirty.clear()
            return  # ran before this agent started
        await self._attach()
        await self._prepare_volumes()
        keeper = asyncio.create_task(self._keep_volumes())
        try:
            if await self._init():
                apps = [runner.launch() for runner in self.runners if runner.record.kind == "app"]
                await asyncio.gather(*apps)
            if not self._down.is_set():
                for sidecar in self._of("sidecar"):
                    await sidecar.stop(self.grace)
        finally:
            keeper.cancel()

    async def _attach(self) -> None:
        if view.get(self.obj, "spec", "hostNetwork"):
            addresses = self.shared.spec.addresses
        else:
            while True:
                try:
                    async with self.shared.network:
                        attached = await asyncio.to_thread(network.attach_pod, self.shared.spec, self.key.uid)
                except namespaces.NetworkError as error:
                    self.event("FailedCreatePodSandBox", str(error))
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                break
            addresses, self.netns = attached.addresses, str(namespaces.path(attached.netns))
        self.facts = fields.Facts(self.shared.spec.name, self.shared.spec.addresses, addresses)
        self.record.pod_ips = addresses
        self.own_mounts = self.volumes.own_files(self.obj, self.facts, self.shared.spec.dns_address)

    async def _prepare_volumes(self) -> None:
        while True:
            try:
                await self.volumes.write(self.obj, self.facts)
            except MissingReference as error:
                self.event("FailedMount", f"MountVolume.SetUp failed: {error}")
                self.notify()
            except KubeError as error:
                self.event("FailedMount", f"no service account token: {error}")
            else:
                return
            await self.references_changed(_RETRY_SECONDS)

    async def _keep_volumes(self) -> None:
        while True:
            await self.references_changed(self.volumes.refresh_seconds() or 3600.0)
            try:
                await self.volumes.write(self.obj, self.facts, keep=True)
            except KubeError as error:
                _log.warning("token not renewed", pod=self.key.name, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _init(self) -> bool:
        """Run init containers in order; returns whether the others may start."""
        for runner in self.runners:
            if runner.record.kind == "sidecar":
                runner.launch()
                await runner.begun.wait()
            elif runner.record.kind == "init":
                await runner.launch()
                if runner.record.failed:
                    return False
        return True

    def _of(self, kind: status.Kind) -> list[ContainerRunner]:
        return [runner for runner in self.runners if runner.record.kind == kind]

    async def _stop_containers(self, run: asyncio.Task[None]) -> None:
        """Stop all containers within the grace period, sidecars last and in reverse order."""
        deadline = time.monotonic() + self.grace
        first = [runner for runner in self.runners if runner.record.kind != "sidecar"]
        stopping = asyncio.gather(*(runner.stop(self.grace) for runner in first))
        await self._shorten(stopping, first)
        for runner in reversed(self._of("sidecar")):
            await runner.stop(max(0.0, deadline - time.monotonic()))
        run.cancel()
        await asyncio.wait([run])

    async def _shorten(self, stopping: asyncio.Future[list[None]], runners: list[ContainerRunner]) -> None:
        """Wait for `stopping`; a force deletion meanwhile (object gone, or grace 0) kills at once."""
        asked = self.grace
        while not stopping.done():
            self._wake.clear()
            if self._vanished or self.grace < asked:
                await asyncio.wait([stopping], timeout=min(self.grace, _FORCED_GRACE))
                for runner in runners:
                    runner.kill()
            await asyncio.wait([stopping], timeout=0.2)
        stopping.result()

    def _clean(self) -> None:
        if not view.get(self.obj, "spec", "hostNetwork"):
            try:
                network.detach_pod(self.shared.spec, self.key.uid)
            except namespaces.NetworkError as error:
                _log.warning("pod network not removed", pod=self.key.name, error=str(error))
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the API server ---

    async def _report_forever(self) -> None:
        failures = 0
        while True:
            await self._dirty.wait()
            await asyncio.sleep(_COALESCE_SECONDS if not failures else min(5.0, 0.2 * 2**failures))
            self._dirty.clear()
            try:
                await self._report()
            except KubeError as error:
                failures = min(failures + 1, 5)
                self._dirty.set()
                if not isinstance(error, Conflict):
                    _log.warning("status not written", pod=self.key.name, error=str(error))
            else:
                failures = 0

    async def _report(self) -> None:
        """Write the status if it differs from the API server's; raises KubeError."""
        wanted = status.status(self.obj, self.record, now())
        if self._vanished or not status.differs(self.obj, wanted):
            return
        metadata = {"uid": self.key.uid}
        present = view.objects(self.obj, "status", "conditions")
        if any(item.get("type") not in status.OWN_CONDITIONS for item in present):
            metadata["resourceVersion"] = view.resource_version(self.obj)  # lists are replaced as a whole
        patch: Object = {"metadata": metadata, "status": wanted}
        try:
            written = await self.shared.client.patch(
                PODS, self.key.name, patch, self.key.namespace, subresource="status"
            )
        except NotFound:
            return
        if view.uid(written) == self.key.uid and not view.deleting(self.obj):
            self.obj = written

    async def _last_report(self) -> None:
        with suppress(KubeError):
            await self._report()

    async def _delete_object(self) -> None:
        while not self._vanished:
            try:
                await self.shared.client.delete(
                    PODS, self.key.name, self.key.namespace, uid=self.key.uid, grace_period_seconds=0
                )
            except (NotFound, Conflict):
                return
            except KubeError as error:
                _log.warning("pod not deleted", pod=self.key.name, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return
