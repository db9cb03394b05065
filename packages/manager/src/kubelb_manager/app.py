"""The composition root: every part is made and joined here, and nowhere else.

Every replica follows the cluster, publishes snapshots and serves xDS. Whatever writes to the API server runs on the
leader alone, through a client that lets a leader's writes pass only.
"""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.faults import Fault
from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import ServerError, TooManyRequests, Unreachable
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock, SystemClock
from kubelb_common.runtime.fence import Fenced
from kubelb_common.runtime.leader import Alone, Elector, Timing
from kubelb_common.runtime.supervisor import Supervisor
from kubelb_common.telemetry import logs
from kubelb_common.telemetry.health import HealthServer
from kubelb_manager.controllers.board import Board
from kubelb_manager.controllers.config import ConfigController
from kubelb_manager.controllers.envoy_fleet import EnvoyFleetController
from kubelb_manager.controllers.events import Events
from kubelb_manager.controllers.fleet_guards import FleetGuardController
from kubelb_manager.controllers.gathering import Gathering
from kubelb_manager.controllers.global_endpoints import GlobalEndpointsController
from kubelb_manager.controllers.host_claims import HostClaimsController
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.controllers.loadbalancer import LoadBalancerController
from kubelb_manager.controllers.port_ledger import PortLedger
from kubelb_manager.controllers.proxy_view import proxies
from kubelb_manager.controllers.route import RouteController
from kubelb_manager.controllers.shared_address import SharedAddressController
from kubelb_manager.controllers.snapshot import SnapshotController
from kubelb_manager.controllers.sync_secret import SyncSecretController
from kubelb_manager.controllers.tenant import TenantController
from kubelb_manager.controllers.xds_identity import XdsIdentity
from kubelb_manager.delivery.cache import Cache
from kubelb_manager.delivery.identity import is_manager, refusal
from kubelb_manager.delivery.server import XdsServer
from kubelb_manager.gather.bootstraps import bootstrap_options
from kubelb_manager.gather.bundle import Gatherer
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.gather.resolver import Resolver
from kubelb_manager.gather.stores import Informers
from kubelb_manager.options import Options
from kubelb_manager.peers.link import PeerTls, Receiver, Sender, Target
from kubelb_manager.probes.nodeport import Connect, connects
from kubelb_manager.xds.generate import Generator

_log = logs.get(__name__)
_RETRY = 1.0
_RENEW = 24 * 3600.0


class CannotServe(Fault):
    """The xDS server's address cannot be used; the text says which and why."""


