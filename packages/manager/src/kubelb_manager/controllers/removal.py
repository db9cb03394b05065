"""The steps by which what a tenant has in the management cluster goes (ruling 22).

The agent must hear of the end while it can still read: its TenantState says Terminating, its rights shrink to letting
go. Then the objects of our kinds are deleted; their own controllers drain the traffic and release them.
"""

from __future__ import annotations

import asyncio

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_manager.controllers import apply, status
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.desired import tenant as desired

OWN_KINDS = (resources.ROUTES, resources.LOAD_BALANCERS, resources.SYNC_SECRETS, resources.ADDRESSES)
#: Those that a controller of ours holds until no Envoy uses them.
_DRAINED = (resources.ROUTES, resources.LOAD_BALANCERS)


async def tombstone(hub: Hub, tenant: Object, clock: Clock) -> None:
    """Make the TenantState say Terminating and shrink the agent's Role, where they exist; nothing is created.

    `tenant` may be gone: of it the name and the UID count.
    """
    home = desired.tenant_namespace(tenant)
    state = await apply.read(hub, resources.TENANT_STATES, names.TENANT_STATE_NAME, home)
    if state is not None and view.text(state, "status", "phase") != "Terminating":
        told = {**(state.get("status") or {}), "phase": "Terminating", "lastUpdated": status.now(clock)}
        await status.write(hub, resources.TENANT_STATES, state, told)
    role = await apply.read(hub, resources.ROLES, names.CCM_ACCOUNT, home)
    if role is not None:
        await apply.ensure(hub, resources.ROLES, desired.role(tenant, terminating=True), role)


async def delete_content(hub: Hub, home: str, *, force: bool = False) -> bool:
    """Ask for the deletion of all objects of our kinds in a namespace; return whether some are still there.

    A tenant's finalizer never stops the removal. Ours stays until no Envoy uses the object, unless `force`.
    """
    left = False
    for resource in OWN_KINDS:
        found = (await hub.client.list(resource, home)).items
        left = left or bool(found)
        await asyncio.gather(*(hub.delete(resource, obj) for obj in found if not view.deleting(obj)))
        for obj in found:
            drained = view.deleting(obj) and not view.has_finalizer(obj, names.FINALIZER)
            if force or resource not in _DRAINED or drained:
                await _strip(hub, resource, obj)
    return left


async def _strip(hub: Hub, resource: Resource, obj: Object) -> None:
    if view.finalizers(obj):
        try:
            patch = {"metadata": {"finalizers": None}}
            await hub.patch(resource, view.name(obj), patch, view.namespace(obj))
        except NotFound:
            return
