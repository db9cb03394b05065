"""Who we are: the identity of the tenant cluster, and whether this tenant is being removed."""

from __future__ import annotations

from kubelb_ccm.export.meta import Destination
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
    """

    def __init__(self, namespace: str, namespaces: Store, tenant_states: Informer) -> None:
        self.namespace = namespace
        self._namespaces = namespaces
        self._removed = False
        tenant_states.on_change(self._note)

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
        """Whether the manager has said that this tenant is being removed: nothing is exported or waited for then.

        Remembered when the TenantState itself goes with the tenant's namespace, until there is another one.
        """
        return self._removed

    def _note(self, change: Change) -> None:
        if change.new is not None and view.name(change.new) == names.TENANT_STATE_NAME:
            self._removed = _terminating(change.new)


def removal_changes(change: Change) -> bool:
    """Let through a change of a TenantState that begins or ends a removal; it tells other things too."""
    return change.new is not None and (change.old is None or _terminating(change.old) != _terminating(change.new))


def _terminating(state: Object | None) -> bool:
    return state is not None and view.text(state, "status", "phase") == "Terminating"
