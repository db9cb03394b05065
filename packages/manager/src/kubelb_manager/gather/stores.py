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

#: The management cluster's own service ranges; absent before Kubernetes 1.33.
SERVICE_CIDRS = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)
#: Index of copies by the UID of the object that owns them.
BY_OWNER = "owner"
_HOST_CLAIMS = f"{names.LABEL_RECORD}={names.HOST_CLAIMS}"
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
    namespaces: Informer
    services: Informer
    slices: Informer
    deployments: Informer
    daemon_sets: Informer
    ingresses: Informer
    nodes: Informer
    service_cidrs: Informer
    host_claims: Informer

    @classmethod
    def of(cls, client: KubeClient, *, namespace: str, clock: Clock) -> Informers:
        """Make them; `namespace` is the manager's, where Config lives."""

        def follow(
            resource: Resource, *, optional: bool = False, selector: str | None = None, within: str | None = None
        ) -> Informer:
            return Informer(client, resource, namespace=within, label_selector=selector, clock=clock, optional=optional)

        ingresses = follow(resources.INGRESSES, selector=_MANAGED)
        ingresses.store.add_index(BY_OWNER, _owner_uid)
        return cls(
            configs=follow(resources.CONFIGS, within=namespace),
            tenants=follow(resources.TENANTS),
            tenant_states=follow(resources.TENANT_STATES),
            load_balancers=follow(resources.LOAD_BALANCERS),
            routes=follow(resources.ROUTES),
            addresses=follow(resources.ADDRESSES),
            namespaces=follow(resources.NAMESPACES, selector=_MANAGED),
            services=follow(resources.SERVICES, selector=_MANAGED),
            slices=follow(resources.ENDPOINT_SLICES, selector=names.LABEL_FLEET),
            deployments=follow(resources.DEPLOYMENTS, selector=names.LABEL_FLEET),
            daemon_sets=follow(resources.DAEMON_SETS, selector=names.LABEL_FLEET),
            ingresses=ingresses,
            nodes=follow(resources.NODES),
            service_cidrs=follow(SERVICE_CIDRS, optional=True),
            host_claims=follow(resources.CONFIG_MAPS, selector=_HOST_CLAIMS, within=namespace),
        )

    def all(self) -> Iterable[Informer]:
        """Return every informer."""
        return (
            self.configs,
            self.tenants,
            self.tenant_states,
            self.load_balancers,
            self.routes,
            self.addresses,
            self.namespaces,
            self.services,
            self.slices,
            self.deployments,
            self.daemon_sets,
            self.ingresses,
            self.nodes,
            self.service_cidrs,
            self.host_claims,
        )


def _owner_uid(obj: Object) -> list[str]:
    owner = view.controller(obj)
    return [view.text(owner, "uid")] if owner is not None else []


def ready_pods(slices: Store, namespace: str, fleet_label: str) -> frozenset[str]:
    """Return the names of a fleet's ready pods, from its Services' EndpointSlices (ruling 12)."""
    ready: set[str] = set()
    for piece in slices.list(namespace):
        if view.labels(piece).get(names.LABEL_FLEET) != fleet_label:
            continue
        for endpoint in view.objects(piece, "endpoints"):
            if view.get(endpoint, "conditions", "ready") is True and view.text(endpoint, "targetRef", "kind") == "Pod":
                ready.add(view.text(endpoint, "targetRef", "name"))
    return frozenset(ready)
