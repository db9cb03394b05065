"""A delegated Ingress: a third-party controller chooses by host and path, Envoy leads each Service port to the tenant.

Envoy listens once for each Service port that the Ingress uses. Requests come from the controller, which is
the one trusted hop (ruling 9). Where the backend speaks TLS itself, connections pass unread, as the
annotations of the controllers that people know demand it (reference, section 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import copies, delegated
from kubelb_manager.ir.model import ClientAddress, Forward, HttpListener, L4Listener, Origin, Part
from kubelb_manager.ports.table import MAX_ENTRIES, PortKey, route_key
from kubelb_manager.settings.annotations import is_annotation_key
from kubelb_manager.translate import acceptance
from kubelb_manager.translate.context import Context
from kubelb_manager.translate.ingress import Ingress, allowed_spec
from kubelb_manager.translate.result import Problem, Reason
from kubelb_manager.translate.services import NodePort

_ONE_HOP = ClientAddress(trusted_hops=1)
_BACKEND_PROTOCOL = "nginx.ingress.kubernetes.io/backend-protocol"
_PASSTHROUGH = "nginx.ingress.kubernetes.io/ssl-passthrough"


@dataclass(slots=True)
class Delegation:
    """The Service ports of one Ingress as Envoy's ports; filled while its backends are followed.

    Attributes:
        origin: the Route.
        ingress: what it embeds.
        context: of its tenant.
        ports: Envoy's ports, as far as they are given.
        passthrough: connections pass unread.
    """

    origin: Origin
    ingress: Ingress
    context: Context
    ports: Mapping[PortKey, int]
    passthrough: bool = False
    _reached: dict[PortKey, tuple[NodePort, str]] = field(default_factory=dict)

    def reach(self, found: NodePort, cluster: str) -> Problem | None:
        """Note that a backend is this port, behind this cluster; return why that is not possible."""
        key = self._key(found)
        if len(self._reached) < MAX_ENTRIES or key in self._reached:
            self._reached[key] = (found, cluster)
            return None
        if not self.context.settings.delegated_to:
            return None
        text = f"At most {MAX_ENTRIES} Service ports of one object can be delegated; {key.service} is beyond them."
        return Problem(Reason.TOO_LARGE, text)

    def _key(self, found: NodePort) -> PortKey:
        service = f"{found.service.namespace}/{found.service.name}"
        return route_key(self.origin.namespace, self.origin.name, service, found.port)

    @property
    def wants(self) -> tuple[PortKey, ...]:
        """The ports of Envoy that the copy needs; none where Ingresses are served natively."""
        return tuple(sorted(self._reached)) if self.context.settings.delegated_to else ()

    @property
    def listening(self) -> frozenset[PortKey]:
        """What has a port, delegated still or no longer: as long as it is given, Envoy listens."""
        return frozenset(self._reached.keys() & self.ports.keys())

    def http_listeners(self) -> tuple[HttpListener, ...]:
        """Return the listeners whose requests all go to one cluster."""
        if self.passthrough:
            return ()
        return tuple(
            HttpListener(self._name(key, "http"), self.ports[key], (), Forward(self._reached[key][1]), _ONE_HOP)
            for key in sorted(self.listening)
        )

    def tcp_listeners(self) -> tuple[L4Listener, ...]:
        """Return the listeners whose connections pass unread."""
        if not self.passthrough:
            return ()
        return tuple(
            L4Listener(self._name(key, "tcp"), self.ports[key], self._reached[key][1]) for key in sorted(self.listening)
        )

    def _name(self, key: PortKey, form: str) -> str:
        return f"{key.namespace}/{key.owner}/{key.port}/{self.ports[key]}/{form}"

    # Objects of the management cluster ------------------------------------------------------------

    def copy(self, route: Object, resource: Any) -> Object | None:
        """Return the Ingress for the third-party controller."""
        source = (self.ingress.namespace, self.ingress.name)
        spec = allowed_spec(self.ingress, lambda name: delegated.service_name(source, (source[0], name)))
        if spec is None:
            return None
        tls = delegated.tls(untrusted.at(resource, "spec", "tls"), source[0], acceptance.is_host)
        return copies.ingress(
            route,
            namespace=self.origin.namespace,
            source=source,
            spec={**spec, **({"tls": tls} if tls else {})},
            annotations=self.context.settings.annotations.apply(
                "ingress", untrusted.at(resource, "metadata", "annotations")
            ),
            ingress_class=self.context.settings.delegated_to,
        )

    def backends(self, route: Object) -> tuple[Object, ...]:
        """Return the Services that the copy names, with the ports that Envoy listens on."""
        by_service: dict[str, list[PortKey]] = {}
        for key in sorted(self.listening.intersection(self.wants)):
            by_service.setdefault(key.service, []).append(key)
        return tuple(self._backend(route, by_service[service]) for service in sorted(by_service))

    def _backend(self, route: Object, keys: list[PortKey]) -> Object:
        found: list[tuple[NodePort, int]] = [(self._reached[key][0], self.ports[key]) for key in keys]
        service = found[0][0].service
        return delegated.service(
            route,
            namespace=self.origin.namespace,
            source=(self.ingress.namespace, self.ingress.name),
            backend=(service.namespace, service.name),
            ports=[delegated.port(_label(each.name), each.port, own, _protocol(each)) for each, own in found],
            annotations=self.context.settings.annotations.apply("service", dict(service.annotations)),
        )


def keep_listening(fresh: Part | None, before: Part | None, ports: Mapping[PortKey, int]) -> Part | None:
    """Return `fresh` with what `before` listened on and still has a port.

    A Service that the object no longer names is one that the controller still sends to until it has taken
    the new copy; its port is given back when that is over, and then nothing is kept.
    """
    if fresh is None or before is None:
        return before if fresh is None and ports else fresh
    own = {item.port for item in fresh.http_listeners} | {item.port for item in fresh.listeners}
    given = set(ports.values()) - own
    http = tuple(item for item in before.http_listeners if item.port in given)
    tcp = tuple(item for item in before.listeners if item.port in given)
    if not http and not tcp:
        return fresh
    used = {item.unknown_host.cluster for item in http if isinstance(item.unknown_host, Forward)}
    used |= {item.cluster for item in tcp}
    known = {cluster.name for cluster in fresh.clusters}
    clusters = [cluster for cluster in before.clusters if cluster.name in used - known]
    return replace(
        fresh,
        listeners=tuple(sorted((*fresh.listeners, *tcp), key=lambda item: item.port)),
        http_listeners=tuple(sorted((*fresh.http_listeners, *http), key=lambda item: item.port)),
        clusters=tuple(sorted((*fresh.clusters, *clusters), key=lambda item: item.name)),
    )


def status_entries(route: Object, ports: Mapping[PortKey, int]) -> dict[str, Object]:
    """Return `status.resources.services`: the place where the table survives a restart."""
    metadata = untrusted.at(route, "spec", "source", "kubernetes", "resource", "metadata")
    source = untrusted.string(untrusted.at(metadata, "namespace")), untrusted.string(untrusted.at(metadata, "name"))
    out: dict[str, Object] = {}
    for key in sorted(ports):
        namespace, _, name = key.service.partition("/")
        entry = out.setdefault(
            key.service,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "namespace": namespace,
                "name": name,
                "generatedName": delegated.service_name(source, (namespace, name)),
                "ports": [],
            },
        )
        entry["ports"].append({"port": key.port, "protocol": key.protocol, "targetPort": ports[key]})
    return out


def passes_unread(resource: Any) -> bool:
    """Whether the Ingress says that its backends speak TLS, or that TLS is to pass to them."""
    notes = untrusted.mapping(untrusted.at(resource, "metadata", "annotations"))
    protocol = untrusted.string(notes.get(_BACKEND_PROTOCOL)).strip().upper()
    passthrough = untrusted.string(notes.get(_PASSTHROUGH)).strip().lower()
    return protocol in ("HTTPS", "GRPCS") or passthrough == "true"


def _label(name: str) -> str:
    return name if untrusted.is_label(name) else ""


def _protocol(port: NodePort) -> str:
    return port.app_protocol if is_annotation_key(port.app_protocol) else ""
