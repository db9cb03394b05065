"""Which tenant Services an exported object still needs: the evidence that a NodePort twin may go or must stay.

A freed node port is given to another Service at once, and an Envoy that still knows it would send one application's
requests to another. So a twin is needed as long as any export asks for its node ports, or says in its status that
some Envoy still has a cluster for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kubelb_ccm.export.meta import origin, origin_cluster
from kubelb_ccm.export.services import node_ports
from kubelb_common.objects import conditions, view
from kubelb_common.objects.view import Object

#: Stands for whatever node ports a Service's twin has.
ANY_NODE_PORT = 0


class Hold(NamedTuple):
    """A node port of a tenant Service (`<namespace>/<name>`) that an export still needs."""

    service: str
    node_port: int


def used_services(exported: Object) -> Iterator[str]:
    """Yield `<namespace>/<name>` of each tenant Service that a Route or LoadBalancer names, in spec or status."""
    if exported.get("kind") == "LoadBalancer":
        source = origin(exported)
        if source:
            yield "/".join(source)
        return
    for service in _exported_services(exported):
        yield f"{view.namespace(service)}/{view.name(service)}"
    listed = view.get(exported, "status", "resources", "services", default={})
    yield from listed if isinstance(listed, dict) else ()


def holds(exported: Object) -> frozenset[Hold]:
    """Return what `exported` still needs; it never needs anything of a Service that `used_services` lacks."""
    if exported.get("kind") == "LoadBalancer":
        endpoints = view.objects(exported, "spec", "endpoints")
        ports = {port.get("port") or 0 for entry in endpoints for port in view.objects(entry, "ports")}
        return frozenset(Hold(service, port) for service in used_services(exported) for port in ports if port)
    return frozenset(
        Hold(service, port) for service in used_services(exported) for port in _held_by_route(exported, service)
    )


def needs_node_ports(exported: Object, service: str, twin: Object) -> bool:
    """Tell whether `exported` still needs the node ports of the twin of `service` (`<namespace>/<name>`)."""
    held = holds(exported)
    return any(Hold(service, port) in held for port in (*node_ports(twin).values(), ANY_NODE_PORT))


def given_up(old: Object | None, new: Object | None) -> frozenset[str]:
    """Return the Services of which an export needs less than before: their twins may have become free."""
    before = holds(old) if old is not None else frozenset()
    after = holds(new) if new is not None and origin_cluster(new) == origin_cluster(old or new) else frozenset()
    return frozenset(hold.service for hold in before - after)


def _held_by_route(route: Object, service: str) -> set[int]:
    asked = set(exported_node_ports(route, service).values())
    listed = view.get(route, "status", "resources", "services", service)
    if listed is None:
        return asked
    told = {
        number
        for port in view.objects(listed, "ports")
        for number in (port.get("nodePort"), port.get("upstreamTargetPort"))
        if number
    }
    if told or (asked and _is_programmed(route)):
        # Without `told`: asked for others and programmed so, these are in use no more.
        return asked | told
    return asked | {ANY_NODE_PORT}  # the list does not say by which node ports


def _is_programmed(exported: Object) -> bool:
    found = view.objects(exported, "status", "conditions")
    return conditions.is_true(found, "Programmed", generation=view.generation(exported))


def exported_node_ports(exported: Object, service: str) -> dict[tuple[int, str], int]:
    """Return the node ports by which `exported` asks for `service`; empty if it does not."""
    for asked in _exported_services(exported):
        if f"{view.namespace(asked)}/{view.name(asked)}" == service:
            return dict(node_ports(asked))
    return {}


def _exported_services(route: Object) -> list[Object]:
    return view.objects(route, "spec", "source", "kubernetes", "services")
