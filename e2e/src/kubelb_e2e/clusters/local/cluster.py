"""One cluster of the lab: brought up, watched, told what to do."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Coroutine
from typing import Any

from kubelb_common.kube.errors import KubeError, NotFound
from kubelb_common.kube.port import KubeClient
from kubelb_common.kube.resources import ENDPOINT_SLICES, NODES, SERVICE_ACCOUNTS, SERVICES
from kubelb_common.runtime.informer import Informer
from kubelb_e2e.clusters import client as door
from kubelb_e2e.clusters.addresses import AddressController, Pool
from kubelb_e2e.clusters.local import control_plane, credentials, dns, network, nodes, wire
from kubelb_e2e.clusters.local.model import POOL6, ClusterSpec, LabSpec, NodeSpec, pool_addresses
from kubelb_e2e.clusters.local.processes import Processes, tail
from kubelb_e2e.clusters.local.progress import Progress
from kubelb_e2e.clusters.local.zone import LabZone, ServiceZone
from kubelb_e2e.clusters.slices import BY_SERVICE, service_of_slice
from kubelb_e2e.errors import LabError

_NODES_SECONDS = 120.0
_POLL_SECONDS = 0.1
_PARTS = ("agent", "kube-proxy")


class LocalCluster:
    """Starts a cluster's parts in order and keeps its background tasks."""

    def __init__(
        self, lab: LabSpec, spec: ClusterSpec, zone: LabZone, *, processes: Processes, progress: Progress
    ) -> None:
        self.spec = spec
        self._lab = lab
        self._zone = zone
        self._pools = {"IPv4": Pool(pool_addresses())}
        if lab.is_dual:
            self._pools["IPv6"] = Pool(pool_addresses(POOL6))
        self._processes = processes
        self._progress = progress
        self._tasks: set[asyncio.Task[None]] = set()
        self._heartbeats: dict[str, asyncio.Task[None]] = {}
        self._client: KubeClient | None = None

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
        client = self._client = door.connect(spec.kubeconfig)
        try:
            await self._start_services(client)
            await self._start_nodes(client)
        except KubeError as error:
            raise LabError(f"{spec.name}: {error}; see {spec.logs}/kube-apiserver.log") from error
        self._progress.say(f"{spec.name}: {len(spec.nodes)} nodes ready")

    def addresses_in_use(self) -> dict[str, str]:
        """Return LoadBalancer address -> `namespace/name` of its Service."""
        return {address: str(key) for pool in self._pools.values() for key, address in pool.used.items()}

    async def command(self, message: wire.Message) -> wire.Message:
        """Answer a request to this cluster; raises LabError.

        Actions, all with `node`: `pause-heartbeat` (the cluster takes the node for dead after a while) and
        `resume-heartbeat`; `stop` and `start` with `part` = `agent` or `kube-proxy`.
        """
        node = self._node(str(message.get("node")))
        action, part = message.get("action"), message.get("part")
        if action == "pause-heartbeat":
            if (beat := self._heartbeats.pop(node.name, None)) is not None:
                beat.cancel()
        elif action == "resume-heartbeat":
            self._beat(node)
        elif action == "stop" and part in _PARTS:
            process = self._processes.get(f"{node.name}/{part}")
            if process is not None:
                await process.stop()
        elif action == "start" and part in _PARTS:
            process = self._processes.get(f"{node.name}/{part}")
            if process is None or not process.running:
                self._start_part(part, node)
        else:
            raise LabError(f"{self.spec.name}: unknown action {action!r} {part or ''}")
        return {}

    def _node(self, name: str) -> NodeSpec:
        for node in self.spec.nodes:
            if node.name == name:
                return node
        raise LabError(f"no node {name!r} in {self.spec.name}; there are {', '.join(n.name for n in self.spec.nodes)}")

    def _start_part(self, part: str, node: NodeSpec) -> None:
        if part == "agent":
            nodes.start_agent(self.spec, node, self._processes)
        else:
            nodes.start_proxy(self._lab, self.spec, node, self._processes)

    def _beat(self, node: NodeSpec) -> None:
        if self._client is not None and node.name not in self._heartbeats:
            self._heartbeats[node.name] = self._background(nodes.keep_ready(self._client, node, self._progress.note))

    async def _start_services(self, client: KubeClient) -> None:
        """Start what watches Services: DNS and, in the management cluster, LoadBalancer addresses."""
        services, slices = Informer(client, SERVICES), Informer(client, ENDPOINT_SLICES)
        slices.store.add_index(BY_SERVICE, service_of_slice)
        informers = [services, slices]
        if self.spec.is_management:
            self._zone.services = services.store
            node_informer = Informer(client, NODES)
            informers.append(node_informer)
            by_name = {node.name: node for node in self.spec.nodes}
            addresses = AddressController(
                by_name,
                client,
                self._pools,
                services=services,
                slices=slices,
                nodes=node_informer,
                put=lambda name, address: network.put_address(by_name[name], address),
                take=lambda name, address: network.take_address(by_name[name], address),
            )
        for informer in informers:
            self._background(informer.run())
        for informer in informers:
            await informer.wait_synced()
        if self.spec.is_management:
            self._background(addresses.controller.run())
        await dns.serve(self.spec.dns_address, (ServiceZone(services.store, slices.store), self._zone))

    async def _start_nodes(self, client: KubeClient) -> None:
        has_agent = importlib.util.find_spec("kubelb_e2e.clusters.local.agent.__main__") is not None
        for node in self.spec.nodes:
            await nodes.register(client, node)
            nodes.start_proxy(self._lab, self.spec, node, self._processes)
            if has_agent:
                nodes.start_agent(self.spec, node, self._processes)
            self._beat(node)
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

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._progress.note(f"{self.spec.name}: a part of the lab crashed: {error!r}")
