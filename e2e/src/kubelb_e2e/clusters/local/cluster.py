"""One cluster of the lab: brought up, watched, told what to do."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Coroutine
from typing import Any

from kubelb_common.kube.errors import KubeError, NotFound
from kubelb_common.kube.port import KubeClient
from kubelb_common.kube.resources import NODES, SERVICE_ACCOUNTS
from kubelb_e2e.clusters.local import client as door
from kubelb_e2e.clusters.local import control_plane, credentials, network, nodes, wire
from kubelb_e2e.clusters.local.model import ClusterSpec, LabSpec
from kubelb_e2e.clusters.local.processes import Processes, tail
from kubelb_e2e.clusters.local.progress import Progress
from kubelb_e2e.clusters.local.state import LabError

_NODES_SECONDS = 120.0
_POLL_SECONDS = 0.1


class LocalCluster:
    """Starts a cluster's parts in order and keeps its background tasks."""

    def __init__(self, lab: LabSpec, spec: ClusterSpec, processes: Processes, progress: Progress) -> None:
        self.spec = spec
        self._lab = lab
        self._processes = processes
        self._progress = progress
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bring the cluster up; returns when pods can run. Raises LabError."""
        spec = self.spec
        spec.logs.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(credentials.write, spec)
        await asyncio.to_thread(network.create_control, spec)
        for node in spec.nodes:
            await asyncio.to_thread(network.create_node, spec, node)
        await control_plane.start(self._lab, spec, self._processes)
        self._progress.say(f"{spec.name}: API server ready at {spec.api_server}")
        client = await door.connect(spec.kubeconfig)
        try:
            await self._start_nodes(client)
        except KubeError as error:
            raise LabError(f"{spec.name}: {error}; see {spec.logs}/kube-apiserver.log") from error
        self._progress.say(f"{spec.name}: {len(spec.nodes)} nodes ready")

    def addresses_in_use(self) -> dict[str, str]:
        """Return LoadBalancer address -> `namespace/name` of its Service."""
        return {}

    async def command(self, message: wire.Message) -> wire.Message:
        """Answer a request to this cluster."""
        raise LabError(f"{self.spec.name}: unknown action {message.get('action')!r}")

    async def _start_nodes(self, client: KubeClient) -> None:
        has_agent = importlib.util.find_spec("kubelb_e2e.clusters.local.agent.__main__") is not None
        for node in self.spec.nodes:
            await nodes.register(client, node)
            nodes.start_proxy(self._lab, self.spec, node, self._processes)
            if has_agent:
                nodes.start_agent(self.spec, node, self._processes)
            self._background(nodes.keep_ready(client, node, self._progress.say))
        await self._wait_usable(client)

    async def _wait_usable(self, client: KubeClient) -> None:
        """Wait until nodes take pods and the default ServiceAccount exists."""
        deadline = time.monotonic() + _NODES_SECONDS
        while True:
            for process in self._processes.all():
                if process.name.startswith((f"{self.spec.name}/", *(f"{node.name}/" for node in self.spec.nodes))):
                    process.check()
            missing = await self._missing(client)
            if not missing:
                return
            if time.monotonic() > deadline:
                log = self.spec.logs / "kube-controller-manager.log"
                raise LabError(
                    f"{self.spec.name}: after {_NODES_SECONDS:.0f} s still missing: {missing}; "
                    f"the end of {log}:\n{tail(log)}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _missing(self, client: KubeClient) -> str:
        try:
            await client.get(SERVICE_ACCOUNTS, "default", "default")
        except NotFound:
            return "ServiceAccount default/default"
        usable = {item["metadata"]["name"] for item in (await client.list(NODES)).items if nodes.is_usable(item)}
        return ", ".join(f"node {node.name} is not Ready" for node in self.spec.nodes if node.name not in usable)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
