"""A LoadBalancer: connections to ports of a tenant's Service (layer 4)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import service
from kubelb_manager.ir.model import ClientAddress, Cluster, Endpoint, L4Listener, Layer, Origin, Part, Protocol
from kubelb_manager.ports import declared as lb_ports
from kubelb_manager.ports.declared import DeclaredPort
from kubelb_manager.ports.table import PortKey
from kubelb_manager.translate import ages, endpoints
from kubelb_manager.translate.addresses import ip_literal, within
from kubelb_manager.translate.context import Context
from kubelb_manager.translate.result import (
    Problem,
    Reason,
    Translated,
    accepted,
    partially_invalid,
    refused,
    resolved_refs,
)

#: What the fields may hold; the empty string counts as absent.
_POSSIBLE: dict[str, tuple[str, ...]] = {
    "type": ("ClusterIP", "LoadBalancer", ""),
    "externalTrafficPolicy": ("Cluster", "Local", ""),
    "persistence.type": ("SourceIP",),
}
#: Characters of endpoint ports that a cluster's name holds.
_NAMED_NUMBERS = 40
#: More source ranges than this refuse the object.
MAX_SOURCE_RANGES = 1000


def translate_load_balancer(lb: Object, context: Context, ports: Mapping[PortKey, int]) -> Translated:
    """Translate one LoadBalancer; pure, and raises for nothing that JSON can hold.

    Args:
        lb: the object.
        context: what its tenant's objects share.
        ports: Envoy's ports, from `ports.table.allocate` over `ports.declared.wanted`.
    """
    sets = untrusted.sequence(untrusted.at(lb, "spec", "endpoints"))
    refusal = _spec_refusal(lb, context)
    if refusal is not None:
        return refused(refusal)
    families = endpoints.families_of(untrusted.at(lb, "spec", "ipFamilies"))
    usable = [endpoints.of_families(endpoints.usable_addresses(item, context), families) for item in sets]
    refusal = next((found.refusal for found in usable if found.refusal is not None), None)
    if refusal is not None:
        return refused(refusal)
    served, skipped = _serve(lb, usable, context, ports)
    if not served:
        return refused(Problem(skipped[0].reason, partially_invalid(skipped)[0].message))
    problems = [problem for found in usable for problem in found.problems]
    ineffective = partially_invalid([*skipped, *_ineffective(lb)])
    return Translated(
        part=_part(lb, served, context),
        verdicts=(accepted(_notes(lb)), resolved_refs(problems), *ineffective),
        services=_origin_service(lb),
        copy=service.load_balancer(
            lb,
            settings=context.settings,
            ports=_service_ports(served),
            address=_address(lb),
        ),
    )


class _Served(NamedTuple):
    port: DeclaredPort
    envoy_port: int
    endpoints: tuple[Endpoint, ...]


def _serve(
    lb: Object, usable: list[endpoints.Usable], context: Context, ports: Mapping[PortKey, int]
) -> tuple[list[_Served], list[Problem]]:
    """Return the ports that can be served, and why others cannot."""
    served: list[_Served] = []
    skipped: list[Problem] = []
    for port in lb_ports.declared(lb):
        found = _serve_port(port, ports.get(lb_ports.key(lb, port)), usable, context)
        if isinstance(found, Problem):
            skipped.append(found)
        else:
            served.append(found)
    return served, skipped


def _serve_port(
    port: DeclaredPort, envoy_port: int | None, usable: list[endpoints.Usable], context: Context
) -> _Served | Problem:
    said = f"{port.port}/{port.protocol}"
    if port.protocol not in lb_ports.SERVED_PROTOCOLS:
        return Problem(Reason.UNSUPPORTED_PROTOCOL, f"The port {said} is not served: only TCP and UDP are.")
    if all(upstream is None for upstream in port.upstream):
        return Problem(Reason.PORT_NOT_FOUND, f"No port under spec.endpoints belongs to the port {said}.")
    ends: set[Endpoint] = set()
    for found, upstream in zip(usable, port.upstream, strict=True):
        if upstream is None:
            continue
        reached = endpoints.reachable(found.ips, upstream, context.addresses, Protocol(port.protocol))
        if len(reached) < len(found.ips):
            text = f"The endpoint port {upstream} is outside the node ports and its addresses are not granted."
            return Problem(Reason.PORT_NOT_ALLOWED, text)
        ends.update(reached)
    if envoy_port is None:
        return Problem(Reason.NO_PORT_AVAILABLE, f"The proxy has no port left for {said}.")
    return _Served(port, envoy_port, tuple(sorted(ends)))


def _part(lb: Object, served: list[_Served], context: Context) -> Part:
    namespace, name = lb["metadata"]["namespace"], lb["metadata"]["name"]
    source_ranges = _source_ranges(lb)
    listeners: list[L4Listener] = []
    clusters: list[Cluster] = []
    for port, envoy_port, ends in served:
        cluster = _cluster(lb, port, ends, f"{context.tenant_namespace}/{name}")
        clusters.append(cluster)
        listener = f"{namespace}/{name}/{port.port}/{envoy_port}/{port.protocol.lower()}"
        listeners.append(
            L4Listener(
                listener,
                envoy_port,
                cluster.name,
                cluster.protocol,
                source_ranges,
                behind_proxy=cluster.protocol is Protocol.TCP and context.client_address.proxy_protocol,
            )
        )
    return Part(
        origin=Origin("LoadBalancer", namespace, name),
        age=ages.age(lb, None, f"{namespace}/{name}"),
        listeners=tuple(sorted(listeners, key=lambda item: item.port)),
        clusters=tuple(sorted(clusters, key=lambda item: item.name)),
    )


def _cluster(lb: Object, port: DeclaredPort, ends: tuple[Endpoint, ...], head: str) -> Cluster:
    """Return the cluster of a port; its name tells everything but the addresses, so another way is another cluster."""
    protocol = Protocol(port.protocol)
    local = untrusted.at(lb, "spec", "externalTrafficPolicy") == "Local"
    affinity = untrusted.at(lb, "spec", "persistence", "type") == "SourceIP"
    proxy = protocol is Protocol.TCP and _proxy_protocol(lb) == names.PROXY_PROTOCOL_V2
    options = {"local": local, "affinity": affinity, "proxy": proxy}
    kind = "-".join([port.protocol.lower(), *(option for option, on in options.items() if on)])
    return Cluster(
        f"{head}/{port.port}/{_upstream(port)}/{kind}",
        Layer.L4,
        ends,
        protocol=protocol,
        local_only=local,
        source_affinity=affinity,
        proxy_protocol=proxy,
    )


def _service_ports(served: list[_Served]) -> list[Object]:
    """Return the ports of the Service in the management cluster, whose names must differ whatever the protocol."""
    out: list[Object] = []
    taken: set[str] = set()
    for port, envoy_port, _ in served:
        protocol = port.protocol.lower()
        choices = (port.name, f"{port.name or port.port}-{protocol}"[-63:].strip("-"), f"{port.port}-{protocol}")
        name = next(choice for choice in choices if (choice or len(served) == 1) and choice not in taken)
        taken.add(name)
        out.append(service.service_port(name, port.port, envoy_port, port.protocol))
    return out


def _upstream(port: DeclaredPort) -> str:
    """Return the endpoint ports as a part of a name: other ports are another cluster."""
    numbers = "+".join(str(number) for number in sorted({number for number in port.upstream if number is not None}))
    return numbers if len(numbers) <= _NAMED_NUMBERS else names.digest(numbers)


def _spec_refusal(lb: Object, context: Context) -> Problem | None:
    metadata, spec = untrusted.at(lb, "metadata"), untrusted.at(lb, "spec")
    if context.settings.load_balancer_disabled:
        return Problem(Reason.DISABLED, "The administrator has disabled LoadBalancers for this tenant.")
    if not untrusted.is_label(untrusted.string(untrusted.at(metadata, "namespace"))):
        return Problem(Reason.INVALID_METADATA, "The LoadBalancer has no valid namespace.")
    name = untrusted.string(untrusted.at(metadata, "name"))
    if not name or not untrusted.is_label(names.load_balancer_service(name)):
        text = "metadata.name must be a DNS label of at most 57 characters: its Service is named after it."
        return Problem(Reason.INVALID_METADATA, text)
    sets = untrusted.sequence(untrusted.at(spec, "endpoints"))
    if not sets:
        return Problem(Reason.INVALID_SPEC, "spec.endpoints is empty.")
    if len(sets) > endpoints.MAX_ENDPOINT_SETS:
        text = f"spec.endpoints has {len(sets)} entries, at most {endpoints.MAX_ENDPOINT_SETS} are possible."
        return Problem(Reason.TOO_LARGE, text)
    return (
        _value_refusal(spec)
        or _ports_refusal(lb)
        or _source_ranges_refusal(lb, context)
        or _address_refusal(spec, context)
    )


def _value_refusal(spec: Any) -> Problem | None:
    for field, possible in _POSSIBLE.items():
        value = untrusted.at(spec, *field.split("."))
        if value is not None and value not in possible:
            said = untrusted.quoted(untrusted.string(value))
            text = f"spec.{field} {said} is not supported; possible: {', '.join(filter(None, possible))}."
            return Problem(Reason.UNSUPPORTED_VALUE, text)
    return None


def _ports_refusal(lb: Object) -> Problem | None:
    written = len(untrusted.sequence(untrusted.at(lb, "spec", "ports")))
    if not written:
        return Problem(Reason.INVALID_SPEC, "spec.ports is empty: there is nothing to listen on.")
    if written > lb_ports.MAX_PORTS:
        text = f"spec.ports has {written} entries, at most {lb_ports.MAX_PORTS} are possible."
        return Problem(Reason.TOO_LARGE, text)
    found = lb_ports.declared(lb)
    if len(found) != written:
        text = "An entry of spec.ports is malformed, or a port and protocol appear twice."
        return Problem(Reason.INVALID_SPEC, text)
    named = [(port.name, port.protocol) for port in found if port.name]
    if len(set(named)) != len(named):
        return Problem(Reason.INVALID_SPEC, "Two entries of spec.ports have the same name and protocol.")
    return None


def _source_ranges_refusal(lb: Object, context: Context) -> Problem | None:
    """Return why clients cannot be told apart as asked; such an object is never served to all instead."""
    spec = untrusted.at(lb, "spec")
    ranges = untrusted.at(spec, "sourceRanges")
    if ranges is None or ranges == []:
        return None
    if len(untrusted.sequence(ranges)) > MAX_SOURCE_RANGES:
        text = f"spec.sourceRanges has {len(ranges)} entries, at most {MAX_SOURCE_RANGES} are possible."
        return Problem(Reason.TOO_LARGE, text)
    wrong = next((item for item in untrusted.sequence(ranges) if _cidr(item) is None), None)
    if wrong is not None or not isinstance(ranges, list):
        said = untrusted.quoted(untrusted.string(wrong))
        return Problem(Reason.INVALID_SPEC, f"spec.sourceRanges: {said} is not a CIDR block.")
    if untrusted.at(spec, "type") != "LoadBalancer":
        text = "spec.sourceRanges needs type LoadBalancer: who connects to a ClusterIP is not known to be the client."
        return Problem(Reason.CLIENT_ADDRESS_UNKNOWN, text)
    return _hidden_clients(lb, context.client_address)


def _hidden_clients(lb: Object, client: ClientAddress) -> Problem | None:
    """Return why a proxy in front hides the clients' addresses at layer 4 (ruling 9)."""
    if client.proxy_protocol:
        if any(port.protocol == "UDP" for port in lb_ports.declared(lb)):
            text = "spec.sourceRanges cannot hold for UDP: a proxy in front names clients of TCP connections only."
            return Problem(Reason.CLIENT_ADDRESS_UNKNOWN, text)
    elif client.trusted_hops or client.trusted_cidrs:
        text = "spec.sourceRanges cannot hold: proxies in front name clients in HTTP headers only."
        return Problem(Reason.CLIENT_ADDRESS_UNKNOWN, text)
    return None


