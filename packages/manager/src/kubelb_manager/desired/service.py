"""The Services that lead to fleets: one for each LoadBalancer, and one for all Ingresses of a tenant.

They are made without saying which fleet they lead to; `bound` says that, and alone changes when the
topology does: Services stay in the tenant's namespace, so that addresses survive (ruling 29).

From a tenant's Service come port names, numbers and protocols, the choice between ClusterIP and
LoadBalancer, and annotations that the propagation rules pass. Everything else is ours: selector,
class, traffic policy, addresses.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import meta
from kubelb_manager.ir.model import FleetId
from kubelb_manager.settings.merged import Settings

#: Envoy's port of the fleet's HTTP listener.
HTTP_PORT = 8080


#: Envoy listens in both families: an address of each where the management cluster has them.
_FAMILIES = "PreferDualStack"


def service_port(name: str, port: int, target_port: int, protocol: str = "TCP") -> Object:
    """Return an entry of a Service's ports; one without a name goes without."""
    named = {"name": name} if name else {}
    return {**named, "port": port, "protocol": protocol, "targetPort": target_port}


def load_balancer(lb: Object, *, settings: Settings, ports: Iterable[Object], address: str = "") -> Object:
    """Return the Service `envoy-<LoadBalancer>` in the LoadBalancer's namespace, not bound to a fleet yet.

    Args:
        lb: an accepted LoadBalancer; it becomes the owner.
        settings: class and annotations.
        ports: from `service_port`, the target port being Envoy's.
        address: that the tenant asked for and may have; empty for any.
    """
    name, namespace = lb["metadata"]["name"], lb["metadata"]["namespace"]
    labels = untrusted.mapping(untrusted.at(lb, "metadata", "labels"))
    origin = {
        key: value
        for key in (names.LABEL_ORIGIN_NAMESPACE, names.LABEL_ORIGIN_NAME)
        if isinstance(value := labels.get(key), str)
    }
    service = meta.obj(
        "v1",
        "Service",
        names.load_balancer_service(name),
        namespace,
        labels={
            **meta.managed_labels(),
            **origin,
            names.LABEL_TENANT: names.label_value(namespace),
            names.LABEL_LB_NAME: names.label_value(name),
            names.LABEL_LB_NAMESPACE: namespace,
        },
        annotations=settings.annotations.apply("service", untrusted.at(lb, "metadata", "annotations")),
        ownerReferences=[meta.owner_reference(lb)],
    )
    service_type = untrusted.at(lb, "spec", "type") or "ClusterIP"
    service["spec"] = _spec(service_type, list(ports), settings)
    if address:
        service["spec"]["loadBalancerIP"] = address
    return service


def ingress(tenant: Object, tenant_namespace: str, *, settings: Settings) -> Object:
    """Return the Service `envoy-ingress`, the one address of all Ingresses of a tenant (ruling 28).

    `tenant` (the Tenant object) becomes the owner. It is not bound to a fleet yet.
    """
    service = meta.obj(
        "v1",
        "Service",
        names.INGRESS_SERVICE,
        tenant_namespace,
        labels={
            **meta.managed_labels(),
            names.LABEL_TENANT: names.label_value(tenant_namespace),
        },
        annotations=settings.annotations.apply("service", {}),
        ownerReferences=[meta.owner_reference(tenant)],
    )
    ports = [service_port("http", 80, HTTP_PORT)]
    service["spec"] = _spec("LoadBalancer", ports, settings)
    return service


def bound(service: Object, fleet: FleetId) -> Object:
    """Return the Service as one that leads to this fleet.

    By its selector where the fleet runs in the Service's namespace. Elsewhere (topology global) a selector
    finds nothing: `desired.endpoints` has its EndpointSlices.
    """
    labels = {**service["metadata"]["labels"], **meta.fleet_labels(*fleet)}
    spec = {key: value for key, value in service["spec"].items() if key != "selector"}
    if service["metadata"]["namespace"] == fleet.namespace:
        spec["selector"] = meta.fleet_labels(*fleet)
    return {**service, "metadata": {**service["metadata"], "labels": labels}, "spec": spec}


def members(owner: Object | None, fleet: FleetId) -> Object:
    """Return the headless Service whose EndpointSlices say which pods of a fleet are ready."""
    service = meta.obj(
        "v1",
        "Service",
        names.fleet_members(*fleet),
        fleet.namespace,
        labels={**meta.managed_labels(), **meta.fleet_labels(*fleet)},
        ownerReferences=meta.owners(owner),
    )
    service["spec"] = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "ipFamilyPolicy": _FAMILIES,
        "selector": meta.fleet_labels(*fleet),
        "ports": [service_port("http", HTTP_PORT, HTTP_PORT)],
    }
    return service


def _spec(service_type: str, ports: list[Object], settings: Settings) -> Object:
    spec: Object = {"type": service_type, "ipFamilyPolicy": _FAMILIES, "ports": ports}
    if service_type == "LoadBalancer":
        # Local keeps the client's address (ruling 9). The policy of the tenant's Service is about the
        # tenant's nodes and defaults to Cluster, so it cannot be taken as a wish for this one.
        spec["externalTrafficPolicy"] = "Local"
        if settings.load_balancer_class:
            spec["loadBalancerClass"] = settings.load_balancer_class
    return spec
