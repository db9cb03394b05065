"""A LoadBalancer: connections to ports of a tenant's Service (layer 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import service
from kubelb_manager.ir.model import Cluster, Endpoint, Layer, Origin, Part, TcpListener
from kubelb_manager.ports import declared as lb_ports
from kubelb_manager.ports.declared import DeclaredPort
from kubelb_manager.ports.table import PortKey
from kubelb_manager.translate import ages, endpoints
from kubelb_manager.translate.context import Context
from kubelb_manager.translate.result import Problem, Reason, Translated, accepted, refused, resolved_refs

_PROXY_PROTOCOL = f"{names.GROUP}/proxy-protocol"
#: What the fields may hold; the empty string counts as absent.
_POSSIBLE: dict[str, tuple[str, ...]] = {
    "type": ("ClusterIP", "LoadBalancer", ""),
    "externalTrafficPolicy": ("Cluster", "Local", ""),
    "persistence.type": ("SourceIP",),
}
#: Ports that a message names, and characters of endpoint ports that a cluster's name holds.
_SAID_PORTS = 5
_NAMED_NUMBERS = 40


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
    usable = [endpoints.usable_addresses(item, context) for item in sets]
    refusal = next((found.refusal for found in usable if found.refusal is not None), None)
    if refusal is not None:
        return refused(refusal)
    served, skipped = _serve(lb, usable, context, ports)
    said = [problem.message for problem in skipped[:_SAID_PORTS]]
    if not served:
        return refused(Problem(skipped[0].reason, " ".join(said)))
    problems = [problem for found in usable for problem in found.problems]
    return Translated(
        part=_part(lb, served, context),
        verdicts=(accepted([*said, *_notes(lb)]), resolved_refs(problems)),
        services=_origin_service(lb),
        copy=service.load_balancer(
            lb,
            settings=context.settings,
            ports=[service.service_port(item.port.name, item.port.port, item.envoy_port) for item in served],
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
        return Problem(Reason.UNSUPPORTED_PROTOCOL, f"The port {said} is not served: this release serves TCP only.")
    if all(upstream is None for upstream in port.upstream):
        return Problem(Reason.PORT_NOT_FOUND, f"No port under spec.endpoints belongs to the port {said}.")
    ends: set[Endpoint] = set()
    for found, upstream in zip(usable, port.upstream, strict=True):
        if upstream is None:
            continue
        reached = endpoints.reachable(found.ips, upstream, context.addresses)
        if len(reached) < len(found.ips):
            text = f"The endpoint port {upstream} is outside the node ports and its addresses are not granted."
            return Problem(Reason.PORT_NOT_ALLOWED, text)
        ends.update(reached)
    if envoy_port is None:
        return Problem(Reason.NO_PORT_AVAILABLE, f"The proxy has no port left for {said}.")
    return _Served(port, envoy_port, tuple(sorted(ends)))


def _part(lb: Object, served: list[_Served], context: Context) -> Part:
    namespace, name = lb["metadata"]["namespace"], lb["metadata"]["name"]
    listeners: list[TcpListener] = []
    clusters: list[Cluster] = []
    for port, envoy_port, ends in served:
        cluster = f"{context.tenant_namespace}/{name}/{port.port}/{_upstream(port)}/l4"
        clusters.append(
            Cluster(
                cluster,
                Layer.L4,
                ends,
                local_only=untrusted.at(lb, "spec", "externalTrafficPolicy") == "Local",
                source_affinity=untrusted.at(lb, "spec", "persistence", "type") == "SourceIP",
            )
        )
        listeners.append(TcpListener(f"{namespace}/{name}/{port.port}/{envoy_port}/tcp", envoy_port, cluster))
    return Part(
        origin=Origin("LoadBalancer", namespace, name),
        age=ages.age(lb, None, f"{namespace}/{name}"),
        listeners=tuple(sorted(listeners, key=lambda item: item.port)),
        clusters=tuple(sorted(clusters, key=lambda item: item.name)),
    )


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
    return _value_refusal(spec) or _ports_refusal(lb)


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
    named = [(port.name, port.protocol) for port in found]
    if len(found) > 1 and (not all(port.name for port in found) or len(set(named)) != len(named)):
        return Problem(Reason.INVALID_SPEC, "Several ports in spec.ports need names that differ.")
    return None


def _notes(lb: Object) -> list[str]:
    notes = []
    if untrusted.at(lb, "metadata", "annotations", _PROXY_PROTOCOL):
        notes.append(f"The annotation {_PROXY_PROTOCOL} has no effect in this release.")
    if untrusted.at(lb, "spec", "hostname"):
        notes.append("spec.hostname has no effect in this release.")
    return notes


def _origin_service(lb: Object) -> tuple[str, ...]:
    labels = untrusted.at(lb, "metadata", "labels")
    namespace = untrusted.string(untrusted.at(labels, names.LABEL_ORIGIN_NAMESPACE))
    name = untrusted.string(untrusted.at(labels, names.LABEL_ORIGIN_NAME))
    return (f"{namespace}/{name}",) if untrusted.is_label(namespace) and untrusted.is_label(name) else ()
