"""Watches the node's pods and gives each its runner.

A pod is known by its UID: one of the same name with another UID is another pod, and may start while the former is
still on its way down. When the agent stops, all processes die at once and the objects stay; started again it runs
the pods anew (restart counts go up) and removes what pods left that are gone.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.store import Change
from kubelb_common.telemetry import logs
from kubelb_e2e.clusters.local import netns, network
from kubelb_e2e.clusters.local.agent.cluster import Shared
from kubelb_e2e.clusters.local.agent.pod import PodRunner
from kubelb_e2e.clusters.local.agent.status import ContainerRecord

_log = logs.get(__name__)


class Agent:
    """All pods of the node."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._runners: dict[str, PodRunner] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def pod_changed(self, change: Change) -> None:
        """Take a change of a Pod that is bound to this node."""
        old, new = change.old, change.new
        if old is not None and (new is None or view.uid(new) != view.uid(old)):
            runner = self._runners.get(view.uid(old))
            if runner is not None:
                runner.vanish()
        if new is not None:
            self._present(new)

    def reference_changed(self, change: Change) -> None:
        """Take a change of a ConfigMap or Secret."""
        namespace = view.namespace(change.new or change.old or {})
        for runner in self._runners.values():
            if runner.key.namespace == namespace:
                runner.wake()

    def _present(self, pod: Object) -> None:
        uid = view.uid(pod)
        runner = self._runners.get(uid)
        if runner is not None:
            runner.update(pod)
            return
        runner = self._runners[uid] = PodRunner(self._shared, pod)
        if view.deleting(pod):
            runner.update(pod)
        task = runner.launch()
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(uid, done))

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        runner = self._runners.pop(uid, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            name = runner.key.name if runner else uid
            _log.error("a pod's runner crashed", pod=name, exc_info=error)

    async def run(self) -> None:
        """Remove what former pods left, then hold all pods until cancelled."""
        await asyncio.to_thread(self._sweep, set(self._runners))
        try:
            await asyncio.Event().wait()
        finally:
            for runner in self._runners.values():
                runner.kill()

    def _sweep(self, known: set[str]) -> None:
        folder = self._shared.spec.directory / "pods"
        for leftover in folder.iterdir() if folder.is_dir() else ():
            if leftover.name not in known:
                with suppress(netns.NetworkError):
                    network.detach_pod(self._shared.spec, leftover.name)
                shutil.rmtree(leftover, ignore_errors=True)

    def logs_of(self, namespace: str, pod: str, container: str) -> tuple[list[Path], Callable[[], bool]] | None:
        """Return a container's log files, oldest run first, and a test whether it still runs."""
        for runner in reversed(self._runners.values()):
            if (runner.key.namespace, runner.key.name) != (namespace, pod):
                continue
            for each in runner.runners:
                if each.record.name == container:
                    files = runner.log_file(container, 0).parent.glob("*.log")
                    return sorted(files, key=lambda path: int(path.stem)), partial(_lives, each.record)
        return None


def _lives(record: ContainerRecord) -> bool:
    return not record.finished
