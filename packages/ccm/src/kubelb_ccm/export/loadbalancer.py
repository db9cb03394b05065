"""A Service of type LoadBalancer becomes a LoadBalancer."""

from __future__ import annotations

from kubelb_ccm.export.meta import Destination, carried_annotations, origin_labels
from kubelb_ccm.export.services import NodePorts, node_ports
from kubelb_common import names
from kubelb_common.objects.view import Object

_ENDPOINTS = "default"


def load_balancer(
    service: Object, destination: Destination, *, cloud_provider: bool = True, twin: Object | None = None
) -> Object | None:
    """Return the LoadBalancer of `service`, named by its UID; None if nothing could be reached behind it.

    Args:
        service: a Service of type LoadBalancer.
        destination: where it goes.
        cloud_provider: True: its endpoints are the tenant's nodes. False: another implementation in the tenant
            gives the Service its addresses, and these are the endpoints (empty until there are some).
        twin: the NodePort twin of a Service that has no node ports of its own.
    """
    spec = service["spec"]
    known = node_ports(twin if twin is not None else service)
    ports = [port for port in spec.get("ports") or () if _number(port, known, cloud_provider=cloud_provider)]
    where = _nodes(destination) if cloud_provider else _own_addresses(service)
    if not ports or not where:
        return None
    endpoint_ports = [_port(port, _number(port, known, cloud_provider=cloud_provider)) for port in ports]
    wanted: Object = {
        "type": "LoadBalancer",
        "endpoints": [{"name": _ENDPOINTS, **where, "ports": endpoint_ports}],
        "ports": [_port(port, port["port"]) for port in ports],
    }
    traffic = twin["spec"] if twin is not None else spec
    if policy := traffic.get("externalTrafficPolicy"):
        wanted["externalTrafficPolicy"] = policy
    if spec.get("sessionAffinity") == "ClientIP":
        wanted["persistence"] = {"type": "SourceIP"}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "LoadBalancer",
        "metadata": {
            "name": service["metadata"]["uid"],
            "namespace": destination.namespace,
            "labels": origin_labels(service, destination) | {names.LABEL_TENANT: destination.namespace},
            "annotations": carried_annotations(service),
            "finalizers": [names.FINALIZER],
        },
        "spec": wanted,
    }


def _nodes(destination: Destination) -> Object:
    return {"addressesReference": {"name": destination.addresses}}


def _own_addresses(service: Object) -> Object:
    found = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    addresses = [
        {"ip": entry["ip"]} if entry.get("ip") else {"hostname": entry["hostname"]}
        for entry in found
        if entry.get("ip") or entry.get("hostname")
    ]
    return {"addresses": addresses} if addresses else {}


def _number(port: Object, known: NodePorts, *, cloud_provider: bool) -> int:
    """Return the port on the endpoints: the node port, or in non-cloud mode the port of the Service's address."""
    if not cloud_provider:
        number: int = port["port"]
        return number
    return known.get((port["port"], port.get("protocol") or "TCP"), 0)


def _port(port: Object, number: int) -> Object:
    protocol = port.get("protocol") or "TCP"
    name = port.get("name") or f"{port['port']}-{protocol}"
    return {"name": name.lower(), "port": number, "protocol": protocol}
