"""Who we are: the identity of the tenant cluster, and whether this tenant is being removed."""

from __future__ import annotations

from kubelb_ccm.export.meta import Destination, origin, origin_cluster
from kubelb_common import names
from kubelb_common.faults import Fault
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.store import Store

IDENTITY_NAMESPACE = "kube-system"


class Home:
    """The tenant's standing in both clusters, read from stores.

    Args:
        namespace: the tenant's namespace in the management cluster.
        namespaces: store with the tenant cluster's `kube-system`, whose UID names the cluster (ruling 21).
        tenant_states: the TenantStates in `namespace`; nobody may have asked for their changes before.
        addresses: store of the Addresses in `namespace`.
    """

    def __init__(self, namespace: str, namespaces: Store, tenant_states: Informer, addresses: Store) -> None:
        self.namespace = namespace
        self._namespaces = namespaces
        self._addresses = addresses
        self._removed = False
        tenant_states.on_change(self._note)

    @property
    def destination(self) -> Destination:
        """Where exports go and from which cluster.

        Of two clusters with one tenant's credential each has Addresses of its own, so that neither sends the other's
        traffic to its nodes: the first one `default`, any other one an object that is named by its identity, and
        stays with that.

        Raises:
            Fault: the tenant cluster has no `kube-system`, so it cannot be told from another one.
        """
        found = self._namespaces.get(None, IDENTITY_NAMESPACE)
        if found is None:
            raise Fault(f"namespace {IDENTITY_NAMESPACE} is not there: this cluster has no identity to export under")
        cluster = view.uid(found)
        first = self._addresses.get(self.namespace, names.ADDRESSES_NAME)
        is_ours = first is None or origin_cluster(first) in {None, cluster}
        is_ours = is_ours and self._addresses.get(self.namespace, cluster) is None
        return Destination(self.namespace, cluster, names.ADDRESSES_NAME if is_ours else cluster)

    @property
    def others(self) -> tuple[str, ...]:
        """Identities of other clusters whose nodes are known under this tenant, sorted."""
        own = self.destination.cluster
        found = {origin_cluster(item) for item in self._addresses.list(self.namespace)}
        return tuple(sorted(cluster for cluster in found if cluster is not None and cluster != own))

    @property
    def removed(self) -> bool:
        """Whether the manager has said that this tenant is being removed: nothing is exported or waited for then.

        Remembered when the TenantState itself goes with the tenant's namespace, until there is another one.
        """
        return self._removed

    def _note(self, change: Change) -> None:
        if change.new is not None and view.name(change.new) == names.TENANT_STATE_NAME:
            self._removed = _terminating(change.new)


def owner_changes(change: Change) -> bool:
    """Let through a change of an Addresses object that may change which one is ours; one Service's own never does."""
    old, new = change
    owners = [origin_cluster(item) if item is not None and origin(item) is None else "" for item in (old, new)]
    return owners[0] != owners[1]


def removal_changes(change: Change) -> bool:
    """Let through a change of a TenantState that begins or ends a removal; it tells other things too."""
    return change.new is not None and (change.old is None or _terminating(change.old) != _terminating(change.new))


def _terminating(state: Object | None) -> bool:
    return state is not None and view.text(state, "status", "phase") == "Terminating"
