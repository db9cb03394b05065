"""The ports that a LoadBalancer asks for, and what its status says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.ports.table import PortKey

#: Protocols that are served; Envoy has nothing for SCTP.
SERVED_PROTOCOLS = ("TCP", "UDP")
_KNOWN_PROTOCOLS = (*SERVED_PROTOCOLS, "SCTP")
#: More ports than this on one LoadBalancer are not looked at.
MAX_PORTS = 256


class DeclaredPort(NamedTuple):
    """One usable entry of `spec.ports`. `name` may be empty where there is one port only."""

    name: str
    port: int
    protocol: str
    #: For each endpoint set in order: the port on its addresses, or None if it has none for this.
    upstream: tuple[int | None, ...]


class _EndpointPort(NamedTuple):
    name: str
    port: int
    protocol: str


def declared(lb: Object) -> tuple[DeclaredPort, ...]:
    """Return the well-formed ports of `spec.ports`, each (port, protocol) once, with their endpoint ports.

    An endpoint port belongs to the port of the same name and protocol; where a set has no such name,
    to the port at the same index, unless it carries the name of another port.
    """
    entries = [_entry(entry) for entry in untrusted.sequence(untrusted.at(lb, "spec", "ports"))[:MAX_PORTS]]
    sets = [_endpoint_ports(item) for item in untrusted.sequence(untrusted.at(lb, "spec", "endpoints"))]
    claimed = {(entry.name, entry.protocol) for entry in entries if entry is not None and entry.name}
    out: dict[tuple[int, str], DeclaredPort] = {}
    for index, entry in enumerate(entries):
        if entry is not None and (entry.port, entry.protocol) not in out:
            upstream = tuple(_match(entry, index, ports, claimed) for ports in sets)
            out[entry.port, entry.protocol] = DeclaredPort(entry.name, entry.port, entry.protocol, upstream)
    return tuple(out.values())


def _match(
    entry: _EndpointPort, index: int, ports: list[_EndpointPort | None], claimed: set[tuple[str, str]]
) -> int | None:
    for port in ports:
        if port is not None and entry.name and (port.name, port.protocol) == (entry.name, entry.protocol):
            return port.port
    candidate = ports[index] if index < len(ports) else None
    if candidate is None or candidate.protocol != entry.protocol:
        return None
    return None if (candidate.name, candidate.protocol) in claimed else candidate.port


def _endpoint_ports(endpoint_set: Any) -> list[_EndpointPort | None]:
    return [_entry(entry) for entry in untrusted.sequence(untrusted.at(endpoint_set, "ports"))[:MAX_PORTS]]


def _entry(entry: Any) -> _EndpointPort | None:
    number = untrusted.port_number(untrusted.at(entry, "port"))
    protocol = untrusted.at(entry, "protocol") or "TCP"
    name = untrusted.at(entry, "name") or ""
    if number is None or protocol not in _KNOWN_PROTOCOLS or not isinstance(name, str):
        return None
    if name and not untrusted.is_label(name):
        return None
    return _EndpointPort(name, number, protocol)


def key(lb: Object, port: DeclaredPort) -> PortKey:
    """Return the table's key of a port of this LoadBalancer."""
    metadata = untrusted.at(lb, "metadata")
    namespace, name = untrusted.at(metadata, "namespace"), untrusted.at(metadata, "name")
    return PortKey(untrusted.string(namespace), untrusted.string(name), port.port, port.protocol)


def wanted(lb: Object) -> tuple[PortKey, ...]:
    """Return the keys for which this LoadBalancer needs a port of Envoy."""
    return tuple(key(lb, port) for port in declared(lb) if port.protocol in SERVED_PROTOCOLS)


def status_ports(lb: Object, ports: Mapping[PortKey, int], service: Object | None = None) -> list[Object]:
    """Return `status.service.ports`: the place where the table survives a restart.

    Args:
        lb: the LoadBalancer.
        ports: Envoy's ports; a port without one is left out.
        service: the LoadBalancer's Service as it is now, for the node ports.
    """
    live = {
        (untrusted.at(item, "port"), untrusted.at(item, "protocol") or "TCP"): untrusted.port_number(
            untrusted.at(item, "nodePort")
        )
        for item in untrusted.sequence(untrusted.at(service, "spec", "ports"))
        if untrusted.port_number(untrusted.at(item, "port")) and isinstance(untrusted.at(item, "protocol") or "", str)
    }
    out: list[Object] = []
    for port in declared(lb):
        target = ports.get(key(lb, port))
        if target is None:
            continue
        entry: Object = {"port": port.port, "protocol": port.protocol, "targetPort": target}
        if port.name:
            entry["name"] = port.name
        node_port = live.get((port.port, port.protocol))
        if node_port is not None:
            entry["nodePort"] = node_port
        entry["upstreamTargetPort"] = next((number for number in port.upstream if number is not None), 0)
        out.append(entry)
    return out
