"""Key: a fleet. Its pods, their certificate, and the headless Service that says which of them are ready.

A fleet exists while it has to have some object (`gather.fleets`), and for `envoyProxy.holdDown` after that: clients
are still on their way to it, and the next object often comes soon. Only the Tenant's own deletion ends it at once.
Objects that are being deleted count: these wait for their Envoys to let go.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Change
from kubelb_manager.bootstrap.render import BootstrapOptions, sds_files
from kubelb_manager.controllers import apply
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.controllers.xds_identity import XdsIdentity
from kubelb_manager.desired import envoy_fleet as desired
from kubelb_manager.desired import service as desired_service
from kubelb_manager.gather.bootstraps import bootstrap_text
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.ir.model import FleetId, Origin
from kubelb_manager.settings import in_force
from kubelb_manager.settings.merged import EnvoySettings, envoy

#: Certificates are looked at this often; they are renewed at two thirds of their life.
_CERTIFICATE_PERIOD = 12 * 3600.0
_CERTIFICATE_REST = 60.0


class EnvoyFleetController:
    """Keeps the fleets that objects need."""

    def __init__(
        self,
        hub: Hub,
        fleets: Fleets,
        identity: XdsIdentity,
        *,
        namespace: str,
        image: str,
        agent_image: str,
        bootstrap: BootstrapOptions,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._informers = informers = hub.informers
        self._fleets = fleets
        self._identity = identity
        self._namespace = namespace
        self._image = image
        self._agent_image = agent_image
        self._bootstrap = bootstrap
        self._text = functools.lru_cache(maxsize=64)(functools.partial(bootstrap_text, bootstrap))
        self._clock = clock
        #: When a fleet's certificate was last looked at; objects come far more often than it changes.
        self._looked_at: dict[FleetId, float] = {}
        #: Since when a fleet has nothing to serve.
        self._idle_since: dict[FleetId, float] = {}
        self.controller = Controller("envoy-fleet", self.reconcile, workers=2, clock=clock, on_start=self._begin)
        for kind, informer in (("Route", informers.routes), ("LoadBalancer", informers.load_balancers)):
            self.controller.watch(informer, self._fleets_of(kind), when=_comes_or_goes)
        for informer in (informers.deployments, informers.daemon_sets):
            self.controller.watch(informer, _fleet_of_workload, when=_workload_moved)
        self.controller.watch(informers.services, self._fleets_of_service, when=_spec_moved)
        self.controller.watch(informers.secrets, self._fleet_of_certificate)
        self.controller.watch(informers.tenants, lambda obj: self._all_of(names.tenant_namespace(view.name(obj))))
        self.controller.watch(informers.namespaces, lambda obj: self._all_of(view.name(obj)))
        self.controller.watch(informers.configs, lambda _obj: self._everybody())

    def _begin(self) -> None:
        """A term begins."""
        self._looked_at.clear()
        self._idle_since.clear()

    # Which fleets something may concern -----------------------------------------------------------

    def _fleets_of(self, kind: str) -> Callable[[Object], list[ObjectKey]]:
        def keys(obj: Object) -> list[ObjectKey]:
            return self._keys(Origin(kind, view.namespace(obj), view.name(obj)))

        return keys

    def _keys(self, origin: Origin) -> list[ObjectKey]:
        return [ObjectKey(*fleet) for fleet in self._fleets.of(origin)]

    def _fleets_of_service(self, service: Object) -> list[ObjectKey]:
        """A Service that came to lead elsewhere may leave a fleet without use, so all of its tenant's are looked at."""
        namespace = view.namespace(service)
        if view.labels(service).get(names.LABEL_FLEET) == names.fleet_label(*self._fleets.shared_by_all):
            return [ObjectKey(*self._fleets.shared_by_all)]
        return self._workloads(namespace) + self._all_of(namespace)

    def _all_of(self, namespace: str) -> list[ObjectKey]:
        """Return the fleets that a tenant's objects need, and those that it has."""
        keys = {ObjectKey(*fleet) for origin in self._origins(namespace) for fleet in self._fleets.of(origin)}
        return sorted(keys.union(self._workloads(namespace), self._workloads(self._namespace)))

    def _workloads(self, namespace: str) -> list[ObjectKey]:
        workloads = (self._informers.deployments.store, self._informers.daemon_sets.store)
        return [key for store in workloads for obj in store.list(namespace) for key in _fleet_of_workload(obj)]

    def _fleet_of_certificate(self, secret: Object) -> list[ObjectKey]:
        """Map a certificate to its fleet, and have it looked at whenever it was last."""
        own = [
            key for key in self._workloads(view.namespace(secret)) if desired.xds_secret_name(*key) == view.name(secret)
        ]
        for key in own:
            self._looked_at.pop(FleetId(*key), None)
        return own

    def _everybody(self) -> list[ObjectKey]:
        namespaces = self._informers.namespaces.store.list()
        return sorted({key for item in namespaces for key in self._all_of(view.name(item))})

    def _origins(self, namespace: str | None) -> list[Origin]:
        """Return one Origin for each LoadBalancer, and one for all Routes of each tenant, which share their fleets."""
        routes = {view.namespace(route) for route in self._informers.routes.store.list(namespace)}
        load_balancers = self._informers.load_balancers.store.list(namespace)
        return [
            *(Origin("Route", home, "") for home in sorted(routes)),
            *(Origin("LoadBalancer", view.namespace(lb), view.name(lb)) for lb in load_balancers),
        ]

    # One fleet --------------------------------------------------------------------------------------

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring a fleet's pods to what its objects need."""
        fleet = FleetId(*key)
        tenant: Object | None = None
        if fleet != self._fleets.shared_by_all:
            home = self._informers.namespaces.store.get(None, fleet.namespace)
            tenant = self._informers.tenants.store.get(None, names.tenant_of_namespace(fleet.namespace))
            if home is None or view.deleting(home) or tenant is None:
                self._forget(fleet)
                return DONE
        config = self._informers.configs.store.get(self._namespace, names.CONFIG_NAME)
        if in_force.undecided(config, tenant):
            return DONE
        settings = envoy(config, tenant)
        if self._is_needed(fleet):
            self._idle_since.pop(fleet, None)
            await self._ensure(tenant, fleet, settings)
            return Again(_CERTIFICATE_PERIOD)
        now = self._clock.monotonic()
        left = self._idle_since.setdefault(fleet, now) + settings.hold_down - now
        if left > 0 and not view.deleting(tenant or {}):
            return Again(left)
        await self._remove(fleet)
        self._forget(fleet)
        return DONE

    def _is_needed(self, fleet: FleetId) -> bool:
        within = None if fleet == self._fleets.shared_by_all else fleet.namespace
        return any(fleet in self._fleets.of(origin) for origin in self._origins(within))

    def _forget(self, fleet: FleetId) -> None:
        self._looked_at.pop(fleet, None)
        self._idle_since.pop(fleet, None)

    async def _ensure(self, tenant: Object | None, fleet: FleetId, settings: EnvoySettings) -> None:
        now = self._clock.monotonic()
        if now - self._looked_at.get(fleet, -_CERTIFICATE_REST) >= _CERTIFICATE_REST:
            await self._identity.ensure_client(tenant, *fleet, files=sds_files(self._bootstrap))
            self._looked_at[fleet] = now
        await self._members(fleet, desired_service.members(tenant, fleet))
        goal = desired.workload(
            tenant,
            *fleet,
            bootstrap=self._text(settings.overload),
            image=self._image,
            agent=desired.Agent(self._agent_image, self._identity.drain_token(*fleet)),
            settings=settings,
        )
        kind, other = resources.DEPLOYMENTS, resources.DAEMON_SETS
        if settings.use_daemon_set:
            kind, other = other, kind
        stored = await apply.ensure(self._hub, kind, goal, self._workload(kind, fleet))
        # The old pods serve until the new ones do: a switch costs no request, and leaves nothing (defect 64).
        if desired.rolled_out(stored):
            await apply.remove(self._hub, other, self._workload(other, fleet))

    async def _members(self, fleet: FleetId, goal: Object | None) -> None:
        live = self._hub.live(resources.SERVICES, fleet.namespace, names.fleet_members(*fleet))
        if goal is None:
            await apply.remove(self._hub, resources.SERVICES, live)
        else:
            await apply.ensure(self._hub, resources.SERVICES, goal, live)

    async def _remove(self, fleet: FleetId) -> None:
        for kind in (resources.DEPLOYMENTS, resources.DAEMON_SETS):
            await apply.remove(self._hub, kind, self._workload(kind, fleet))
        await self._members(fleet, None)
        await self._remove_secret(fleet)

    async def _remove_secret(self, fleet: FleetId) -> None:
        name = desired.xds_secret_name(*fleet)
        live = await apply.read(self._hub, resources.SECRETS, name, fleet.namespace)
        await apply.remove(self._hub, resources.SECRETS, live)

    def _workload(self, kind: Resource, fleet: FleetId) -> Object | None:
        return self._hub.live(kind, fleet.namespace, desired.workload_name(*fleet))


def _fleet_of_workload(obj: Object) -> list[ObjectKey]:
    name = view.annotations(obj).get(names.ANNOTATION_FLEET)
    return [ObjectKey(view.namespace(obj), name)] if name else []


def _comes_or_goes(change: Change) -> bool:
    old, new = change
    return old is None or new is None or view.deleting(old) != view.deleting(new)


def _spec_moved(change: Change) -> bool:
    old, new = change
    return old is None or new is None or _ours(old) != _ours(new)


def _workload_moved(change: Change) -> bool:
    old, new = change
    if old is None or new is None or _spec_moved(change):
        return True
    return desired.rolled_out(old) != desired.rolled_out(new)


def _ours(obj: Object) -> tuple[object, ...]:
    """Return what we decide of an object, at least."""
    return obj.get("spec"), view.labels(obj), view.annotations(obj), view.owner_references(obj)
