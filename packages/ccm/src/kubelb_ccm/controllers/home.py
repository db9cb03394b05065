"""Who we are: the identity of the tenant cluster, and whether this tenant is being removed."""

from __future__ import annotations

from kubelb_ccm.export.meta import Destination
from kubelb_common import names
from kubelb_common.faults import Fault
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.store import Change, Store

IDENTITY_NAMESPACE = "kube-system"


class Home:
    """The tenant's standing in both clusters, read from stores.

    Args:
        namespace: the tenant's namespace in the management cluster.
        namespaces: store with the tenant cluster's `kube-system`, whose UID names the cluster (ruling 21).
        tenant_states: store of the TenantStates in `namespace`.
    """

    def __init__(self, namespace: str, namespaces: Store, tenant_states: Store) -> None:
        self.namespace = namespace
        self._namespaces = namespaces
        self._tenant_states = tenant_states

    @property
    def destination(self) -> Destination:
        """Where exports go and from which cluster.

        Raises:
            Fault: the tenant cluster has no `kube-system`, so it cannot be told from another one.
        """
        found = self._namespaces.get(None, IDENTITY_NAMESPACE)
        if found is None:
            raise Fault(f"namespace {IDENTITY_NAMESPACE} is not there: this cluster has no identity to export under")
        return Destination(self.namespace, view.uid(found))

    @property
    def removed(self) -> bool:
        """Whether the manager has said that this tenant is being removed: nothing is exported or waited for then."""
        state = self._tenant_states.get(self.namespace, names.TENANT_STATE_NAME)
        return _terminating(state)


def removal_changes(change: Change) -> bool:
    """Let through a change of a TenantState that begins or ends a removal; it tells other things too."""
    return _terminating(change.old) != _terminating(change.new)


def _terminating(state: Object | None) -> bool:
    return state is not None and view.text(state, "status", "phase") == "Terminating"
