"""The composition root: the only place that joins clients, caches, controllers and servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kubelb_ccm.controllers.exports import Exports
from kubelb_ccm.controllers.home import IDENTITY_NAMESPACE, Home
from kubelb_ccm.controllers.kinds import served
from kubelb_ccm.controllers.lifecycle import Kind, Lifecycle
from kubelb_ccm.controllers.local_nodes import LocalNodes
from kubelb_ccm.controllers.mirror import Mirror
from kubelb_ccm.controllers.node import NodeController
from kubelb_ccm.controllers.reporter import Reporter
from kubelb_ccm.controllers.secret import SecretController
from kubelb_ccm.controllers.stranded import Stranded
from kubelb_ccm.controllers.sync_secret import SyncSecretKind
from kubelb_ccm.controllers.twins import Twins
from kubelb_ccm.controllers.upkeep import twins_controller
from kubelb_ccm.export import secrets as secrets_export
from kubelb_ccm.options import Bind, Options
from kubelb_common import names
from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import Forbidden, NotFound
from kubelb_common.kube.port import KubeClient, ObjectList, Resource
from kubelb_common.runtime.clock import Clock, SystemClock
from kubelb_common.runtime.controller import Controller
from kubelb_common.runtime.fence import Fenced
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.leader import Alone, Elector
from kubelb_common.runtime.supervisor import Supervisor
from kubelb_common.telemetry.health import HealthServer

_WORKERS = 4


class ManagementClient(AioClient):
    """The management cluster; says what to do where its answer leaves a person guessing."""

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> ObjectList:
        """See KubeClient."""
        try:
            return await super().list(resource, namespace, label_selector=label_selector, field_selector=field_selector)
        except NotFound as error:
            text = f"the management cluster {self.server} has no kind {resource}: install KubeLB's CRDs there"
            raise NotFound(error.code, error.reason, text) from error
        except Forbidden as error:
            text = f"{error.message}; check --cluster-name, and that --kubelb-kubeconfig is that tenant's"
            raise Forbidden(error.code, error.reason, text) from error


@dataclass(frozen=True, slots=True)
class _Tenant:
    """Caches of the tenant cluster."""

    nodes: Informer
    services: Informer
    slices: Informer
    namespaces: Informer
    ingresses: Informer | None
    sync_secrets: Informer
    secrets: Informer | None


@dataclass(frozen=True, slots=True)
class _Hub:
    """Caches of the tenant's namespace in the management cluster."""

    load_balancers: Informer
    routes: Informer
    addresses: Informer
    sync_secrets: Informer
    tenant_states: Informer


