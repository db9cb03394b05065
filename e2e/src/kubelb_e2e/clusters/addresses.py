"""Addresses for Services of type LoadBalancer: handed out, put on a node, written to status.

What a cloud's load balancer or MetalLB does in a real cluster. For each Service without a
`loadBalancerClass`: an address of the pool of each of its IP families (`spec.loadBalancerIP` if it is free
and in the pool), put on one node and announced to the neighbours, then written to `status.loadBalancer.ingress`
with ipMode VIP; kube-proxy on that node does the rest. How an address comes onto a node is the provider's.

* With `externalTrafficPolicy: Local` the node is one with a ready endpoint of the Service, and the
  address moves when that changes: first onto the new node, then off the old one.
* A node that is not Ready is left.
* A Service that is deleted, or stops being ours, gives its address back. A freed address comes last in
  the pool, so that it does not become another Service's at once.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping

from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import SERVICES
from kubelb_common.runtime.controller import DONE, Controller, Result
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Store
from kubelb_e2e.clusters.slices import BY_SERVICE, SERVICE_LABEL
from kubelb_e2e.errors import LabError

#: Called with a node's name and an address; may take its time, and raise LabError.
Place = Callable[[str, str], None]


class Pool:
    """Free and used addresses; a freed one goes to the end."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._free = dict.fromkeys(addresses)
        self._used: dict[ObjectKey, str] = {}

    @property
    def used(self) -> dict[ObjectKey, str]:
        """Service -> address."""
        return dict(self._used)

    def allocate(self, key: ObjectKey, wished: Iterable[str]) -> str | None:
        """Return the address of `key`: its own, else a free one of `wished`, else the next; None if all are used."""
        if key not in self._used:
            address = next((item for item in wished if item in self._free), None) or next(iter(self._free), None)
            if address is None:
                return None
            del self._free[address]
            self._used[key] = address
        return self._used[key]

    def release(self, key: ObjectKey) -> str | None:
        """Free and return the address of `key`, None if it has none."""
        address = self._used.pop(key, None)
        if address is not None:
            self._free[address] = None
        return address


class AddressController:
    """Reconciles one Service at a time; addresses live on at most one node but for the moment of a move."""

    def __init__(
        self,
        node_names: Collection[str],
        client: KubeClient,
        pools: Mapping[str, Pool],
        *,
        services: Informer,
        slices: Informer,
        nodes: Informer,
        put: Place,
        take: Place,
        placed: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare.

        Args:
            node_names: nodes that can take addresses.
            client: the cluster.
            pools: by IP family (`IPv4`, `IPv6`); a Service gets none of a family without one.
            services: all Services.
            slices: their endpoints.
            nodes: all nodes.
            put: puts an address on a node.
            take: takes it off.
            placed: address -> node, as an earlier run left them.
        """
        self._node_names = frozenset(node_names)
        self._client = client
        self.pools = dict(pools)
        self._services, self._slices, self._nodes = services.store, slices.store, nodes.store
        self._put, self._take = put, take
        self._placed: dict[str, str] = dict(placed or {})
        self.controller = Controller("lab-addresses", self.reconcile)
        self.controller.watch(services)
        self.controller.watch(slices, _service_key)
        self.controller.watch(nodes, lambda _: [ObjectKey.of(item) for item in self._services.list()])

    async def reconcile(self, key: ObjectKey) -> Result:
        """Make the address, its place and the status of one Service right."""
        service = self._services.get_key(key)
        if service is None or not is_ours(service):
            await self._release(key, service)
            return DONE
        families = service["spec"].get("ipFamilies") or ["IPv4"]
        wished = [*_addresses(service), service["spec"].get("loadBalancerIP") or ""]
        addresses = []
        for family in (family for family in families if family in self.pools):
            address = self.pools[family].allocate(key, wished)
            if address is None:
                raise LabError(f"Service {key}: all {family} LoadBalancer addresses of the lab are in use")
            current = self._placed.get(address)
            await self._place(address, choose_node(service, self._candidates(key, service), current))
            addresses.append(address)
        for family in self.pools.keys() - set(families):
            await self._give_back(key, family)
        if _addresses(service) != addresses:
            await self._write(key, {"ingress": [{"ip": address, "ipMode": "VIP"} for address in addresses]})
        return DONE

    def _candidates(self, key: ObjectKey, service: Object) -> list[str]:
        ready = [item["metadata"]["name"] for item in self._nodes.list() if _is_ready(item)]
        known = [name for name in ready if name in self._node_names]
        if service["spec"].get("externalTrafficPolicy") != "Local":
            return known
        local = _nodes_with_endpoint(self._slices, key)
        return [name for name in known if name in local]

    async def _place(self, address: str, name: str | None) -> None:
        before = self._placed.get(address)
        if name == before:
            return
        if name is not None:
            await asyncio.to_thread(self._put, name, address)
            self._placed[address] = name
        else:
            del self._placed[address]
        if before is not None:
            await asyncio.to_thread(self._take, before, address)

    async def _release(self, key: ObjectKey, service: Object | None) -> None:
        if not any(key in pool.used for pool in self.pools.values()):
            return
        if service is not None and _addresses(service) and service["spec"].get("type") != "LoadBalancer":
            await self._write(key, None)
        for family in self.pools:
            await self._give_back(key, family)

    async def _give_back(self, key: ObjectKey, family: str) -> None:
        address = self.pools[family].used.get(key)
        if address is not None:
            await self._place(address, None)
            self.pools[family].release(key)

    async def _write(self, key: ObjectKey, load_balancer: Object | None) -> None:
        patch = {"status": {"loadBalancer": load_balancer}}
        await self._client.patch(SERVICES, key.name, patch, key.namespace, subresource="status")


def is_ours(service: Object) -> bool:
    """Tell whether the lab gives this Service an address."""
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")


def choose_node(service: Object, candidates: list[str], current: str | None) -> str | None:
    """Return where the address goes: it stays if it may, else spread by the Service's UID."""
    if current in candidates:
        return current
    if not candidates:
        return None
    return candidates[zlib.crc32(service["metadata"]["uid"].encode()) % len(candidates)]


def _addresses(service: Object) -> list[str]:
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    return [item["ip"] for item in ingress if item.get("ip")]


def _nodes_with_endpoint(slices: Store, key: ObjectKey) -> set[str]:
    return {
        endpoint["nodeName"]
        for item in slices.by_index(BY_SERVICE, str(key))
        for endpoint in item.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready") is not False and endpoint.get("nodeName")
    }


def _is_ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _service_key(item: Object) -> list[ObjectKey]:
    metadata = item["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_LABEL)
    return [ObjectKey(metadata["namespace"], name)] if name else []
