"""Nodes become an Addresses object, `default`: where the tenant's node ports are reached.

A second cluster with the same credential is told of in the log and gets an object of its own (`Home.destination`).

Nodes report every few seconds; a change counts only if it changes readiness or an address of our type. While no
ready Node has a usable address, the last known ones stay: they are the best guess, and an empty list would be
refused anyway.
"""

from __future__ import annotations

from kubelb_ccm.controllers.home import Home, removal_changes
from kubelb_ccm.export.addresses import AddressType, addresses, addresses_of, is_ready, node_addresses
from kubelb_ccm.export.merge import merged
from kubelb_common import names
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import ADDRESSES
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.fresh import Fresh
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.telemetry import logs

_log = logs.get(__name__)
_KEY = ObjectKey("", names.ADDRESSES_NAME)
_LOOK_AGAIN_SECONDS = 30.0


class NodeController:
    """Keeps the Addresses object equal to the ready Nodes.

    Args:
        hub: the management cluster.
        nodes: the tenant's Nodes.
        exported: Addresses in the tenant's namespace of the management cluster.
        kind: which of a Node's addresses the management cluster can reach.
        home: who we are.
    """

    def __init__(self, hub: KubeClient, nodes: Informer, exported: Informer, *, kind: AddressType, home: Home) -> None:
        self._hub = hub
        self._nodes = nodes
        self._exported = Fresh(exported)
        self._kind = kind
        self._home = home
        self._told = False
        self._known_others: tuple[str, ...] = ()

    def controller(self, tenant_states: Informer) -> Controller:
        """Return the controller that runs this."""
        controller = Controller("node", self.reconcile)
        controller.watch(self._nodes, lambda _node: (_KEY,), when=self._matters)
        controller.watch(self._exported.informer, _addresses_key)
        controller.watch(tenant_states, lambda _state: (_KEY,), when=removal_changes)
        controller.enqueue(_KEY)  # a cluster without Nodes brings no change, and must be told of too
        return controller

    async def reconcile(self, _key: ObjectKey) -> Result:
        """Write the Addresses if they differ from what the Nodes say."""
        if self._home.removed:
            return DONE
        self._tell_others()
        items = addresses_of(self._nodes.store.list(), self._kind)
        if not items:
            self._tell_none()
            return Again(after=_LOOK_AGAIN_SECONDS)
        self._told = False
        destination = self._home.destination
        desired = addresses(items, destination)
        live = self._exported.get(destination.namespace, destination.addresses)
        if live is None:
            self._exported.note(await self._hub.create(ADDRESSES, desired, destination.namespace))
            return DONE
        change = merged(live, desired, own_annotations=False)
        if change is not None:
            self._exported.note(await self._hub.replace(ADDRESSES, change, destination.namespace))
        return DONE

    def _matters(self, change: Change) -> bool:
        old, new = (self._told_by(node) for node in change)
        return old != new

    def _told_by(self, node: Object | None) -> tuple[str, ...]:
        return node_addresses(node, self._kind) if node is not None and is_ready(node) else ()

    def _tell_others(self) -> None:
        others = self._home.others
        if others and others != self._known_others:
            _log.warning(
                "another cluster uses this tenant's credential; each cluster keeps to its own objects. Make a Tenant "
                "for each; of a cluster that is gone, delete the objects with its label in the management cluster",
                own=self._home.destination.cluster,
                others=list(others),
                label=names.LABEL_ORIGIN_CLUSTER,
            )
        self._known_others = others

    def _tell_none(self) -> None:
        if self._told:
            return
        self._told = True
        _log.warning(
            "no ready node has an address of this type; the last known addresses stay. "
            "Set --node-address-type to a type that `kubectl get nodes -o wide` shows",
            type=self._kind,
            nodes=len(self._nodes.store),
        )


def _addresses_key(_exported: Object) -> tuple[ObjectKey, ...]:
    return (_KEY,)