def _source_ranges(lb: Object) -> tuple[str, ...]:
    ranges = {_cidr(item) for item in untrusted.sequence(untrusted.at(lb, "spec", "sourceRanges"))}
    return tuple(sorted(item for item in ranges if item is not None))


def _cidr(value: Any) -> str | None:
    """Return a CIDR block in its canonical form, None for anything else."""
    text = untrusted.string(value).strip()
    try:
        return str(ipaddress.ip_network(text, strict=False)) if "/" in text else None
    except ValueError:
        return None


def _address_refusal(spec: Any, context: Context) -> Problem | None:
    """Return why the address that the tenant asks for cannot be given (ruling 10)."""
    wanted = untrusted.at(spec, "loadBalancerIP")
    if wanted is None or wanted == "":
        return None
    said, address = untrusted.quoted(untrusted.string(wanted)), ip_literal(untrusted.string(wanted))
    if address is None:
        return Problem(Reason.ADDRESS_NOT_USABLE, f"The address {said} is not an IP address.")
    if untrusted.at(spec, "type") != "LoadBalancer":
        return Problem(Reason.ADDRESS_NOT_USABLE, "spec.loadBalancerIP needs type LoadBalancer.")
    if not within(address, context.settings.addresses_allowed):
        text = f"The address {said} may not be chosen; the administrator has to allow it (addresses.allowed)."
        return Problem(Reason.ADDRESS_NOT_USABLE, text)
    return None


