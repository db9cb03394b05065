"""A management cluster that holds what files say, and what the manager's pure rooms make of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from kubelb_common import names
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import SystemClock
from kubelb_common.runtime.informer import Informer
from kubelb_manager.desired import envoy_fleet, monitoring, network_policy, service
from kubelb_manager.desired import tenant as desired
from kubelb_manager.dryrun.read import Found, Unreadable
from kubelb_manager.gather.bootstraps import bootstrap_options, bootstrap_text
from kubelb_manager.gather.bundle import Gatherer
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.gather.stores import Informers
from kubelb_manager.ir.model import Fleet, FleetId, Origin
from kubelb_manager.options import Options
from kubelb_manager.ports import declared
from kubelb_manager.ports.table import PortKey, allocate, from_status
from kubelb_manager.settings.merged import EnvoySettings, envoy
from kubelb_manager.translate.context import Context, hostnames_of
from kubelb_manager.translate.load_balancer import translate_load_balancer
from kubelb_manager.translate.merge import merge
from kubelb_manager.translate.result import Translated
from kubelb_manager.translate.route import translate_route

#: Stands for the token between a pod's hook and its agent, which is made from the authority's key.
_TOKEN = "made-by-the-manager"  # noqa: S105 - it is none
_TENANTS_OWN = ("Route", "LoadBalancer", "Addresses")
_CONVERTED = {"ServiceCIDR": "service_cidrs", "Node": "nodes", "Service": "services"}
_OURS = {
    "Config": "configs",
    "Tenant": "tenants",
    "Route": "routes",
    "LoadBalancer": "load_balancers",
    "Addresses": "addresses",
}


@dataclass(frozen=True, slots=True)
class Known:
    """Host names and their addresses, as they were given; nothing is asked of DNS."""

    addresses: Mapping[str, tuple[str, ...]]

    def known(self, wanted: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return what is known of these names."""
        return {name: self.addresses[name] for name in sorted(wanted) if name in self.addresses}


@dataclass(slots=True)
class Judged:
    """What became of the objects.

    Attributes:
        results: by origin, sorted.
        fleets: by key, sorted; those that have an object.
        kubernetes: the objects that the manager would keep, in the order in which it makes them.
        notes: what was assumed.
    """

    results: dict[Origin, Translated] = field(default_factory=dict)
    fleets: dict[str, Fleet] = field(default_factory=dict)
    kubernetes: list[Object] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge(found: Iterable[Found], resolved: Mapping[str, tuple[str, ...]], options: Options) -> Judged:
    """Return what a manager makes of these objects when every node port answers and every Envoy acknowledges.

    Raises:
        Unreadable: two objects are the same one, or one has no place.
    """
    hub = _Hub(resolved, options)
    hub.take(found)
    return hub.judged()