class App:
    """The agent over two clients.

    Args:
        options: what it was told.
        tenant: the tenant cluster.
        hub: the management cluster.
        clock: for timers; None: the system's.
    """

    def __init__(self, options: Options, tenant: KubeClient, hub: KubeClient, clock: Clock | None = None) -> None:
        self.supervisor = Supervisor()
        self._options = options
        self._clock = clock
        self.leadership = self._leadership(tenant)
        self._follow = (tenant, hub)
        self._tenant_client = Fenced(tenant, lambda: self.leadership.may_write)
        self._hub_client = Fenced(hub, lambda: self.leadership.may_write)
        self._tenant = self._tenant_caches()
        self._hub = self._hub_caches()
        self._home = Home(
            options.tenant_namespace,
            self._tenant.namespaces.store,
            self._hub.tenant_states,
            self._hub.addresses.store,
        )
        self._controllers()
        self._release()
        self._servers()

    async def run(self) -> None:
        """Run until stopped; raises what `Supervisor.run` raises."""
        await self.supervisor.run()

    def _leadership(self, tenant: KubeClient) -> Alone | Elector:
        options = self._options
        if not options.leader_election:
            alone = Alone()
            self.supervisor.lead_by(alone)
            return alone
        namespace = options.leader_election_namespace
        elector = Elector(tenant, namespace=namespace, name=names.CCM_LEASE, clock=self._clock)
        self.supervisor.informer(elector.informer)
        self.supervisor.lead_by(elector)
        return elector

    def _lead(self, controller: Controller) -> None:
        """Every controller of the agent writes."""
        self.supervisor.controller(controller, by_leader=True)

    def _tenant_caches(self) -> _Tenant:
        options = self._options

        def follow(resource: Resource, *, optional: bool = False, **selectors: str) -> Informer:
            informer = Informer(self._follow[0], resource, clock=self._clock, optional=optional, **selectors)  # type: ignore[arg-type]
            return self.supervisor.informer(informer)

        return _Tenant(
            nodes=follow(resources.NODES),
            services=follow(resources.SERVICES),
            slices=follow(resources.ENDPOINT_SLICES),
            namespaces=follow(resources.NAMESPACES, field_selector=f"metadata.name={IDENTITY_NAMESPACE}"),
            ingresses=None if options.disable_ingress_controller else follow(resources.INGRESSES),
            sync_secrets=follow(resources.SYNC_SECRETS, optional=True),
            secrets=follow(resources.SECRETS, label_selector=secrets_export.SELECTOR)
            if options.enable_secret_synchronizer
            else None,
        )

    def _hub_caches(self) -> _Hub:
        def follow(resource: Resource) -> Informer:
            namespace = self._options.tenant_namespace
            return self.supervisor.informer(Informer(self._follow[1], resource, namespace=namespace, clock=self._clock))

        return _Hub(
            load_balancers=follow(resources.LOAD_BALANCERS),
            routes=follow(resources.ROUTES),
            addresses=follow(resources.ADDRESSES),
            sync_secrets=follow(resources.SYNC_SECRETS),
            tenant_states=follow(resources.TENANT_STATES),
        )

    def _controllers(self) -> None:
        tenant, hub = self._tenant, self._hub
        mirror = Mirror(self._tenant_client, tenant.slices)
        twins = Twins(self._tenant_client, tenant.services, mirror, self._home, self._clock)
        local_nodes = LocalNodes(
            self._hub_client,
            hub.addresses,
            services=tenant.services,
            nodes=tenant.nodes,
            slices=tenant.slices,
            kind=self._options.node_address_type,
            home=self._home,
        )
        sources = []
        for name, kind, informer, exports in self._kinds(local_nodes):
            lifecycle, controller = self._lifecycle(name, kind, informer, exports, twins)
            sources.append((informer, lifecycle))
            if kind.resource is resources.SERVICES:
                local_nodes.watch(controller)
            self._lead(controller)
        self._secrets()
        node = NodeController(
            self._hub_client,
            tenant.nodes,
            hub.addresses,
            kind=self._options.node_address_type,
            home=self._home,
        )
        self._lead(node.controller(hub.tenant_states))
        self._lead(
            twins_controller(
                twins,
                sources=sources,
                services=tenant.services,
                slices=tenant.slices,
                exports=(hub.routes, hub.load_balancers),
                tenant_states=hub.tenant_states,
                workers=_WORKERS,
            )
        )

    def _release(self) -> None:
        tenant = self._tenant
        followed = (
            (resources.SERVICES, tenant.services),
            (resources.INGRESSES, tenant.ingresses),
            (resources.SYNC_SECRETS, tenant.sync_secrets),
            (resources.SECRETS, tenant.secrets),
        )
        # Without a fence: nobody leads before the management cluster's lists are there, and any replica may do this.
        stranded = Stranded(
            *self._follow,
            [(resource, informer) for resource, informer in followed if informer is not None],
            hub_namespace=self._options.tenant_namespace,
            limit=self._options.release_after,
            clock=self._clock or SystemClock(),
        )
        # Early: it is for the time in which the management cluster's lists do not come.
        self.supervisor.service("release", stranded.run, early=True)

    def _lifecycle(
        self, name: str, kind: Kind, informer: Informer, exports: Exports, twins: Twins | None
    ) -> tuple[Lifecycle, Controller]:
        lifecycle = Lifecycle(
            kind,
            self._tenant_client,
            informer,
            exports,
            twins=twins,
            reporter=Reporter(self._tenant_client, self._clock),
            home=self._home,
        )
        services, states = self._tenant.services, self._hub.tenant_states
        return lifecycle, lifecycle.controller(name, services, states, self._hub.addresses, workers=_WORKERS)

    def _secrets(self) -> None:
        tenant, hub = self._tenant, self._hub
        exports = Exports(self._hub_client, hub.sync_secrets, self._home, origin_kind=None, own_annotations=True)
        _, controller = self._lifecycle("sync-secret", SyncSecretKind(), tenant.sync_secrets, exports, None)
        self._lead(controller)
        if tenant.secrets is not None:
            secret = SecretController(
                self._tenant_client,
                tenant.secrets,
                tenant.sync_secrets,
                reporter=Reporter(self._tenant_client, self._clock),
                home=self._home,
            )
            self._lead(secret.controller(hub.tenant_states, workers=_WORKERS))

    def _kinds(self, local_nodes: LocalNodes) -> Iterator[tuple[str, Kind, Informer, Exports]]:
        sources = {resources.SERVICES: self._tenant.services, resources.INGRESSES: self._tenant.ingresses}
        exported = {resources.LOAD_BALANCERS: self._hub.load_balancers, resources.ROUTES: self._hub.routes}
        for each in served(self._options, local_nodes):
            informer = sources[each.kind.resource]
            assert informer is not None, "a kind that is served is followed"
            exports = Exports(
                self._hub_client,
                exported[each.exported],
                self._home,
                origin_kind=each.origin_kind,
                own_annotations=each.own_annotations,
            )
            yield each.name, each.kind, informer, exports

    def _servers(self) -> None:
        binds: tuple[tuple[str, Bind | None], ...] = (
            ("health", self._options.health),
            ("metrics", self._options.metrics),
        )
        for name, bind in binds:
            if bind is not None:
                server = HealthServer(bind.host, bind.port, ready={"caches": self._unready})
                self.supervisor.service(name, server.run, early=True)

    def _unready(self) -> str | None:
        if self.supervisor.ready:
            return None
        missing = ", ".join(self.supervisor.unsynced())
        return f"waiting for the first lists of {missing}" if missing else "starting or stopping"


async def run(options: Options) -> None:
    """Connect to both clusters and run until stopped.

    Raises:
        ConfigError: a kubeconfig cannot be used.
        Fault: an address cannot be listened on, or a part crashed.
    """
    tenant = AioClient(kubeconfig.load(options.kubeconfig), user_agent="kubelb-ccm")
    hub = ManagementClient(kubeconfig.load(options.kubelb_kubeconfig), user_agent="kubelb-ccm")
    try:
        await App(options, tenant, hub).run()
    finally:
        await hub.close()
        await tenant.close()
