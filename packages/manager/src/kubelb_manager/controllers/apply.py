"""Bring one object of ours to what is wanted, with the fewest writes."""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.kube.errors import AlreadyExists, NotFound
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.controller import Terminal
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.desired import live as desired_live

Client = KubeClient | Hub


class NotOurs(Terminal):
    """An object of the wanted name exists and is not ours; it is never overwritten (contract, defect 73)."""


async def ensure(client: Client, resource: Resource, wanted: Object, live: Object | None) -> Object:
    """Create `wanted`, or update `live` where it differs; return the stored object.

    Args:
        client: the management cluster.
        resource: the kind.
        wanted: as a function of `desired` returned it.
        live: as far as it is known. Caches follow the kinds by label: one whose label somebody took away is not there,
            and is asked for.

    Raises:
        NotOurs: what is there neither carries our label nor is controlled by the owner of `wanted`.
        AlreadyExists: what is there is on its way out.
        KubeError: the API server refused, or did not answer.
    """
    namespace = view.namespace(wanted) or None
    if live is None:
        try:
            return await client.create(resource, desired_live.prepared(wanted), namespace)
        except AlreadyExists:
            live = await client.get(resource, view.name(wanted), namespace)
            if view.deleting(live):
                raise
    if not (_is_labelled(live) or _is_owned(live, wanted)):
        where = f"{resource.kind} {view.namespace(wanted)}/{view.name(wanted)}".replace(" /", " ")
        raise NotOurs(f"{where} exists and does not carry the label {names.LABEL_MANAGED_BY}={names.MANAGED_BY}")
    changed = desired_live.updated(live, wanted)
    if changed is None:
        return live
    return await client.replace(resource, changed, namespace)


async def read(client: Client, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
    """Return an object that no store follows, or None."""
    try:
        return await client.get(resource, name, namespace)
    except NotFound:
        return None


async def remove(hub: Hub, resource: Resource, live: Object | None) -> None:
    """Delete `live`, if it is there and ours."""
    if live is None or view.deleting(live) or not _is_labelled(live):
        return
    await hub.delete(resource, live)


async def finish(hub: Hub, resource: Resource, obj: Object) -> None:
    """Take our finalizers off an object that is being deleted."""
    ours = {names.FINALIZER, *names.LEGACY_FINALIZERS}
    present = view.finalizers(obj)
    rest = [item for item in present if item not in ours]
    if rest == present:
        return
    try:
        await hub.patch(resource, view.name(obj), view.finalizer_patch(obj, rest), view.namespace(obj) or None)
    except NotFound:
        return


async def hold(hub: Hub, resource: Resource, obj: Object) -> Object:
    """Put our finalizer on an object that lacks it; return the stored object."""
    if view.has_finalizer(obj, names.FINALIZER):
        return obj
    patch = view.finalizer_patch(obj, [*view.finalizers(obj), names.FINALIZER])
    return await hub.patch(resource, view.name(obj), patch, view.namespace(obj) or None)


def _is_labelled(live: Object) -> bool:
    return view.labels(live).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY


def _is_owned(live: Object, wanted: Object) -> bool:
    """Tell whether both have one controller: an object whose label somebody took away is still ours."""
    owner = view.controller(wanted)
    return owner is not None and view.text(view.controller(live) or {}, "uid") == view.text(owner, "uid") != ""
