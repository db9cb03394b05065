"""The kinds that the manager follows in the management cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.store import Store
from kubelb_manager.gather import synced
from kubelb_manager.ir.model import FleetId
from kubelb_manager.ports.table import ports_of

#: The management cluster's own service ranges; absent before Kubernetes 1.33.
SERVICE_CIDRS = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)
#: Index of copies by the UID of the object that owns them.
BY_OWNER = "owner"
_API_SERVER = "kubernetes.io/service-name=kubernetes"
_HOST_CLAIMS = f"{names.LABEL_RECORD}={names.HOST_CLAIMS}"
#: Index of LoadBalancers and Routes by the ports of Envoy that they hold.
BY_PORT = "port"
#: Index of EndpointSlices by `namespace/name` of their Service.
BY_SERVICE = "service"
_SERVICE_NAME = "kubernetes.io/service-name"
#: Index of SyncSecrets by their own UID, which their Secret is named by.
BY_UID = "uid"
_MANAGED = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"


@dataclass(frozen=True, slots=True)
class Informers:
    """One informer for each kind; `all()` is what a supervisor has to run."""

    configs: Informer
    tenants: Informer
    tenant_states: Informer
    load_balancers: Informer
    routes: Informer
    addresses: Informer
    sync_secrets: Informer
    secrets: Informer
    service_accounts: Informer
    roles: Informer
    role_bindings: Informer
    namespaces: Informer
    services: Informer
    slices: Informer
    deployments: Informer
    daemon_sets: Informer
    ingresses: Informer
    disruption_budgets: Informer
    network_policies: Informer
    pod_monitors: Informer
    nodes: Informer
    service_cidrs: Informer
    host_claims: Informer
    api_servers: Informer

    @classmethod
    def of(cls, client: KubeClient, *, namespace: str, clock: Clock) -> Informers:
        """Make them; `namespace` is the manager's, where Config lives."""

        def follow(
            resource: Resource, *, optional: bool = False, selector: str | None = None, within: str | None = None
        ) -> Informer:
            return Informer(client, resource, namespace=within, label_selector=selector, clock=clock, optional=optional)

        ingresses = follow(resources.INGRESSES, selector=_MANAGED)
        services = follow(resources.SERVICES, selector=_MANAGED)
        for informer in (ingresses, services):
            informer.store.add_index(BY_OWNER, _owner_uid)
        load_balancers, routes = follow(resources.LOAD_BALANCERS), follow(resources.ROUTES)
        for informer in (load_balancers, routes):
            informer.store.add_index(BY_PORT, lambda obj: [str(port) for port in ports_of(obj)])
        routes.store.add_index(synced.BY_SECRET, synced.named_by)
        slices = follow(resources.ENDPOINT_SLICES, selector=names.LABEL_FLEET)
        slices.store.add_index(BY_SERVICE, _by_service)
        sync_secrets = follow(resources.SYNC_SECRETS)
        sync_secrets.store.add_index(BY_UID, lambda obj: (view.uid(obj),))
        secrets = follow(resources.SECRETS, selector=_MANAGED)
        secrets.store.add_index(synced.BY_ORIGIN, synced.origins)
        return cls(
            configs=follow(resources.CONFIGS, within=namespace),
            tenants=follow(resources.TENANTS),
            tenant_states=follow(resources.TENANT_STATES),
            load_balancers=load_balancers,
            routes=routes,
            addresses=follow(resources.ADDRESSES),
            sync_secrets=sync_secrets,
            secrets=secrets,
            service_accounts=follow(resources.SERVICE_ACCOUNTS, selector=_MANAGED),
            roles=follow(resources.ROLES, selector=_MANAGED),
            role_bindings=follow(resources.ROLE_BINDINGS, selector=_MANAGED),
            namespaces=follow(resources.NAMESPACES, selector=_MANAGED),
            services=services,
            slices=slices,
            deployments=follow(resources.DEPLOYMENTS, selector=names.LABEL_FLEET),
            daemon_sets=follow(resources.DAEMON_SETS, selector=names.LABEL_FLEET),
            ingresses=ingresses,
            disruption_budgets=follow(resources.DISRUPTION_BUDGETS, selector=_MANAGED),
            network_policies=follow(resources.NETWORK_POLICIES, selector=_MANAGED),
            pod_monitors=follow(resources.POD_MONITORS, selector=_MANAGED, optional=True),
            nodes=follow(resources.NODES),
            service_cidrs=follow(SERVICE_CIDRS, optional=True),
            api_servers=follow(resources.ENDPOINT_SLICES, selector=_API_SERVER, within="default"),
            host_claims=follow(resources.CONFIG_MAPS, selector=_HOST_CLAIMS, within=namespace),
        )

    def all(self) -> Iterable[Informer]:
        """Return every informer."""
        return (
            self.api_servers,  # before `slices`: of two informers of one kind the later one is read by `Hub.live`
            self.configs,
            self.tenants,
            self.tenant_states,
            self.load_balancers,
            self.routes,
            self.addresses,
            self.sync_secrets,
            self.secrets,
            self.service_accounts,
            self.roles,
            self.role_bindings,
            self.namespaces,
            self.services,
            self.slices,
            self.deployments,
            self.daemon_sets,
            self.ingresses,
            self.disruption_budgets,
            self.network_policies,
            self.pod_monitors,
            self.nodes,
            self.service_cidrs,
            self.host_claims,
        )


def _owner_uid(obj: Object) -> list[str]:
    owner = view.controller(obj)
    return [view.text(owner, "uid")] if owner is not None else []


def service_of(piece: Object) -> str:
    """Return the name of an EndpointSlice's Service, empty if it does not say."""
    return view.labels(piece).get(_SERVICE_NAME, "")


def _by_service(piece: Object) -> list[str]:
    name = service_of(piece)
    return [f"{view.namespace(piece)}/{name}"] if name else []


def members(slices: Store, fleet: FleetId) -> list[Object]:
    """Return the EndpointSlices that hold a fleet's pods."""
    return slices.by_index(BY_SERVICE, f"{fleet.namespace}/{names.fleet_members(*fleet)}")


def ready_pods(slices: Store, fleet: FleetId) -> frozenset[str]:
    """Return the names of a fleet's ready pods, from the EndpointSlices of its headless Service (ruling 12)."""
    return frozenset(
        view.text(endpoint, "targetRef", "name")
        for piece in members(slices, fleet)
        for endpoint in view.objects(piece, "endpoints")
        if view.get(endpoint, "conditions", "ready") is True and view.text(endpoint, "targetRef", "kind") == "Pod"
    )
