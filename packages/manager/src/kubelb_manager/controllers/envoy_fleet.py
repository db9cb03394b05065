"""Key: a tenant's namespace. The pods of its fleet, their certificate, the address that Ingresses share.

A fleet exists while the tenant has something to serve. It goes when nothing is left, objects that
are being deleted included: these wait for their Envoys to let go.
"""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Change
from kubelb_manager.bootstrap.render import BootstrapOptions, render
from kubelb_manager.controllers import apply
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.controllers.xds_identity import XdsIdentity
from kubelb_manager.desired import envoy_fleet as desired
from kubelb_manager.desired import service as desired_service
from kubelb_manager.settings import in_force
from kubelb_manager.settings.merged import envoy, merged

#: Certificates are looked at this often; they are renewed at two thirds of their life.
_CERTIFICATE_PERIOD = 12 * 3600.0
_CERTIFICATE_REST = 60.0


class EnvoyFleetController:
    """Keeps one shared fleet per tenant."""

    def __init__(
        self,
        hub: Hub,
        identity: XdsIdentity,
        *,
        namespace: str,
        image: str,
        bootstrap: BootstrapOptions,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._informers = informers = hub.informers
        self._identity = identity
        self._namespace = namespace
        self._image = image
        self._bootstrap = render(bootstrap)
        self._clock = clock
        #: When a fleet's certificate was last looked at; Routes come far more often than it changes.
        self._looked_at: dict[str, float] = {}
        self.controller = Controller("envoy-fleet", self.reconcile, workers=2, clock=clock)
        for informer in (informers.routes, informers.load_balancers):
            self.controller.watch(informer, _namespace_key, when=_comes_or_goes)
        for informer in (informers.services, informers.deployments, informers.daemon_sets):
            self.controller.watch(informer, _namespace_key, when=_spec_moved)
        self.controller.watch(informers.tenants, lambda obj: [ObjectKey("", names.tenant_namespace(view.name(obj)))])
        self.controller.watch(informers.namespaces, lambda obj: [ObjectKey("", view.name(obj))])
        self.controller.watch(informers.configs, lambda _obj: self._everybody())

    def _everybody(self) -> list[ObjectKey]:
        return [ObjectKey("", view.name(item)) for item in self._informers.namespaces.store.list()]

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring the tenant's pods and shared Service to what it needs."""
        namespace = key.name
        home = self._informers.namespaces.store.get(None, namespace)
        tenant = self._informers.tenants.store.get(None, names.tenant_of_namespace(namespace))
        if home is None or view.deleting(home) or tenant is None or self._unknown(tenant):
            return DONE
        routes = self._informers.routes.store.list(namespace)
        live_routes = [route for route in routes if not view.deleting(route)]
        load_balancers = self._informers.load_balancers.store.list(namespace)
        if view.deleting(tenant):
            live_routes = []
        await self._shared_address(tenant, namespace, wanted=bool(live_routes))
        if not routes and not load_balancers:
            self._looked_at.pop(namespace, None)
            await self._remove(namespace)
            return DONE
        await self._ensure(tenant, namespace)
        return Again(_CERTIFICATE_PERIOD)

    def _unknown(self, tenant: Object) -> bool:
        """Whether the settings were never good: then what is there stays as it is."""
        config = self._informers.configs.store.get(self._namespace, names.CONFIG_NAME)
        return not view.deleting(tenant) and (in_force.never_good(tenant) or in_force.never_good(config))

    async def _shared_address(self, tenant: Object, namespace: str, *, wanted: bool) -> None:
        live = self._hub.live(resources.SERVICES, namespace, names.INGRESS_SERVICE)
        config = self._informers.configs.store.get(self._namespace, names.CONFIG_NAME)
        settings = merged(config, tenant)
        if wanted and settings.ingress_disabled:
            return  # what is there keeps its address, with no listener behind it
        if wanted:
            goal = desired_service.ingress(tenant, namespace, fleet=names.SHARED_FLEET, settings=settings)
            await apply.ensure(self._hub, resources.SERVICES, goal, live)
        else:
            await apply.remove(self._hub, resources.SERVICES, live)

    async def _ensure(self, tenant: Object, namespace: str) -> None:
        config = self._informers.configs.store.get(self._namespace, names.CONFIG_NAME)
        settings = envoy(config, tenant)
        now = self._clock.monotonic()
        if now - self._looked_at.get(namespace, -_CERTIFICATE_REST) >= _CERTIFICATE_REST:
            await self._identity.ensure_client(tenant, namespace, names.SHARED_FLEET)
            self._looked_at[namespace] = now
        goal = desired.workload(
            tenant,
            namespace,
            names.SHARED_FLEET,
            bootstrap=self._bootstrap,
            image=self._image,
            settings=settings,
        )
        await self._workload(namespace, daemon_set=settings.use_daemon_set, goal=goal)

    async def _remove(self, namespace: str) -> None:
        await self._workload(namespace, daemon_set=False, goal=None)

    async def _workload(self, namespace: str, *, daemon_set: bool, goal: Object | None) -> None:
        """Have one workload of the wanted kind, then none of the other (contract, defect 64)."""
        name = desired.workload_name(namespace)
        kinds = [
            (resources.DEPLOYMENTS, self._hub.live(resources.DEPLOYMENTS, namespace, name)),
            (resources.DAEMON_SETS, self._hub.live(resources.DAEMON_SETS, namespace, name)),
        ]
        (kind, live), (other, stale) = reversed(kinds) if daemon_set else kinds
        if goal is None:
            await apply.remove(self._hub, kind, live)
        else:
            await apply.ensure(self._hub, kind, goal, live)
        await apply.remove(self._hub, other, stale)


def _namespace_key(obj: Object) -> list[ObjectKey]:
    return [ObjectKey("", view.namespace(obj))]


def _comes_or_goes(change: Change) -> bool:
    old, new = change
    return old is None or new is None or view.deleting(old) != view.deleting(new)


def _spec_moved(change: Change) -> bool:
    old, new = change
    return old is None or new is None or old.get("spec") != new.get("spec") or view.labels(old) != view.labels(new)
