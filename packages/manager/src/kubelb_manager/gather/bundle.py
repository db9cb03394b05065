"""One reading of everything that decides about a tenant's objects: what they share, and each object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager.desired.network_policy import Egress
from kubelb_manager.gather.stores import BY_PORT, Informers, ready_pods
from kubelb_manager.ir.model import FleetId, Origin
from kubelb_manager.ports.table import PortKey, from_status
from kubelb_manager.settings import in_force
from kubelb_manager.settings.merged import Settings, merged, topology
from kubelb_manager.translate.addresses import AddressPolicy, address_policy, ip_literal
from kubelb_manager.translate.context import Context, hostnames_of, nodes_from, resolved_from
from kubelb_manager.translate.egress import egress


class HostAddresses(Protocol):
    """Who knows the addresses of host names (`gather.resolver` in a manager)."""

    def known(self, wanted: Iterable[str], /) -> dict[str, tuple[str, ...]]:
        """Return the addresses of those names of which some are known."""


@dataclass(slots=True)
class Gatherer:
    """Reads the stores. Contexts are kept while what they are made from is the same."""

    informers: Informers
    resolver: HostAddresses
    namespace: str
    _contexts: dict[str, tuple[tuple[object, ...], Context]] = field(default_factory=dict)

    def tenant(self, tenant_namespace: str) -> Object | None:
        """Return the Tenant of a namespace."""
        return self.informers.tenants.store.get(None, names.tenant_of_namespace(tenant_namespace))

    def context(self, tenant_namespace: str, hostnames: Iterable[str]) -> Context | None:
        """Return what a tenant's objects share, the same object while nothing in it changed.

        None if there is no Tenant for the namespace, the namespace is not ours, or the settings of Tenant or
        Config were never good: then nothing is known of its rights.

        Args:
            tenant_namespace: the tenant's namespace in the management cluster.
            hostnames: names that its objects give as addresses.
        """
        tenant = self.tenant(tenant_namespace)
        if tenant is None or self.informers.namespaces.store.get(None, tenant_namespace) is None:
            return None
        if in_force.undecided(self._config(), tenant):
            return None
        return self._context(tenant_namespace, tenant, hostnames)

    def ready_pods(self, fleet: FleetId) -> frozenset[str]:
        """Return the Envoys of a fleet that Services send traffic to."""
        return ready_pods(self.informers.slices.store, fleet)

    def live(self, origin: Origin) -> Object | None:
        """Return a LoadBalancer or Route as it is now."""
        stores = {"Route": self.informers.routes, "LoadBalancer": self.informers.load_balancers}
        return stores[origin.kind].store.get(origin.namespace, origin.name)

    def origins(self, tenant_namespace: str) -> list[Origin]:
        """Return all LoadBalancers and Routes of a namespace, those being deleted too."""
        routes = self.informers.routes.store.list(tenant_namespace)
        load_balancers = self.informers.load_balancers.store.list(tenant_namespace)
        return [
            *(Origin("Route", tenant_namespace, view.name(obj)) for obj in routes),
            *(Origin("LoadBalancer", tenant_namespace, view.name(obj)) for obj in load_balancers),
        ]

    def ports(self, members: Iterable[Origin]) -> Mapping[PortKey, int]:
        """Return a fleet's table of ports, as the status of its objects holds it."""
        return from_status(obj for origin in members if (obj := self.live(origin)) is not None)

    def route_ports(self, origin: Origin, *, shared_by_all: bool) -> Mapping[PortKey, int]:
        """Return the ports of Envoy that a Route's status holds, but for those that another object has first.

        Args:
            origin: the Route.
            shared_by_all: its fleet serves other tenants too.
        """
        route = self.live(origin)
        own = {} if route is None else from_status([route])
        if route is None or not own:
            return {}
        stores = (self.informers.load_balancers.store, self.informers.routes.store)
        found = {
            id(obj): obj for port in own.values() for store in stores for obj in store.by_index(BY_PORT, str(port))
        }
        rivals = [obj for obj in found.values() if shared_by_all or view.namespace(obj) == origin.namespace]
        table = from_status([route, *(obj for obj in rivals if view.uid(obj) != view.uid(route))])
        return {key: port for key, port in own.items() if table.get(key) == port}

    def tenant_namespaces(self) -> list[str]:
        """Return the namespaces of all tenants, sorted."""
        return sorted(names.tenant_namespace(view.name(obj)) for obj in self.informers.tenants.store.list())

    def egress(self, tenant_namespaces: Iterable[str]) -> Egress:
        """Return where the Envoys may connect to that serve these tenants."""
        addresses: set[str] = set()
        policies = []
        for namespace in tenant_namespaces:
            own = self.informers.addresses.store.list(namespace)
            tenant = self.informers.tenants.store.get(None, names.tenant_of_namespace(namespace))
            policies.append(self._address_policy(namespace, merged(self._config(), tenant)))
            addresses.update(ip for _, given in nodes_from(own) for ip in given.ips)
            known = self.resolver.known({name for obj in own for name in hostnames_of(obj)})
            addresses.update(ip for _, ips in resolved_from(known) for ip in ips)
        return egress(addresses, policies)

    def _address_policy(self, tenant_namespace: str, settings: Settings) -> AddressPolicy:
        foreign = foreign_nodes(self.informers.addresses.store.list(), tenant_namespace)
        denied = [*self._hub(), *foreign, *settings.denied_addresses]
        return address_policy(denied=denied, granted=settings.endpoints_allowed)

    def _hub(self) -> list[str]:
        stores = (self.informers.nodes, self.informers.service_cidrs, self.informers.api_servers)
        return _hub_ranges([obj for informer in stores for obj in informer.store.list()])

    def _has_native_address(self, tenant_namespace: str) -> bool:
        service = self.informers.services.store.get(tenant_namespace, names.INGRESS_SERVICE)
        return service is not None and not view.deleting(service)

    def _config(self) -> Object | None:
        return self.informers.configs.store.get(self.namespace, names.CONFIG_NAME)

    def _context(self, tenant_namespace: str, tenant: Object, hostnames: Iterable[str]) -> Context:
        config = self._config()
        own = self.informers.addresses.store.list(tenant_namespace)
        foreign = tuple(foreign_nodes(self.informers.addresses.store.list(), tenant_namespace))
        wanted = {*hostnames, *(name for obj in own for name in hostnames_of(obj))}
        resolved = resolved_from(self.resolver.known(wanted))
        settings = merged(config, tenant)
        keeps_native = bool(settings.delegated_to) and self._has_native_address(tenant_namespace)
        made_from: tuple[object, ...] = (
            in_force.version(tenant),
            in_force.version(config),
            tuple((view.uid(item), view.generation(item)) for item in own),
            foreign,
            tuple(self._hub()),
            resolved,
            keeps_native,
        )
        before = self._contexts.get(tenant_namespace)
        if before is not None and before[0] == made_from:
            return before[1]
        context = Context(
            tenant_namespace=tenant_namespace,
            topology=topology(config, tenant),
            nodes=nodes_from(own),
            settings=settings,
            addresses=self._address_policy(tenant_namespace, settings),
            resolved=resolved,
            keeps_native=keeps_native,
        )
        self._contexts[tenant_namespace] = (made_from, context)
        return context

    def forget(self, tenant_namespace: str) -> None:
        """Drop what is kept for a tenant that is gone."""
        self._contexts.pop(tenant_namespace, None)


