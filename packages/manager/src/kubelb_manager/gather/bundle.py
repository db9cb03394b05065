"""One consistent reading of everything that decides about a tenant's fleet."""

from __future__ import annotations

from dataclasses import dataclass, field

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager.gather.resolver import Resolver
from kubelb_manager.gather.stores import Informers, ready_pods
from kubelb_manager.settings.merged import merged
from kubelb_manager.translate.addresses import address_policy
from kubelb_manager.translate.context import Context, hostnames_of, nodes_from, resolved_from


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one fleet's snapshot is made from.

    Attributes:
        tenant: the Tenant; None if there is none for the namespace, then nothing is served.
        config: the Config, None if absent.
        context: what all translations of this tenant share.
        routes: all Routes of the namespace, those being deleted too, sorted by name.
        load_balancers: the same for LoadBalancers.
        ready_pods: Envoys that Services send traffic to.
    """

    tenant: Object | None
    config: Object | None
    context: Context
    routes: tuple[Object, ...]
    load_balancers: tuple[Object, ...]
    ready_pods: frozenset[str]


@dataclass(slots=True)
class Gatherer:
    """Reads the stores. Contexts are kept while what they are made from is the same object."""

    informers: Informers
    resolver: Resolver
    namespace: str
    _contexts: dict[str, tuple[tuple[object, ...], Context]] = field(default_factory=dict)
    _hostnames: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    def bundle(self, tenant_namespace: str, fleet: str = names.SHARED_FLEET) -> Bundle:
        """Return the bundle of a fleet."""
        stores = self.informers
        tenant = stores.tenants.store.get(None, names.tenant_of_namespace(tenant_namespace))
        config = stores.configs.store.get(self.namespace, names.CONFIG_NAME)
        routes = tuple(stores.routes.store.list(tenant_namespace))
        load_balancers = tuple(stores.load_balancers.store.list(tenant_namespace))
        return Bundle(
            tenant=tenant,
            config=config,
            context=self._context(tenant_namespace, fleet, tenant, config, (*routes, *load_balancers)),
            routes=routes,
            load_balancers=load_balancers,
            ready_pods=ready_pods(stores.slices.store, tenant_namespace, names.fleet_label(tenant_namespace, fleet)),
        )

    def _context(
        self,
        tenant_namespace: str,
        fleet: str,
        tenant: Object | None,
        config: Object | None,
        sources: tuple[Object, ...],
    ) -> Context:
        own = self.informers.addresses.store.list(tenant_namespace)
        others = [item for item in self.informers.addresses.store.list() if view.namespace(item) != tenant_namespace]
        hostnames = {name for obj in (*own, *sources) for name in self._hostnames_of(obj)}
        resolved = self.resolver.known(hostnames)
        hub = [*self.informers.nodes.store.list(), *self.informers.service_cidrs.store.list()]
        made_from: tuple[object, ...] = (
            fleet,
            view.resource_version(tenant or {}),
            view.resource_version(config or {}),
            tuple(view.resource_version(item) for item in own),
            tuple((view.namespace(item), view.generation(item)) for item in others),
            tuple(_hub_ranges(hub)),
            resolved_from(resolved),
        )
        before = self._contexts.get(tenant_namespace)
        if before is not None and before[0] == made_from:
            return before[1]
        settings = merged(config, tenant)
        denied = [*_hub_ranges(hub), *_addresses(others), *_extra_denied(config), *_extra_denied(tenant)]
        context = Context(
            tenant_namespace=tenant_namespace,
            fleet=fleet,
            nodes=nodes_from(own),
            settings=settings,
            addresses=address_policy(denied=denied, granted=settings.endpoints_allowed),
            resolved=resolved_from(resolved),
        )
        self._contexts[tenant_namespace] = (made_from, context)
        return context

    def _hostnames_of(self, obj: Object) -> tuple[str, ...]:
        key, version = view.uid(obj), view.resource_version(obj)
        before = self._hostnames.get(key)
        if before is None or before[0] != version:
            before = self._hostnames[key] = (version, hostnames_of(obj))
        return before[1]

    def forget(self, tenant_namespace: str) -> None:
        """Drop what is kept for a tenant that is gone."""
        self._contexts.pop(tenant_namespace, None)


def _hub_ranges(objects: list[Object]) -> list[str]:
    """Return the management cluster's own nodes, pod and service ranges (ruling 4)."""
    ranges: list[str] = []
    for obj in objects:
        ranges += [
            view.text(address, "address")
            for address in view.objects(obj, "status", "addresses")
            if view.text(address, "type") in ("InternalIP", "ExternalIP")
        ]
        for path in (("spec", "podCIDRs"), ("spec", "cidrs")):
            found = view.get(obj, *path, default=[])
            ranges += [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
    return sorted(ranges)


def _addresses(objects: list[Object]) -> list[str]:
    return [view.text(entry, "ip") for obj in objects for entry in view.objects(obj, "spec", "addresses")]


def _extra_denied(obj: Object | None) -> list[str]:
    found = view.get(obj or {}, "spec", "endpoints", "denied", default=[])
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
