"""The tenant's Services as a Route carries them, and the way from a reference to a node port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.translate.endpoints import families_of
from kubelb_manager.translate.result import Problem, Reason


class ServicePort(NamedTuple):
    """A port of a Service; `node_port` is None while it has none."""

    name: str
    port: int
    protocol: str
    node_port: int | None
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A tenant's Service under its original name."""

    namespace: str
    name: str
    type: str
    ports: tuple[ServicePort, ...]
    #: IP families that its node ports answer in; any if empty.
    families: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()

    def port(self, wanted: int | str) -> ServicePort | None:
        """Return the port of this number or name; of several with one number the TCP one."""
        found = [port for port in self.ports if wanted in (port.port, port.name)]
        return min(found, key=lambda port: port.protocol != "TCP", default=None)


Services = Mapping[tuple[str, str], Service]


def read_services(route: Object) -> Services:
    """Return the Route's embedded Services by (namespace, original name); malformed ones are left out.

    A NodePort twin that an agent of the original embeds (`<name>-nodeport` with origin labels) counts
    under its original's name, unless that Service itself is there too.
    """
    direct: dict[tuple[str, str], Service] = {}
    twins: dict[tuple[str, str], Service] = {}
    for item in untrusted.sequence(untrusted.at(route, "spec", "source", "kubernetes", "services")):
        service = _service(item)
        if service is None:
            continue
        direct.setdefault((service.namespace, service.name), service)
        original = _original_name(item)
        if original is not None:
            twin = replace(service, name=original)
            twins.setdefault((service.namespace, original), twin)
    return {**twins, **direct}


def _service(item: Any) -> Service | None:
    name, namespace = untrusted.at(item, "metadata", "name"), untrusted.at(item, "metadata", "namespace")
    if not untrusted.is_label(untrusted.string(name)) or not untrusted.is_label(untrusted.string(namespace)):
        return None
    ports = (_port(entry) for entry in untrusted.sequence(untrusted.at(item, "spec", "ports")))
    service_type = untrusted.string(untrusted.at(item, "spec", "type")) or "ClusterIP"
    families = families_of(untrusted.at(item, "spec", "ipFamilies"))
    notes = tuple(sorted(untrusted.string_items(untrusted.at(item, "metadata", "annotations"))))
    return Service(namespace, name, service_type, tuple(port for port in ports if port is not None), families, notes)


def _port(entry: Any) -> ServicePort | None:
    number = untrusted.port_number(untrusted.at(entry, "port"))
    if number is None:
        return None
    return ServicePort(
        untrusted.string(untrusted.at(entry, "name")),
        number,
        untrusted.string(untrusted.at(entry, "protocol")) or "TCP",
        untrusted.port_number(untrusted.at(entry, "nodePort")),
        untrusted.string(untrusted.at(entry, "appProtocol")),
    )


def _original_name(item: Any) -> str | None:
    labels = untrusted.mapping(untrusted.at(item, "metadata", "labels"))
    name = untrusted.string(labels.get(names.LABEL_ORIGIN_NAME))
    if labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY or not untrusted.is_label(name):
        return None
    return name


class NodePort(NamedTuple):
    """Where a reference ends: a port of a Service and its node port."""

    service: Service
    port: int
    node_port: int
    name: str = ""
    app_protocol: str = ""


def find(services: Services, namespace: str, name: str, port: int | str) -> NodePort | Problem:
    """Follow a backend reference of an Ingress in `namespace`; the arguments are well-formed names."""
    said = f"{namespace}/{name}"
    service = services.get((namespace, name))
    if service is None:
        return Problem(Reason.BACKEND_NOT_FOUND, f"The Service {said} does not exist.")
    if service.type == "ExternalName":
        return Problem(Reason.UNSUPPORTED_VALUE, f"The Service {said} is of type ExternalName, which is not served.")
    found = service.port(port)
    if found is None:
        return Problem(Reason.PORT_NOT_FOUND, f"The Service {said} has no port {port}.")
    if found.protocol != "TCP":
        text = f"The port {port} of the Service {said} is not a TCP port."
        return Problem(Reason.UNSUPPORTED_PROTOCOL, text)
    if found.node_port is None:
        return Problem(Reason.NO_NODE_PORT, f"The port {port} of the Service {said} has no node port.")
    return NodePort(service, found.port, found.node_port, found.name, found.app_protocol)
