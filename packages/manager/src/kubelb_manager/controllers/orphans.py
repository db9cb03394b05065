"""Namespaces of Tenants that are gone without a removal: somebody took our finalizer off, or restored a backup.

A Tenant is known by its UID (ruling 22): one of the same name that is made later is another tenant, and nothing of
the former one may come to it, neither objects nor a token that still works. So the former one's namespace goes first,
in the order of a removal. That a Tenant is gone is believed when another of its name is there, or when a
second list, some time after the first, lacks it too (ruling 21).
"""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Result
from kubelb_common.telemetry import logs
from kubelb_manager.controllers import apply, removal
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.rollout.rollout import REMOVAL_BOUND

_log = logs.get(__name__)
#: Seconds between the two lists.
CONFIRM = 30.0
_POLL = 0.2


class Orphans:
    """Removes what no Tenant owns any more."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub = hub
        self._clock = clock
        self._missed: dict[str, float] = {}
        self._began: dict[str, float] = {}

    async def sweep(self, home: str) -> Result:
        """Look at a namespace whose Tenant is not there; remove it when that is sure."""
        live = self._hub.live(resources.NAMESPACES, None, home)
        uid = owner_uid(live) if live is not None else ""
        if live is None or not uid or self._is_known(uid):
            self._missed.pop(home, None)
            self._began.pop(home, None)
            return DONE
        since = self._missed.setdefault(home, self._clock.monotonic())
        left = since + CONFIRM - self._clock.monotonic()
        if left > 0:
            return Again(left)
        tenants = (await self._hub.client.list(resources.TENANTS)).items
        if any(view.uid(tenant) == uid for tenant in tenants):
            return Again(CONFIRM)
        await self.remove(live)
        return Again(_POLL)

    async def remove(self, namespace: Object) -> None:
        """Go on with the removal of a namespace whose Tenant is certainly gone."""
        home = view.name(namespace)
        now = self._clock.monotonic()
        if home not in self._began:
            _log.warning(
                "namespace of a Tenant that is gone is removed", namespace=home, tenant_uid=owner_uid(namespace)
            )
        began = self._began.setdefault(home, now)
        await removal.tombstone(self._hub, _former(namespace), self._clock)
        # With another Tenant of that name our controllers drain as ever; without one nobody does.
        followed = self._hub.informers.tenants.store.get(None, names.tenant_of_namespace(home)) is not None
        if not followed:
            await self._remove_fleet(home)
        force = now - began >= REMOVAL_BOUND or (not followed and not self._is_served(home))
        if not await removal.delete_content(self._hub, home, force=force) and not view.deleting(namespace):
            await self._hub.delete(resources.NAMESPACES, namespace)

    async def _remove_fleet(self, home: str) -> None:
        stores = self._hub.informers
        for resource, informer in (
            (resources.DEPLOYMENTS, stores.deployments),
            (resources.DAEMON_SETS, stores.daemon_sets),
        ):
            for workload in informer.store.list(home):
                await apply.remove(self._hub, resource, workload)

    def _is_served(self, home: str) -> bool:
        pieces = self._hub.informers.slices.store.list(home)
        endpoints = (endpoint for piece in pieces for endpoint in view.objects(piece, "endpoints"))
        return any(view.get(endpoint, "conditions", "ready") is True for endpoint in endpoints)

    def _is_known(self, uid: str) -> bool:
        return any(view.uid(tenant) == uid for tenant in self._hub.informers.tenants.store.list())


def owner_uid(namespace: Object) -> str:
    """Return the UID of the Tenant that a namespace of ours was made for; empty if it says none."""
    owner = view.controller(namespace) or {}
    ours = view.labels(namespace).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
    return view.text(owner, "uid") if ours and _is_tenant(owner) else ""


def is_of_another(namespace: Object, tenant: Object) -> bool:
    """Tell whether a namespace was made for another Tenant than this one."""
    return owner_uid(namespace) not in ("", view.uid(tenant))


def _is_tenant(owner: Object) -> bool:
    group = view.text(owner, "apiVersion").partition("/")[0]
    return owner.get("kind") == resources.TENANTS.kind and group == names.GROUP


def _former(namespace: Object) -> Object:
    """Return as much of the former Tenant as its namespace tells."""
    owner = view.controller(namespace) or {}
    metadata = {"name": names.tenant_of_namespace(view.name(namespace)), "uid": view.text(owner, "uid")}
    return {"apiVersion": view.text(owner, "apiVersion"), "kind": view.text(owner, "kind"), "metadata": metadata}
