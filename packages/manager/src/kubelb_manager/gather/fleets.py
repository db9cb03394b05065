"""Which fleets serve an object: the one that the topology names, and the one that its Service points at.

A change of topology gives an object another *target*. Its Service keeps pointing at the fleet that *serves*
it until every ready Envoy of the target has it (make before break); until then both have it. The Service
itself is the record of where traffic goes, so nothing else has to be remembered over a restart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager.desired.envoy_fleet import rolled_out, workload_name
from kubelb_manager.gather.stores import BY_OWNER, Informers
from kubelb_manager.ir.model import FleetId, Origin
from kubelb_manager.settings import in_force
from kubelb_manager.settings.merged import topology


@dataclass(frozen=True, slots=True)
class Fleets:
    """Answers from the stores.

    Attributes:
        informers: the management cluster.
        namespace: the manager's, where the global fleet runs.
    """

    informers: Informers
    namespace: str
    _known: dict[str, tuple[object, str]] = field(default_factory=dict, repr=False)

    @property
    def shared_by_all(self) -> FleetId:
        """The fleet of topology global."""
        return FleetId(self.namespace, names.GLOBAL_FLEET)

    def target(self, origin: Origin) -> FleetId:
        """Return the fleet that the topology in force names."""
        return dict(self._candidates(origin))[self._topology(origin.namespace)]

    def bound(self, origin: Origin) -> FleetId | None:
        """Return the fleet that the object's Service points at; None without a Service of ours."""
        name = names.INGRESS_SERVICE if origin.kind == "Route" else names.load_balancer_service(origin.name)
        service = self.informers.services.store.get(origin.namespace, name)
        if service is None and origin.kind == "Route":
            return self._bound_by_copies(origin)
        return None if service is None else self.bound_by(origin, service)

    def _bound_by_copies(self, route: Origin) -> FleetId | None:
        """Return where the Services of a delegated Route (of any, for an Origin without a name) lead first."""
        if route.name:
            obj = self.informers.routes.store.get(route.namespace, route.name)
            services = [] if obj is None else self.informers.services.store.by_index(BY_OWNER, view.uid(obj))
        else:
            services = [
                service
                for service in self.informers.services.store.list(route.namespace)
                if view.text(view.controller(service) or {}, "kind") == "Route"
            ]
        found = {fleet for service in services if (fleet := self.bound_by(route, service)) is not None}
        return min(found - {self.target(route)}, default=min(found, default=None))

    def bound_by(self, origin: Origin, service: Object) -> FleetId | None:
        """Return the fleet that this Service of the object points at; None if it is none that could serve it."""
        label = view.labels(service).get(names.LABEL_FLEET)
        found = [fleet for _, fleet in self._candidates(origin) if names.fleet_label(*fleet) == label]
        return found[0] if found else None

    def serving(self, origin: Origin) -> FleetId:
        """Return the fleet that traffic goes to, or will go to first."""
        return self.bound(origin) or self.target(origin)

    def of(self, origin: Origin) -> tuple[FleetId, ...]:
        """Return every fleet that has to have the object, the target first."""
        target = self.target(origin)
        bound = self.bound(origin)
        return (target,) if bound is None or bound == target else (target, bound)

    def is_complete(self, fleet: FleetId) -> bool:
        """Whether the fleet has all the pods that it should have, and they are available.

        A Service with `externalTrafficPolicy: Local` that led to the first pod of several would move to that
        pod's node, and cut what comes in by another.
        """
        name = workload_name(*fleet)
        stores = (self.informers.deployments.store, self.informers.daemon_sets.store)
        live = (store.get(fleet.namespace, name) for store in stores)
        return any(obj is not None and rolled_out(obj) for obj in live)

    def _topology(self, tenant_namespace: str) -> str:
        """Return the topology in force; it is asked far more often than it changes."""
        tenant = self.informers.tenants.store.get(None, names.tenant_of_namespace(tenant_namespace))
        config = self.informers.configs.store.get(self.namespace, names.CONFIG_NAME)
        made_from = in_force.version(tenant), in_force.version(config)
        known = self._known.get(tenant_namespace)
        if known is not None and known[0] == made_from:
            return known[1]
        found = topology(config, tenant)
        self._known[tenant_namespace] = made_from, found
        return found

    def _candidates(self, origin: Origin) -> tuple[tuple[str, FleetId], ...]:
        own = names.INGRESS_FLEET if origin.kind == "Route" else names.load_balancer_fleet(origin.name)
        return (
            ("shared", FleetId(origin.namespace, names.SHARED_FLEET)),
            ("dedicated", FleetId(origin.namespace, own)),
            ("global", self.shared_by_all),
        )
