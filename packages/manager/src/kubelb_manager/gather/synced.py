"""A tenant's Secret by where it comes from: references resolve to synced Secrets by origin, never by raw name."""

from __future__ import annotations

from collections.abc import Iterable

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.store import Store

BY_ORIGIN = "origin"


def origins(secret: Object) -> Iterable[str]:
    """Return where a synced Secret comes from, as the index `BY_ORIGIN` has it; nothing for any other Secret."""
    owner = view.controller(secret)
    labels = view.labels(secret)
    name = view.annotations(secret).get(names.ANNOTATION_ORIGIN_NAME) or labels.get(names.LABEL_ORIGIN_NAME)
    origin = labels.get(names.LABEL_ORIGIN_NAMESPACE)
    if owner is None or owner.get("kind") != "SyncSecret" or not name or not origin:
        return ()
    return (_place(view.namespace(secret), origin, name),)


def find(secrets: Store, tenant_namespace: str, namespace: str, name: str) -> Object | None:
    """Return the Secret in `tenant_namespace` that is the copy of the tenant's Secret `namespace/name`, or None.

    Of several that claim this origin, which only the tenant's own agent can bring about, the oldest counts.
    """
    found = secrets.by_index(BY_ORIGIN, _place(tenant_namespace, namespace, name))
    return min(
        found, key=lambda secret: (view.text(secret, "metadata", "creationTimestamp"), view.name(secret)), default=None
    )


def _place(tenant_namespace: str, namespace: str, name: str) -> str:
    return f"{tenant_namespace}/{namespace}/{name}"
