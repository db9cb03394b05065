"""The fleet's Services: one for each LoadBalancer, and one for all Ingresses of a tenant.

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
from kubelb_manager.settings.merged import Settings

#: Envoy's port of the fleet's HTTP listener.
HTTP_PORT = 8080


def service_port(name: str, port: int, target_port: int, protocol: str = "TCP") -> Object:
    """Return an entry of a Service's ports; one without a name goes without."""
    named = {"name": name} if name else {}
    return {**named, "port": port, "protocol": protocol, "targetPort": target_port}


def load_balancer(lb: Object, *, fleet: str, settings: Settings, ports: Iterable[Object]) -> Object:
    """Return the Service `envoy-<LoadBalancer>` in the LoadBalancer's namespace.

    Args:
        lb: an accepted LoadBalancer; it becomes the owner.
        fleet: the fleet that serves it.
        settings: class and annotations.
        ports: from `service_port`, the target port being Envoy's.
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
            **meta.fleet_labels(namespace, fleet),
            **origin,
            names.LABEL_TENANT: names.label_value(namespace),
            names.LABEL_LB_NAME: names.label_value(name),
            names.LABEL_LB_NAMESPACE: namespace,
        },
        annotations=settings.annotations.apply("service", untrusted.at(lb, "metadata", "annotations")),
        ownerReferences=[meta.owner_reference(lb)],
    )
    service_type = untrusted.at(lb, "spec", "type") or "ClusterIP"
    service["spec"] = _spec(service_type, list(ports), namespace, fleet, settings)
    return service


def ingress(tenant: Object, tenant_namespace: str, *, fleet: str, settings: Settings) -> Object:
    """Return the Service `envoy-ingress`, the one address of all Ingresses of a tenant (ruling 28).

    `tenant` (the Tenant object) becomes the owner.
    """
    service = meta.obj(
        "v1",
        "Service",
        names.INGRESS_SERVICE,
        tenant_namespace,
        labels={
            **meta.managed_labels(),
            **meta.fleet_labels(tenant_namespace, fleet),
            names.LABEL_TENANT: names.label_value(tenant_namespace),
        },
        annotations=settings.annotations.apply("service", {}),
        ownerReferences=[meta.owner_reference(tenant)],
    )
    ports = [service_port("http", 80, HTTP_PORT)]
    service["spec"] = _spec("LoadBalancer", ports, tenant_namespace, fleet, settings)
    return service


def _spec(service_type: str, ports: list[Object], namespace: str, fleet: str, settings: Settings) -> Object:
    spec: Object = {"type": service_type, "selector": meta.fleet_labels(namespace, fleet), "ports": ports}
    if service_type == "LoadBalancer":
        # Local keeps the client's address (ruling 9). The policy of the tenant's Service is about the
        # tenant's nodes and defaults to Cluster, so it cannot be taken as a wish for this one.
        spec["externalTrafficPolicy"] = "Local"
        if settings.load_balancer_class:
            spec["loadBalancerClass"] = settings.load_balancer_class
    return spec