def _hub_ranges(objects: list[Object]) -> list[str]:
    """Return the management cluster's own nodes and API servers, pod and service ranges (ruling 4)."""
    ranges: list[str] = []
    for obj in objects:
        ranges += [
            view.text(address, "address")
            for address in view.objects(obj, "status", "addresses")
            if view.text(address, "type") in ("InternalIP", "ExternalIP")
        ]
        lists = [view.get(obj, *path, default=[]) for path in (("spec", "podCIDRs"), ("spec", "cidrs"))]
        lists += [view.get(item, "addresses", default=[]) for item in view.objects(obj, "endpoints")]
        for found in lists:
            ranges += [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
    return sorted(ranges)


def foreign_nodes(objects: Iterable[Object], tenant_namespace: str) -> list[str]:
    """Return the IP literals of other tenants' nodes, sorted.

    A node that several tenants list is the oldest list's, by the hub's own creation time: else a tenant would take
    another's nodes away by listing them, or reach them.

    Args:
        objects: the Addresses of all tenants.
        tenant_namespace: whose own nodes are no foreign ones.
    """
    owner: dict[str, str] = {}
    for obj in sorted(
        objects, key=lambda item: (view.text(item, "metadata", "creationTimestamp"), view.namespace(item))
    ):
        for entry in view.objects(obj, "spec", "addresses"):
            ip = ip_literal(view.text(entry, "ip"))
            if ip is not None:
                owner.setdefault(ip, view.namespace(obj))
    return sorted(ip for ip, namespace in owner.items() if namespace != tenant_namespace)
