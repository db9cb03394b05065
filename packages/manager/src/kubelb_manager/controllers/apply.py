"""Bring one object of ours to what is wanted, with the fewest writes."""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.controller import Terminal
from kubelb_manager.desired import live as desired_live


class NotOurs(Terminal):
    """An object of the wanted name exists and is not ours; it is never overwritten (contract, defect 73)."""


async def ensure(client: KubeClient, resource: Resource, wanted: Object, live: Object | None) -> Object:
    """Create `wanted`, or update `live` where it differs; return the stored object.

    Raises:
        NotOurs: `live` does not carry our label.
        KubeError: the API server refused, or did not answer.
    """
    namespace = view.namespace(wanted) or None
    if live is None:
        return await client.create(resource, desired_live.prepared(wanted), namespace)
    if view.labels(live).get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
        where = f"{resource.kind} {view.namespace(wanted)}/{view.name(wanted)}".replace(" /", " ")
        raise NotOurs(f"{where} exists and does not carry the label {names.LABEL_MANAGED_BY}={names.MANAGED_BY}")
    changed = desired_live.updated(live, wanted)
    if changed is None:
        return live
    return await client.replace(resource, changed, namespace)


async def read(client: KubeClient, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
    """Return an object that no store follows, or None."""
    try:
        return await client.get(resource, name, namespace)
    except NotFound:
        return None


async def remove(client: KubeClient, resource: Resource, live: Object | None) -> None:
    """Delete `live`, if it is there and ours."""
    if live is None or view.deleting(live) or view.labels(live).get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
        return
    try:
        await client.delete(resource, view.name(live), view.namespace(live) or None, uid=view.uid(live))
    except NotFound:
        return


async def finish(client: KubeClient, resource: Resource, obj: Object) -> None:
    """Take our finalizers off an object that is being deleted."""
    ours = {names.FINALIZER, *names.LEGACY_FINALIZERS}
    present = view.finalizers(obj)
    rest = [item for item in present if item not in ours]
    if rest == present:
        return
    try:
        await client.patch(resource, view.name(obj), view.finalizer_patch(obj, rest), view.namespace(obj) or None)
    except NotFound:
        return


async def hold(client: KubeClient, resource: Resource, obj: Object) -> None:
    """Put our finalizer on an object that lacks it."""
    if not view.has_finalizer(obj, names.FINALIZER):
        wanted = [*view.finalizers(obj), names.FINALIZER]
        await client.patch(resource, view.name(obj), view.finalizer_patch(obj, wanted), view.namespace(obj) or None)