class Manager:
    """All parts of a manager over one client; `supervisor` runs them.

    Args:
        client: the management cluster.
        options: what the command line said.
        identity: not loaded yet.
        clock: time.
        connect: asks a node port whether it answers.
        timing: of the leader election.
    """

    def __init__(
        self,
        client: KubeClient,
        options: Options,
        identity: XdsIdentity,
        clock: Clock,
        *,
        connect: Connect = connects,
        timing: Timing | None = None,
    ) -> None:
        self.supervisor = Supervisor()
        #: Port of the xDS server once it listens, else 0.
        self.xds_port = 0
        self._options = options
        self.leadership = self._elector(client, clock, timing)
        self.informers = Informers.of(client, namespace=options.namespace, clock=clock)
        self.board = Board()
        self.cache = Cache()
        gathering = Gathering(self.cache, clock)
        self._receiver = Receiver(gathering.book, clock, is_manager)
        self.leadership.on_term(lambda leads: self._on_term(gathering, leads=leads))
        self._identity = identity
        self._clock = clock
        resolver = Resolver(clock, self._names_moved)
        gatherer = Gatherer(self.informers, resolver, options.namespace)
        fleets = Fleets(self.informers, options.namespace)
        self.snapshot = SnapshotController(
            gatherer, fleets, self.cache, gathering, Generator(), self.board, clock, connect
        )
        writer = Fenced(client, lambda: self.leadership.may_write)
        identity.write_through(writer)
        hub = Hub(writer, self.informers, clock)
        events = Events(hub, clock)
        self._ledger = ledger = PortLedger(self.informers, fleets)
        fleet = EnvoyFleetController(
            hub,
            fleets,
            identity,
            namespace=options.namespace,
            image=options.envoy_image,
            agent_image=options.agent_image,
            bootstrap=bootstrap_options(options),
            clock=clock,
        )
        for informer in self.informers.all():
            self.supervisor.informer(informer)
        self._load_balancers = LoadBalancerController(hub, fleets, self.board, events, ledger, clock, connect)
        self.routes = RouteController(hub, fleets, self.board, events, ledger, clock, connect)
        self._host_claims = HostClaimsController(hub, self.snapshot.gate, namespace=options.namespace, clock=clock)
        shared = SharedAddressController(hub, fleets, self.board, namespace=options.namespace, clock=clock)
        endpoints = GlobalEndpointsController(hub, fleets, clock=clock)
        tenants = TenantController(hub, events, namespace=options.namespace, clock=clock)
        config = ConfigController(hub, events, namespace=options.namespace, clock=clock)
        self._guards = FleetGuardController(hub, gatherer, namespace=options.namespace, clock=clock)
        #: Publication first: what traffic waits for comes before what people read.
        self.controllers = (
            self.snapshot.controller,
            self._host_claims.controller,
            self._load_balancers.controller,
            self.routes.controller,
            shared.controller,
            endpoints.controller,
            fleet.controller,
            self._guards.controller,
            tenants.controller,
            config.controller,
            SyncSecretController(hub, events, clock).controller,
            identity.controller(self.informers.secrets),
        )
        for controller in self.controllers:
            self.supervisor.controller(controller, by_leader=controller is not self.snapshot.controller)
        if isinstance(self.leadership, Elector):
            self.supervisor.informer(self.leadership.informer)
            sender = Sender(gathering.report, self.leadership.identity, self._leader, self._peer_tls, clock)
            self.leadership.on_change(sender.look)
            self.leadership.on_term(lambda _leads: sender.look())
            self.supervisor.service("report", sender.run)
        self.supervisor.lead_by(self.leadership)
        self.supervisor.prepare("authority", self._load_authority)
        self.supervisor.service("xds", self._serve)
        self.supervisor.service("resolver", resolver.run)

    def proxies(self) -> Object:
        """Return what is shown at /proxies; `complete` says that this manager knows every Envoy."""
        found = proxies(self.cache.progress, self.cache.fleets(), self.informers.slices.store)
        return {"complete": isinstance(self.leadership, Alone), "proxies": found}

    def unready(self) -> str | None:
        """Return why Envoys should not come here yet, or not any more; None when they should."""
        missing = self.supervisor.unsynced()
        if missing:
            return f"waiting for first lists of {', '.join(missing)}"
        if not self.xds_port:
            return "the xDS server does not listen yet"
        return None if self.supervisor.ready else "starting or stopping"

    def _elector(self, client: KubeClient, clock: Clock, timing: Timing | None) -> Alone | Elector:
        options = self._options
        if not options.leader_election:
            return Alone()
        namespace = options.leader_election_namespace or options.namespace
        return Elector(
            client,
            namespace=namespace,
            name=names.MANAGER_LEASE,
            annotations=self._lease_annotations,
            timing=timing,
            clock=clock,
        )

    def _lease_annotations(self) -> dict[str, str]:
        """Say where the other replicas report; a port that is not bound yet comes with the next renewal."""
        host, port = self._options.advertise_address, self.xds_port or self._options.xds.port
        if not host or not port:
            return {}
        return {names.ANNOTATION_LEADER_ADDRESS: f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}

    def _leader(self) -> Target | None:
        """Return to whom we report: nobody while we lead, or while the leader's address is not known."""
        if not isinstance(self.leadership, Elector) or self.leadership.leads:
            return None
        lease = self.leadership.holder() or {}
        identity = view.text(lease, "spec", "holderIdentity")
        address = view.annotations(lease).get(names.ANNOTATION_LEADER_ADDRESS, "")
        return Target(identity, address) if address and identity != self.leadership.identity else None

    def _peer_tls(self) -> PeerTls:
        own = self._identity.peer_tls()
        return PeerTls(own.certificate, own.key, own.client_ca, self._identity.server_name())

    def _on_term(self, gathering: Gathering, *, leads: bool) -> None:
        self._receiver.lead(leads=leads)
        gathering.lead(leads=leads)
        self._ledger.forget()

    async def _load_authority(self) -> None:
        """Load the authority; wait for an API server that does not answer yet."""
        while True:
            try:
                await self._identity.load()
            except (Unreachable, ServerError, TooManyRequests) as error:
                _log.warning("the API server does not answer yet", error=str(error), retry_in=_RETRY)
                await self._clock.sleep(_RETRY)
            else:
                return

    def _names_moved(self) -> None:
        """Names that tenants give as addresses stand for others now."""
        self.snapshot.everybody_again()
        self._guards.everybody_again()

    async def _serve(self) -> None:
        """Serve xDS until cancelled; renew the server's certificate daily."""
        server = XdsServer(
            self.cache,
            host=self._options.xds.host or "::",
            port=self._options.xds.port,
            tls=self._identity.server_tls(),
            authorize=refusal,
            others=(self._receiver.handler(),),
        )
        try:
            self.xds_port = await server.start()
        except OSError as error:
            raise CannotServe(str(error)) from error
        _log.info("xDS server listens", port=self.xds_port)
        try:
            while True:
                await self._clock.sleep(_RENEW)
                server.reload_tls(self._identity.server_tls())
        finally:
            for probes in (self.snapshot.prober, self._load_balancers.gate, self.routes.gate):
                probes.close()
            await server.stop()


async def run(options: Options) -> None:
    """Run a manager until SIGTERM or SIGINT.

    Raises:
        ConfigError: the kubeconfig or in-cluster credential cannot be used.
        Fault: a part cannot start, or crashed.
    """
    clock = SystemClock()
    client = AioClient(kubeconfig.load(options.kubeconfig), user_agent="kubelb-manager")
    try:
        identity = XdsIdentity(client, namespace=options.namespace, clock=clock)
        manager = Manager(client, options, identity, clock)
        health = HealthServer(
            options.health.host,
            options.health.port,
            ready={"xds": manager.unready},
            pages={"/proxies": manager.proxies},
        )
        metrics = HealthServer(options.metrics.host, options.metrics.port)
        manager.supervisor.service("health", health.run, early=True)
        manager.supervisor.service("metrics", metrics.run, early=True)
        await manager.supervisor.run()
    finally:
        await client.close()