def _address(lb: Object) -> str:
    return ip_literal(untrusted.string(untrusted.at(lb, "spec", "loadBalancerIP"))) or ""


def _proxy_protocol(lb: Object) -> str:
    return untrusted.string(untrusted.at(lb, "metadata", "annotations", names.ANNOTATION_PROXY_PROTOCOL))


def _ineffective(lb: Object) -> list[Problem]:
    wish = _proxy_protocol(lb)
    if wish in ("", names.PROXY_PROTOCOL_V2):
        return []
    text = (
        f"The annotation {names.ANNOTATION_PROXY_PROTOCOL} {untrusted.quoted(wish)} has no effect; "
        f"possible: {names.PROXY_PROTOCOL_V2}."
    )
    return [Problem(Reason.UNSUPPORTED_VALUE, text)]


def _notes(lb: Object) -> list[str]:
    return ["spec.hostname has no effect in this release."] if untrusted.at(lb, "spec", "hostname") else []


def _origin_service(lb: Object) -> tuple[str, ...]:
    labels = untrusted.at(lb, "metadata", "labels")
    namespace = untrusted.string(untrusted.at(labels, names.LABEL_ORIGIN_NAMESPACE))
    name = untrusted.string(untrusted.at(labels, names.LABEL_ORIGIN_NAME))
    return (f"{namespace}/{name}",) if untrusted.is_label(namespace) and untrusted.is_label(name) else ()
