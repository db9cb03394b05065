"""A Service of type LoadBalancer becomes a LoadBalancer."""

from __future__ import annotations

from collections.abc import Iterator

from kubelb_ccm.export.meta import Destination, carried_annotations, origin_labels
from kubelb_ccm.export.problems import Problem
from kubelb_ccm.export.services import NodePorts, node_ports
from kubelb_common import names
from kubelb_common.objects.view import Object

_ENDPOINTS = "default"
_SERVED = ("TCP", "UDP")


def load_balancer(
    service: Object,
    destination: Destination,
    *,
    cloud_provider: bool = True,
    twin: Object | None = None,
    addresses: str = "",
) -> Object | None:
    """Return the LoadBalancer of `service`, named by its UID; None if nothing could be reached behind it.

    Args:
        service: a Service of type LoadBalancer.
        destination: where it goes.
        cloud_provider: True: its endpoints are the tenant's nodes. False: another implementation in the tenant
            gives the Service its addresses, and these are the endpoints (empty until there are some).
        twin: the NodePort twin of a Service that has no node ports of its own.
        addresses: name of the Addresses object with the nodes that serve it; empty: all of the cluster's.
    """
    spec = service["spec"]
    known = node_ports(twin if twin is not None else service)
    served = [port for port in spec.get("ports") or () if _protocol(port) in _SERVED]
    ports = [port for port in served if _number(port, known, cloud_provider=cloud_provider)]
    where = _nodes(addresses or destination.addresses) if cloud_provider else _own_addresses(service)
    if not ports or not where:
        return None
    endpoint_ports = [_port(port, _number(port, known, cloud_provider=cloud_provider)) for port in ports]
    wanted: Object = {
        "type": "LoadBalancer",
        "endpoints": [{"name": _ENDPOINTS, **where, "ports": endpoint_ports}],
        "ports": [_port(port, port["port"]) for port in ports],
    }
    traffic = twin["spec"] if twin is not None else spec
    if cloud_provider and (families := traffic.get("ipFamilies")):
        wanted["ipFamilies"] = list(families)
    if policy := traffic.get("externalTrafficPolicy"):
        wanted["externalTrafficPolicy"] = policy
    if spec.get("sessionAffinity") == "ClientIP":
        wanted["persistence"] = {"type": "SourceIP"}
    if ranges := spec.get("loadBalancerSourceRanges"):
        wanted["sourceRanges"] = [text.strip() for text in ranges]
    if cloud_provider and (address := spec.get("loadBalancerIP")):
        wanted["loadBalancerIP"] = address
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


def not_served(service: Object) -> Iterator[Problem]:
    """Yield what is to be told of ports that no LoadBalancer can hold; the others are exported."""
    ports = service["spec"].get("ports") or ()
    names_ = [f"{port['port']}/{_protocol(port)}" for port in ports if _protocol(port) not in _SERVED]
    if names_:
        what = "The port" if len(names_) == 1 else "The ports"
        kind = "Accepted" if len(names_) == len(ports) else "PartiallyInvalid"
        text = f"{what} {', '.join(names_)} cannot be served: only TCP and UDP are."
        yield Problem(kind, "UnsupportedProtocol", text)


def _nodes(addresses: str) -> Object:
    return {"addressesReference": {"name": addresses}}


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


def _protocol(port: Object) -> str:
    return port.get("protocol") or "TCP"


def _port(port: Object, number: int) -> Object:
    protocol = _protocol(port)
    name = port.get("name") or f"{port['port']}-{protocol}"
    return {"name": name.lower(), "port": number, "protocol": protocol}
