"""Which tenant Services an exported object still needs: the evidence that a NodePort twin may go or must stay.

A freed node port is given to another Service at once, and an Envoy that still knows it would send one application's
requests to another. So a twin is needed as long as any export asks for its node ports, or says in its status that
some Envoy still has a cluster for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from kubelb_ccm.export.meta import origin
from kubelb_ccm.export.services import node_ports
from kubelb_common.objects import conditions, view
from kubelb_common.objects.view import Object


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


def needs_node_ports(exported: Object, service: str, twin: Object) -> bool:
    """Tell whether `exported` still needs the node ports of the twin of `service` (`<namespace>/<name>`)."""
    held = set(node_ports(twin).values())
    if exported.get("kind") == "LoadBalancer":
        endpoints = view.objects(exported, "spec", "endpoints")
        return bool(held & {port.get("port") for entry in endpoints for port in view.objects(entry, "ports")})
    asked = set(exported_node_ports(exported, service).values())
    if held & asked:
        return True
    listed = view.get(exported, "status", "resources", "services", service)
    if listed is None:
        return False
    told = {
        number
        for port in view.objects(listed, "ports")
        for number in (port.get("nodePort"), port.get("upstreamTargetPort"))
        if number
    }
    if told:
        return bool(held & told)
    # The list does not say by which node ports. Asked for others and programmed so: these are in use no more.
    return not (asked and _is_programmed(exported))


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
