"""Addresses objects of Services with the traffic policy Local, in the management cluster.

Order: the object is there before the LoadBalancer that refers to it, and goes after it. It is owned by its
LoadBalancer, so it goes with it whoever deletes that. While no pod is ready the last nodes stay, as with
`Addresses/default`; a Service that never had a ready pod gets all ready nodes.
"""

from __future__ import annotations

from kubelb_ccm.controllers.home import Home
from kubelb_ccm.export.addresses import AddressType, addresses_of
from kubelb_ccm.export.local import is_local, local_addresses, own_addresses
from kubelb_ccm.export.merge import merged
from kubelb_ccm.export.meta import origin, origin_cluster
from kubelb_ccm.export.twins import SLICE_SERVICE_LABEL
from kubelb_common import names
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import ADDRESSES
from kubelb_common.objects import view
from kubelb_common.runtime.controller import Controller
from kubelb_common.runtime.fresh import Fresh
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Change

_BY_SERVICE = "local nodes"
_LOCAL = "local"


class LocalNodes:
    """Keeps them, and brings their Services back when nodes or pods change.

    Args:
        hub: the management cluster.
        exported: Addresses in the tenant's namespace there.
        services: the tenant's Services.
        nodes: the tenant's Nodes.
        slices: the tenant's EndpointSlices, all of them.
        kind: which of a Node's addresses the management cluster can reach.
        home: who we are.
    """

    def __init__(
        self,
        hub: KubeClient,
        exported: Informer,
        *,
        services: Informer,
        nodes: Informer,
        slices: Informer,
        kind: AddressType,
        home: Home,
    ) -> None:
        self._hub = hub
        self._exported = Fresh(exported)
        self._services = services
        self._nodes = nodes
        self._slices = slices
        self._kind = kind
        self._home = home
        slices.store.add_index(_BY_SERVICE, _service_of)
        services.store.add_index(_LOCAL, lambda service: ["yes"] if is_local(service) else [])

    def watch(self, controller: Controller) -> None:
        """Have `controller`, whose keys are Services, run when the nodes of one may have changed."""
        controller.watch(self._slices, self._local_service)
        controller.watch(self._nodes, self._all_local, when=self._node_matters)
        controller.watch(self._exported.informer, _origin_key, when=lambda change: not self._exported.is_echo(change))

    async def ensure(self, service: Object) -> str:
        """Make the Service's own Addresses right; return their name, nothing if all nodes serve it."""
        if not is_local(service):
            return ""
        name, destination = view.uid(service), self._home.destination
        live = self._exported.get(destination.namespace, name)
        items = self._items(service)
        if not items and live is None:
            items = addresses_of(self._nodes.store.list(), self._kind)
        if not items:
            return name if live is not None else ""
        desired = own_addresses(service, items, destination)
        if live is None:
            self._exported.note(await self._hub.create(ADDRESSES, desired, destination.namespace))
            return name
        change = merged(live, desired, own_annotations=False)
        if change is not None:
            self._exported.note(await self._hub.replace(ADDRESSES, change, destination.namespace))
        return name

    async def settle(self, service: Object, exported: Object) -> None:
        """Bind the Addresses to the LoadBalancer that refers to it; drop one that none refers to."""
        live = self._exported.get(self._home.namespace, view.uid(service))
        if live is None or origin_cluster(live) != self._home.destination.cluster:
            return
        if not is_local(service):
            await self._drop(live)
            return
        owner = {
            "apiVersion": names.API_VERSION,
            "kind": "LoadBalancer",
            "name": view.name(exported),
            "uid": view.uid(exported),
        }
        if owner in view.owner_references(live):
            return
        owned = {**live, "metadata": {**live["metadata"], "ownerReferences": [owner]}}
        self._exported.note(await self._hub.replace(ADDRESSES, owned, self._home.namespace))

    def _items(self, service: Object) -> list[Object]:
        slices = self._slices.store.by_index(_BY_SERVICE, str(ObjectKey.of(service)))
        return local_addresses(self._nodes.store.list(), slices, self._kind)

    async def _drop(self, live: Object) -> None:
        try:
            await self._hub.delete(ADDRESSES, view.name(live), self._home.namespace, uid=view.uid(live))
        except NotFound:
            return

    def _local_service(self, found: Object) -> list[ObjectKey]:
        name = view.labels(found).get(SLICE_SERVICE_LABEL, "")
        service = self._services.store.get(view.namespace(found), name)
        return [ObjectKey.of(service)] if service is not None and is_local(service) else []

    def _all_local(self, _node: Object) -> list[ObjectKey]:
        return [ObjectKey.of(service) for service in self._services.store.by_index(_LOCAL, "yes")]

    def _node_matters(self, change: Change) -> bool:
        old, new = (None if node is None else addresses_of([node], self._kind) for node in change)
        return old != new


def _service_of(found: Object) -> list[str]:
    name = view.labels(found).get(SLICE_SERVICE_LABEL)
    return [f"{view.namespace(found)}/{name}"] if name else []


def _origin_key(exported: Object) -> list[ObjectKey]:
    source = origin(exported)
    return [ObjectKey(*source)] if source and source[0] else []
