"""A tenant's Secret by where it comes from: references resolve to synced Secrets by origin, never by raw name."""

from __future__ import annotations

from collections.abc import Iterable

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.store import Store
from kubelb_manager.desired import delegated

BY_ORIGIN = "origin"
#: Index of Routes by the Secrets that their objects name, with the same keys.
BY_SECRET = "secret"  # noqa: S105 - the name of an index


def origins(secret: Object) -> Iterable[str]:
    """Return where a synced Secret comes from, as the index `BY_ORIGIN` has it; nothing for any other Secret."""
    owner = view.controller(secret)
    labels = view.labels(secret)
    name = view.annotations(secret).get(names.ANNOTATION_ORIGIN_NAME) or labels.get(names.LABEL_ORIGIN_NAME)
    origin = labels.get(names.LABEL_ORIGIN_NAMESPACE)
    if owner is None or owner.get("kind") != "SyncSecret" or not name or not origin:
        return ()
    return (place(view.namespace(secret), origin, name),)


def find(secrets: Store, tenant_namespace: str, namespace: str, name: str) -> Object | None:
    """Return the Secret in `tenant_namespace` that is the copy of the tenant's Secret `namespace/name`, or None.

    Of several that claim this origin, which only the tenant's own agent can bring about, the oldest counts.
    """
    found = secrets.by_index(BY_ORIGIN, place(tenant_namespace, namespace, name))
    return min(
        found, key=lambda secret: (view.text(secret, "metadata", "creationTimestamp"), view.name(secret)), default=None
    )


def named_by(route: Object) -> Iterable[str]:
    """Return the keys of the Secrets that a Route's object names, as the index `BY_SECRET` has them."""
    return [place(view.namespace(route), *secret) for secret in delegated.tls_secrets(route)]


def place(tenant_namespace: str, namespace: str, name: str) -> str:
    """Return the key of the index `BY_ORIGIN` for a tenant's Secret `namespace/name`."""
    return f"{tenant_namespace}/{namespace}/{name}"