class _Hub:
    def __init__(self, resolved: Mapping[str, tuple[str, ...]], options: Options) -> None:
        self._options = options
        # The caches are filled here; nothing runs that could ask a cluster.
        nobody = cast("KubeClient", None)
        self._informers = Informers.of(nobody, namespace=options.namespace, clock=SystemClock())
        self._gatherer = Gatherer(self._informers, Known(resolved), options.namespace)
        self._fleets = Fleets(self._informers, options.namespace)
        self._out = Judged()
        self._guarded: set[str] = set()

    def take(self, found: Iterable[Found]) -> None:
        seen: dict[tuple[str, str, str], str] = {}
        everything = [Found(copy.deepcopy(item.obj), item.where) for item in found]
        tenants = sorted(view.name(item.obj) for item in everything if view.kind(item.obj) == "Tenant")
        for item in everything:
            obj, kind = item.obj, view.kind(item.obj)
            table = _OURS.get(kind) if view.api_group(obj) == names.GROUP else _CONVERTED.get(kind)
            if table is None:
                self._out.notes.append(f"{item.where} has no influence")
                continue
            self._complete(item, tenants)
            key = (kind, view.namespace(obj), view.name(obj))
            if key in seen:
                raise Unreadable(f"{item.where}: is the same object as {seen[key]}")
            seen[key] = item.where
            informer: Informer = getattr(self._informers, table)
            informer.store.upsert(obj)
        self._homes()

    def _complete(self, item: Found, tenants: list[str]) -> None:
        """Fill in what an API server does."""
        obj, metadata = item.obj, item.obj["metadata"]
        if view.kind(obj) == "Config":
            metadata.setdefault("namespace", self._options.namespace)
        elif view.kind(obj) in _TENANTS_OWN and not view.namespace(obj):
            if len(tenants) != 1:
                raise Unreadable(f"{item.where}: metadata.namespace: found nothing, expected a tenant's namespace")
            metadata["namespace"] = names.tenant_namespace(tenants[0])
        identity = (view.kind(obj), view.namespace(obj), view.name(obj))
        metadata.setdefault("uid", f"uid-{names.digest(*identity)}")
        metadata.setdefault("generation", 1)
        metadata.setdefault("resourceVersion", "1")

    def _homes(self) -> None:
        """Make the namespaces of Tenants, and Tenants for namespaces that have none."""
        stores = self._informers
        used = {
            view.namespace(obj)
            for informer in (stores.routes, stores.load_balancers, stores.addresses)
            for obj in informer.store.list()
        }
        for namespace in sorted(used):
            name = names.tenant_of_namespace(namespace)
            if stores.tenants.store.get(None, name) is None:
                self._out.notes.append(f"no Tenant '{name}' is given: one without settings is assumed")
                metadata = {"name": name, "uid": f"uid-{names.digest('Tenant', '', name)}", "resourceVersion": "1"}
                body = {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": metadata, "spec": {}}
                stores.tenants.store.upsert(body)
        for tenant in stores.tenants.store.list():
            home = desired.namespace(tenant)
            home["metadata"] |= {"uid": f"uid-{names.digest('Namespace', '', view.name(home))}", "resourceVersion": "1"}
            stores.namespaces.store.upsert(home)

    def judged(self) -> Judged:
        stores = self._informers
        members: dict[FleetId, list[Origin]] = {}
        contexts: dict[str, Context] = {}
        for tenant in _by_name(stores.tenants.store.list()):
            home = names.tenant_namespace(view.name(tenant))
            if problem := names.tenant_name_problem(view.name(tenant)):
                self._out.notes.append(f"Tenant '{view.name(tenant)}' {problem}")
                continue
            origins = sorted(self._gatherer.origins(home))
            live = [obj for origin in origins if (obj := self._gatherer.live(origin)) is not None]
            context = self._gatherer.context(home, {name for obj in live for name in hostnames_of(obj)})
            if context is None:
                self._out.notes.append(
                    f"the settings of Tenant '{view.name(tenant)}' cannot be used, nothing is decided"
                )
                continue
            contexts[home] = context
            for origin in origins:
                members.setdefault(self._fleets.target(origin), []).append(origin)
            self._tenants_objects(tenant, context)
        for fleet in sorted(members):
            self._fleet(fleet, members[fleet], contexts)
        self._out.results = dict(sorted(self._out.results.items()))
        return self._out

    def _fleet(self, fleet: FleetId, origins: list[Origin], contexts: Mapping[str, Context]) -> None:
        ports = self._ports(origins)
        parts = []
        for origin in origins:
            obj = self._gatherer.live(origin)
            assert obj is not None
            context = contexts[origin.namespace]
            result = (
                translate_route(obj, context)
                if origin.kind == "Route"
                else translate_load_balancer(obj, context, ports)
            )
            self._out.results[origin] = result
            if result.part is not None:
                parts.append(result.part)
            if result.copy is not None:
                is_service = view.kind(result.copy) == "Service"
                self._out.kubernetes.append(service.bound(result.copy, fleet) if is_service else result.copy)
        client = contexts[min(origin.namespace for origin in origins)].client_address
        self._out.fleets[fleet.key] = merge(fleet.key, parts, client=client).fleet
        self._workload(fleet)

    def _ports(self, origins: list[Origin]) -> Mapping[PortKey, int]:
        found = [self._gatherer.live(origin) for origin in origins if origin.kind == "LoadBalancer"]
        load_balancers = [obj for obj in found if obj is not None]
        wanted = [key for obj in load_balancers for key in declared.wanted(obj)]
        return allocate(from_status(load_balancers), wanted).ports

    def _tenants_objects(self, tenant: Object, context: Context) -> None:
        """Credentials are not among them: they come from the cluster."""
        home = context.tenant_namespace
        self._out.kubernetes += [
            desired.namespace(tenant),
            desired.service_account(tenant),
            desired.role(tenant, legacy_agent=context.settings.legacy_agent),
            desired.role_binding(tenant),
            desired.tenant_state(tenant),
        ]
        if self._informers.routes.store.list(home) and not context.settings.ingress_disabled:
            fleet = self._fleets.target(Origin("Route", home, ""))
            self._out.kubernetes.append(service.bound(service.ingress(tenant, home, settings=context.settings), fleet))

    def _workload(self, fleet: FleetId) -> None:
        options = self._options
        owner = None if fleet == self._fleets.shared_by_all else self._gatherer.tenant(fleet.namespace)
        config = self._informers.configs.store.get(options.namespace, names.CONFIG_NAME)
        settings = envoy(config, owner)
        workload = envoy_fleet.workload(
            owner,
            *fleet,
            bootstrap=bootstrap_text(bootstrap_options(options), settings.overload),
            image=options.envoy_image,
            agent=envoy_fleet.Agent(options.agent_image, _TOKEN),
            settings=settings,
        )
        self._out.kubernetes += [service.members(owner, fleet), workload]
        if view.kind(workload) == "Deployment":
            self._out.kubernetes.append(monitoring.disruption_budget(workload))
        if fleet.namespace not in self._guarded:
            self._guarded.add(fleet.namespace)
            self._guards(fleet.namespace, owner, settings)

    def _guards(self, namespace: str, owner: Object | None, settings: EnvoySettings) -> None:
        """What all fleets of a namespace share."""
        if settings.network_policy:
            served = [namespace] if owner is not None else self._gatherer.tenant_namespaces()
            policy = network_policy.fleet_policy(
                namespace,
                self._gatherer.egress(served),
                manager_namespace=self._options.namespace,
                owner=owner,
            )
            self._out.kubernetes.append(policy)
        if settings.pod_monitor:
            self._out.kubernetes.append(monitoring.pod_monitor(namespace, owner))


def _by_name(objects: list[Object]) -> list[Object]:
    return sorted(objects, key=view.name)
