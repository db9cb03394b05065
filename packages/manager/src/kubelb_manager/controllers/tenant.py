"""Key: a Tenant. Its namespace, account, rights and kubeconfig; and their orderly end.

Removal goes in an order that cannot stick, also while the tenant's agent is running (ruling 22):
the TenantState says Terminating and the agent's rights shrink to letting go; then our kinds are
deleted, whose own controllers drain the traffic and release them; then the namespace with
everything in it; the Tenant last.
"""

from __future__ import annotations

import functools

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import ApiError
from kubelb_common.kube.port import Object
from kubelb_common.objects import conditions, view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_manager.controllers import apply, clusters, credential, orphans, removal, status
from kubelb_manager.controllers.config import settings_status, settings_verdict, version
from kubelb_manager.controllers.events import Events
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.desired import tenant as desired
from kubelb_manager.settings.in_force import in_force
from kubelb_manager.settings.merged import Settings, merged
from kubelb_manager.translate.result import Verdict

#: The token controller and namespace deletion tell nothing: they are looked at this often.
_POLL = 0.2
#: Of what every tenant gets in its namespace.
_OWN_NAMES = frozenset({names.CCM_ACCOUNT, names.CCM_KUBECONFIG_SECRET, names.TENANT_STATE_NAME})


class TenantController:
    """Onboards and removes tenants."""

    def __init__(self, hub: Hub, events: Events, *, namespace: str, clock: Clock) -> None:
        self._hub = hub
        self._events = events
        self._informers = informers = hub.informers
        self._namespace = namespace
        self._clock = clock
        self._orphans = orphans.Orphans(hub, clock)
        self.controller = Controller("tenant", self.reconcile, workers=4, clock=clock)
        self.controller.watch(informers.tenants)
        self.controller.watch(informers.namespaces, _tenant_key)
        self.controller.watch(informers.configs, lambda _obj: self._everybody())
        self.controller.watch(informers.addresses, _tenant_key_of_content, when=clusters.moved)
        for informer in (
            informers.service_accounts,
            informers.roles,
            informers.role_bindings,
            informers.secrets,
            informers.tenant_states,
        ):
            self.controller.watch(informer, _tenant_key_of_own, when=functools.partial(_is_by_others, hub, informer))
        for informer in (informers.routes, informers.load_balancers):
            self.controller.watch(informer, _tenant_key_of_content, when=lambda change: change.new is None)

    def _everybody(self) -> list[ObjectKey]:
        return [ObjectKey.of(tenant) for tenant in self._informers.tenants.store.list()]

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring everything a tenant has in this cluster to what it should be."""
        tenant = self._hub.live(resources.TENANTS, *key)
        if tenant is None:
            return await self._orphans.sweep(names.tenant_namespace(key.name))
        if view.deleting(tenant):
            return await self._remove(tenant)
        if problem := names.tenant_name_problem(view.name(tenant)):
            await self._say(tenant, "Failed", "False", "InvalidName", f"The Tenant's name {problem}; choose another.")
            return DONE
        tenant = await apply.hold(self._hub, resources.TENANTS, tenant)
        tenant = await self._say_malformed(tenant)
        try:
            issued = await self._onboard(tenant)
        except (ApiError, apply.NotOurs) as error:
            text = getattr(error, "message", "") or str(error)
            await self._say(tenant, "Failed", "False", "ReconciliationFailed", text)
            raise
        if issued is None:
            return Again(_POLL)
        text = "The tenant's namespace and credential are ready."
        await self._say(tenant, "Ready", "True", "Reconciled", text, credential=issued.status)
        return DONE if issued.again is None else Again(max(issued.again, _POLL))

    # Coming --------------------------------------------------------------------------------------

    async def _onboard(self, tenant: Object) -> credential.Issued | None:
        """Make what is missing; return None while the token is not there yet, or the namespace is in the way."""
        home = desired.tenant_namespace(tenant)
        live = self._hub.live(resources.NAMESPACES, None, home)
        if live is None:
            live = await apply.read(self._hub, resources.NAMESPACES, home)
        if live is not None and orphans.is_of_another(live, tenant):
            await self._orphans.remove(live)
            return None
        if live is not None and view.deleting(live):
            return None
        await apply.ensure(self._hub, resources.NAMESPACES, desired.namespace(tenant), live)
        for resource, wanted in (
            (resources.SERVICE_ACCOUNTS, desired.service_account(tenant)),
            (resources.ROLES, desired.role(tenant, legacy_agent=self._settings(tenant).legacy_agent)),
            (resources.ROLE_BINDINGS, desired.role_binding(tenant)),
        ):
            own = await apply.read(self._hub, resource, view.name(wanted), home)
            await apply.ensure(self._hub, resource, wanted, own)
        issued = await credential.ensure(self._hub, tenant, self._clock)
        if issued is None:
            return None
        await self._tenant_state(tenant, terminating=False)
        return issued

    def _settings(self, tenant: Object) -> Settings:
        config = self._informers.configs.store.get(self._namespace, names.CONFIG_NAME)
        return merged(in_force(config), in_force(tenant))

    async def _tenant_state(self, tenant: Object, *, terminating: bool) -> None:
        goal = desired.tenant_state(tenant)
        home = view.namespace(goal)
        own = await apply.read(self._hub, resources.TENANT_STATES, view.name(goal), home)
        stored = await apply.ensure(self._hub, resources.TENANT_STATES, goal, own)
        told = desired.tenant_state_status(self._settings(tenant), version(), terminating=terminating)
        before = stored.get("status") or {}
        fresh = {**before, **told}
        if fresh != before:
            fresh["lastUpdated"] = status.now(self._clock)
            await status.write(self._hub, resources.TENANT_STATES, stored, fresh)

    async def _say_malformed(self, tenant: Object) -> Object:
        """Say at once what is wrong with the settings; good ones are said with the rest."""
        if settings_verdict(tenant).status == "True":
            return tenant
        fresh = settings_status(tenant, [], status.now(self._clock))
        await self._events.tell(tenant, fresh["conditions"])
        return await status.write(self._hub, resources.TENANTS, tenant, fresh)

    async def _say(
        self,
        tenant: Object,
        phase: str,
        ready: conditions.Status,
        reason: str,
        message: str,
        *,
        credential: Object | None = None,
    ) -> None:
        home = desired.tenant_namespace(tenant)
        verdicts = [
            Verdict("Ready", ready, reason, message),
            clusters.verdict(home, self._informers.addresses.store.list(home)),
        ]
        fresh = settings_status(tenant, verdicts, status.now(self._clock))
        await self._events.tell(tenant, fresh["conditions"])
        wanted = {**fresh, "phase": phase, "observedGeneration": view.generation(tenant)}
        if credential is not None:
            wanted["credential"] = credential
        await status.write(self._hub, resources.TENANTS, tenant, wanted)

    # Going ---------------------------------------------------------------------------------------

    async def _remove(self, tenant: Object) -> Result:
        home = desired.tenant_namespace(tenant)
        live = await apply.read(self._hub, resources.NAMESPACES, home)
        if live is None:
            await apply.finish(self._hub, resources.TENANTS, tenant)
            return DONE
        is_ours = view.labels(live).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
        if not is_ours or orphans.is_of_another(live, tenant):
            await apply.finish(self._hub, resources.TENANTS, tenant)
            return DONE
        await self._say(tenant, "Terminating", "True", "Terminating", "The tenant is being removed.")
        if not view.deleting(live):
            await self._tenant_state(tenant, terminating=True)
        await removal.tombstone(self._hub, tenant, self._clock)
        if not await removal.delete_content(self._hub, home):
            await apply.remove(self._hub, resources.NAMESPACES, live)
        return Again(_POLL)


def _tenant_key(namespace: Object) -> list[ObjectKey]:
    owner = view.controller(namespace)
    return [ObjectKey("", view.text(owner, "name"))] if owner is not None and owner.get("kind") == "Tenant" else []


def _is_by_others(hub: Hub, informer: Informer, change: Change) -> bool:
    """Leave out our own writes coming back: a pass over a tenant reads all that it has."""
    return not hub.is_echo(informer.resource, change)


def _tenant_key_of_own(obj: Object) -> list[ObjectKey]:
    """Map what we made for a tenant to it, also when somebody took its owner away; not what others have there."""
    is_own = view.name(obj) in _OWN_NAMES and view.namespace(obj).startswith(names.TENANT_NAMESPACE_PREFIX)
    return _tenant_key(obj) or (_tenant_key_of_content(obj) if is_own else [])


def _tenant_key_of_content(obj: Object) -> list[ObjectKey]:
    return [ObjectKey("", names.tenant_of_namespace(view.namespace(obj)))]
