"""A Route: a tenant's layer 7 object with the Services it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import copies
from kubelb_manager.ir.model import (
    ANY_HOST,
    Action,
    Cluster,
    Forward,
    Host,
    HostRules,
    Layer,
    Origin,
    Part,
    PathMatch,
    Respond,
    RouteRule,
)
from kubelb_manager.ports.table import PortKey
from kubelb_manager.translate import acceptance, ages, endpoints, services
from kubelb_manager.translate.context import Context
from kubelb_manager.translate.delegation import Delegation, passes_unread
from kubelb_manager.translate.ingress import Backend, Ingress, ResourceBackend, allowed_spec, read
from kubelb_manager.translate.result import Problem, Reason, Translated, accepted, refused, resolved_refs

#: The answer where a path is known and its backend cannot be reached.
UNAVAILABLE = Respond(503)

NO_PORTS: Final[Mapping[PortKey, int]] = {}
_TLS_NOTE = "spec.tls has no effect: this release answers HTTP only and terminates no TLS."


def translate_route(route: Object, context: Context, ports: Mapping[PortKey, int] = NO_PORTS) -> Translated:
    """Translate one Route; pure, and raises for nothing that JSON can hold.

    Args:
        route: the object.
        context: what its tenant's objects share.
        ports: Envoy's ports for its Services where it is delegated, or was.
    """
    resource = untrusted.at(route, "spec", "source", "kubernetes", "resource")
    usable = endpoints.route_addresses(untrusted.at(route, "spec", "endpoints"), context)
    refusal = acceptance.first_refusal(resource, context.settings) or acceptance.services_refusal(route)
    refusal = refusal or usable.refusal
    if refusal is not None:
        return refused(refusal)
    ingress = read(resource)
    if context.topology == "global" and "*" not in context.settings.hosts_allowed and _is_catch_all(ingress):
        text = "A default backend or a rule without a host needs the administrator's grant here (`*` in hosts.allowed)."
        return refused(Problem(Reason.HOST_NOT_ALLOWED, text))
    origin = _origin(route)
    delegation = Delegation(origin, ingress, context, ports, passthrough=passes_unread(resource))
    work = _Translation(route, ingress, context, usable, delegation)
    part = work.part(ages.age(route, resource, f"{ingress.namespace}/{ingress.name}"))
    delegated = bool(context.settings.delegated_to)
    notes = [_TLS_NOTE] if ingress.has_tls and not delegated else []
    return Translated(
        part=part,
        verdicts=(accepted(notes), resolved_refs(work.problems)),
        services=tuple(sorted(work.used)),
        copy=delegation.copy(route, resource) if delegated else _native_copy(route, resource, ingress, context),
        hosts=frozenset(rule.host for rule in ingress.rules),
        backends=delegation.backends(route),
        wants=delegation.wants,
        listening=delegation.listening,
    )


def _origin(route: Object) -> Origin:
    namespace = untrusted.string(untrusted.at(route, "metadata", "namespace"))
    return Origin("Route", namespace, untrusted.string(untrusted.at(route, "metadata", "name")))


def _native_copy(route: Object, resource: Any, ingress: Ingress, context: Context) -> Object | None:
    return copies.ingress(
        route,
        namespace=context.tenant_namespace,
        source=(ingress.namespace, ingress.name),
        spec=allowed_spec(ingress),
        annotations=context.settings.annotations.apply("ingress", untrusted.at(resource, "metadata", "annotations")),
    )


def _is_catch_all(ingress: Ingress) -> bool:
    """Whether it answers for hosts that it does not name, which in a shared fleet are other tenants' (ruling 6)."""
    return ingress.default_backend is not None or any(rule.host == ANY_HOST for rule in ingress.rules)


class _Translation:
    """One pass over one Ingress; collects clusters, Services in use and problems on its way."""

    def __init__(
        self,
        route: Object,
        ingress: Ingress,
        context: Context,
        usable: endpoints.Usable,
        delegation: Delegation,
    ) -> None:
        self._origin = delegation.origin
        self._delegation = delegation
        self._ingress = ingress
        self._context = context
        self._usable = usable
        self._services = services.read_services(route)
        self._clusters: dict[str, Cluster] = {}
        self._actions: dict[Backend, Action] = {}
        self.problems: list[Problem] = []
        self.used: set[str] = set()

    def part(self, age: tuple[float, str]) -> Part | None:
        """Return what the Ingress asks of its fleet; None while all of it waits for ports of Envoy."""
        hosts = tuple(HostRules(host, tuple(rules.values())) for host, rules in self._hosts().items())
        backend = self._ingress.default_backend
        default = None if backend is None else self._action(backend)
        if self._clusters:
            self.problems.extend(self._usable.problems)
        clusters = tuple(self._clusters[name] for name in sorted(self._clusters))
        ports = self._delegation
        if ports.context.settings.delegated_to and not ports.context.keeps_native:
            if not ports.listening.issuperset(ports.wants):
                return None
            hosts, default = (), None
        return Part(
            self._origin,
            age,
            hosts=hosts,
            default_backend=default,
            listeners=ports.tcp_listeners(),
            clusters=clusters,
            http_listeners=ports.http_listeners(),
        )

    def _hosts(self) -> dict[Host, dict[PathMatch, RouteRule]]:
        """Return rules by host and match; of equal matches in one object the first counts."""
        out: dict[Host, dict[PathMatch, RouteRule]] = {}
        for rule in self._ingress.rules:
            mine = out.setdefault(rule.host, {})
            for path in rule.paths:
                if path.match not in mine:
                    mine[path.match] = RouteRule(path.match, self._action(path.backend), self._origin)
        return dict(sorted(out.items()))

    def _action(self, backend: Backend) -> Action:
        if isinstance(backend, ResourceBackend):
            self.problems.append(Problem(Reason.UNSUPPORTED_VALUE, "Backends other than Services are not served."))
            return UNAVAILABLE
        action = self._actions.get(backend)
        if action is None:
            found = services.find(self._services, self._ingress.namespace, backend.service, backend.port)
            action = self._actions[backend] = self._reach(found)
        return action

    def _reach(self, found: services.NodePort | Problem) -> Action:
        if isinstance(found, Problem):
            self.problems.append(found)
            return UNAVAILABLE
        said = f"{found.service.namespace}/{found.service.name}"
        usable = endpoints.of_families(self._usable, found.service.families)
        self.problems.extend(problem for problem in usable.problems if problem not in self._usable.problems)
        ends = endpoints.reachable(usable.ips, found.node_port, self._context.addresses)
        if usable.ips and not ends:
            text = f"The node port {found.node_port} of the Service {said} is outside the node ports and not granted."
            self.problems.append(Problem(Reason.PORT_NOT_ALLOWED, text))
            return UNAVAILABLE
        name = f"{self._context.tenant_namespace}/{said}/{found.port}/{found.node_port}/l7"
        self._clusters[name] = Cluster(name, Layer.L7, ends)
        self.used.add(said)
        beyond = self._delegation.reach(found, name)
        if beyond is not None:
            self.problems.append(beyond)
        return Forward(name)
