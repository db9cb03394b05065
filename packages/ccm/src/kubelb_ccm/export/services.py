"""A tenant's Service as it travels in a Route: what the manager needs to reach it, and nothing else.

The name is always that of the original Service, because that is what the source object refers to. Where a NodePort
twin serves it, type and node ports are the twin's. Cluster addresses, selectors and everything about the inside of
the tenant stay there.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubelb_ccm.export.meta import carried_annotations
from kubelb_common.objects.view import Object

#: Node port by (port number, protocol) of a Service.
NodePorts = Mapping[tuple[int, str], int]
_PORT_FIELDS = ("name", "protocol", "port", "appProtocol", "nodePort")


def exported_service(service: Object, twin: Object | None = None) -> Object:
    """Return what travels of `service`.

    Args:
        service: the tenant's Service.
        twin: its NodePort twin; None if it has none, then only its own node ports travel.
    """
    spec = service.get("spec") or {}
    ports = [_exported_port(port) for port in spec.get("ports") or ()]
    traffic = spec
    if twin is not None:
        traffic = twin["spec"]
        known = node_ports(twin)
        ports = [_with_node_port(port, known.get((port["port"], port["protocol"]))) for port in ports]
    kept = {
        "type": traffic.get("type", "ClusterIP"),
        "ports": ports,
        "sessionAffinity": spec.get("sessionAffinity"),
        "externalTrafficPolicy": traffic.get("externalTrafficPolicy"),
        "externalName": spec.get("externalName"),
        "ipFamilies": traffic.get("ipFamilies"),
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {key: value for key in ("name", "namespace", "uid", "labels") if (value := _meta(service, key))}
        | ({"annotations": notes} if (notes := carried_annotations(service)) else {}),
        "spec": {key: value for key, value in kept.items() if value},
    }


def node_ports(service: Object) -> NodePorts:
    """Return the node ports that `service` holds."""
    return {
        (port["port"], port.get("protocol") or "TCP"): port["nodePort"]
        for port in (service.get("spec") or {}).get("ports") or ()
        if port.get("nodePort")
    }


def _meta(service: Object, key: str) -> object:
    return service["metadata"].get(key)


def _exported_port(port: Object) -> Object:
    kept = {key: port[key] for key in _PORT_FIELDS if port.get(key)}
    kept.setdefault("protocol", "TCP")
    return kept


def _with_node_port(port: Object, number: int | None) -> Object:
    bare = {key: value for key, value in port.items() if key != "nodePort"}
    return bare if number is None else {**bare, "nodePort": number}
