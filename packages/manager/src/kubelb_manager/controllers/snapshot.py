"""Key: a fleet. Gather, translate, roll out, publish, and say what came of each object.

An object belongs to the fleet that the topology names, and to the one that its Service still points at
(`gather.fleets`); from a fleet that neither names any more it goes after `LINGER`, when clients that
were on their way there have arrived.

A pass publishes what follows from the stores as they are. It looks again at the objects that changed
(at all of them when something that they share did), and at those about which a word is still due, so
that one changed object costs the same beside ten and beside ten thousand others. A pass without a
change publishes nothing and changes no outcome. It runs when an object, an acknowledgement or a node
port's answer may change something, and at the time that the rollout names. All state besides the
rollout's may be lost at any time: a new pass makes it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import conditions, view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Change
from kubelb_common.telemetry import logs
from kubelb_manager.admission.gate import Gate
from kubelb_manager.admission.limits import share
from kubelb_manager.controllers import programmed
from kubelb_manager.controllers.board import PROGRAMMED, Board, Outcome
from kubelb_manager.controllers.fleet_view import FleetView
from kubelb_manager.controllers.gathering import Gathering
from kubelb_manager.controllers.proxy_text import own_words
from kubelb_manager.delivery.cache import Cache, FleetProgress
from kubelb_manager.delivery.messages import Nack
from kubelb_manager.desired.envoy_fleet import rolled_out
from kubelb_manager.gather.bundle import Gatherer
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.ir.model import ClientAddress, Endpoint, Fleet, FleetId, HeaderLimits, Origin, Part, Share
from kubelb_manager.peers import model as peers
from kubelb_manager.peers.model import ObjectState
from kubelb_manager.ports.table import PortKey, from_status
from kubelb_manager.probes.nodeport import Connect, NodePortProber, connects
from kubelb_manager.rollout.rollout import REMOVAL_BOUND, Phase, Rollout, Standing, Step
from kubelb_manager.settings import in_force
from kubelb_manager.translate.context import Context, hostnames_of, moved_nodes, refers_to
from kubelb_manager.translate.delegation import keep_listening
from kubelb_manager.translate.load_balancer import translate_load_balancer
from kubelb_manager.translate.merge import MergeMemo, merge
from kubelb_manager.translate.result import Translated
from kubelb_manager.translate.route import translate_route
from kubelb_manager.xds.generate import Generator
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES, ResourceTable

_log = logs.get(__name__)
#: Steps that may follow at once in one pass; each needs the one before to be published.
_STEPS = 4
#: Of the manager's time, what one tenant's passes may take while other tenants have work: a pass of thousands of
#: objects takes tens of milliseconds, and what others wait for takes several turns of the loop.
_SHARE = 0.25
#: While something waits for slow node ports, their lag is looked at this often.
_WAITING_PERIOD = 0.25
#: The acknowledgements of several Envoys come within this time, and nothing but a status waits for them.
_ACKNOWLEDGEMENTS_JOIN = 0.01
#: Seconds that an object stays in a fleet to which its Service no longer leads: kube-proxies and load balancers
#: learn of that within a second or two, connections that are kept alive by clients live longer.
LINGER = 300.0


@dataclass(slots=True)
class _State:
    """What is remembered of one fleet between passes."""

    rollout: Rollout = field(default_factory=Rollout)
    memo: MergeMemo = field(default_factory=MergeMemo)
    #: What the objects of each tenant share, by its namespace.
    contexts: dict[str, Context] = field(default_factory=dict)
    #: Objects that changed since the last pass, and tenants of whom something that their objects share may have.
    changed: set[Origin] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    #: Objects that another fleet serves now, and until when they stay here.
    lingering: dict[Origin, float] = field(default_factory=dict)
    translated: dict[Origin, Translated] = field(default_factory=dict)
    wanted: dict[Origin, Part] = field(default_factory=dict)
    #: Addresses objects that each object depends on, None for any.
    refers_to: dict[Origin, frozenset[str] | None] = field(default_factory=dict)
    #: Objects about which a word is still due, or that still hold clusters they let go of; of the latter, those of
    #: which all is said until such a cluster goes. Where much changes there are many of these.
    restless: set[Origin] = field(default_factory=set)
    waning: set[Origin] = field(default_factory=set)
    latched: dict[Origin, tuple[str, int]] = field(default_factory=dict)
    adopted_at: dict[Origin, tuple[int, float]] = field(default_factory=dict)
    deleting_since: dict[Origin, float] = field(default_factory=dict)
    #: Objects that name a host of which the leader has not decided whose it is: what they were before stays.
    undecided: set[Origin] = field(default_factory=set)
    #: Since when it is not known what Envoys elsewhere have of an object.
    doubted_since: dict[Origin, float] = field(default_factory=dict)
    contents: dict[Origin, tuple[Part, str]] = field(default_factory=dict)
    shadowed: Mapping[Origin, tuple[str, ...]] = field(default_factory=dict)
    #: What was published last, and what was made of it.
    published: tuple[Fleet, bool] | None = None
    table: ResourceTable = field(default_factory=dict)
    heard: frozenset[tuple[str, Nack]] = frozenset()
    asked: frozenset[Endpoint] = frozenset()
    generation: int = 0

    def forget(self, origin: Origin) -> None:
        """Drop an object that is gone."""
        for table in (
            self.translated,
            self.wanted,
            self.lingering,
            self.refers_to,
            self.latched,
            self.adopted_at,
            self.deleting_since,
            self.doubted_since,
            self.contents,
        ):
            table.pop(origin, None)
        self.restless.discard(origin)
        self.waning.discard(origin)
        self.undecided.discard(origin)


class SnapshotController:
    """Publishes every fleet's snapshot; see the module."""

    def __init__(
        self,
        gatherer: Gatherer,
        fleets: Fleets,
        cache: Cache,
        gathering: Gathering,
        generator: Generator,
        board: Board,
        clock: Clock,
        connect: Connect = connects,
    ) -> None:
        self._gatherer = gatherer
        self._fleets = fleets
        self._cache = cache
        self._gathering = gathering
        self._generator = generator
        self._board = board
        self._clock = clock
        self._states: dict[FleetId, _State] = {}
        self._by_label: dict[str, FleetId] = {}
        #: Fleets that have to have each object, and the fleets of each tenant's objects, by its namespace.
        self._assigned: dict[Origin, tuple[FleetId, ...]] = {}
        self._fleets_of: dict[str, set[FleetId]] = {}
        #: Fleets that objects linger in.
        self._left: dict[Origin, set[FleetId]] = {}
        #: Names that objects give as addresses, by the tenant's namespace.
        self._hostnames: dict[str, dict[Origin, tuple[str, ...]]] = {}
        #: What fits beside a tenant's other objects, and beside other tenants.
        self.gate = Gate(self._objects_again)
        self.prober = NodePortProber(clock, self._on_answer, connect)
        self.controller = Controller("snapshot", self.reconcile, clock=clock, share=_SHARE)
        cache.on_progress(self._on_progress)
        gathering.book.on_change(self._on_report)
        gathering.on_term(self._on_term)
        self._watch()

    def _watch(self) -> None:
        stores = self._gatherer.informers
        stores.routes.on_change(lambda change: self._on_object("Route", change))
        stores.load_balancers.on_change(lambda change: self._on_object("LoadBalancer", change))
        stores.services.on_change(self._on_service)
        self.controller.watch(stores.slices, self._fleet_of_pods)
        for informer in (stores.deployments, stores.daemon_sets):
            self.controller.watch(informer, self._fleet_of_pods, when=_rolled_out)
        stores.addresses.on_change(self._on_addresses)
        stores.tenants.on_change(self._on_tenant)
        stores.api_servers.on_change(lambda _change: self.everybody_again())
        for informer in (stores.configs, stores.service_cidrs):
            informer.on_change(lambda change: self.everybody_again() if _spec_changed(change) else None)
        stores.nodes.on_change(lambda change: self.everybody_again() if _node_moved(change) else None)
        stores.namespaces.on_change(self._on_namespace)

    def _on_object(self, kind: str, change: Change) -> None:
        """Note which object changed; what we wrote ourselves is no change."""
        if not _matters(change):
            return
        obj = _either(change)
        origin = Origin(kind, view.namespace(obj), view.name(obj))
        self.gate.object(origin, change.new)
        self._note_hostnames(origin)
        self._assign(origin)

    def _objects_again(self, origins: Iterable[Origin]) -> None:
        """Have objects translated again."""
        for origin in origins:
            self._assign(origin)

    def _on_service(self, change: Change) -> None:
        """See whether a Service of ours came to point at another fleet."""
        service = _either(change)
        namespace, name = view.namespace(service), view.name(service)
        if name == names.INGRESS_SERVICE and _comes_or_goes(change):
            self._touch(namespace)  # where Ingresses are delegated, it decides for how long we serve beside
        if change.old is not None and change.new is not None and view.labels(change.old) == view.labels(change.new):
            return
        owner = view.controller(service) or {}
        if name == names.INGRESS_SERVICE:
            moved = [each for each in self._origins(namespace) if each.kind == "Route"]
        elif view.text(owner, "kind") == "Route":
            moved = [Origin("Route", namespace, view.text(owner, "name"))]
        else:
            moved = [Origin("LoadBalancer", namespace, names.load_balancer_of_service(name))]
        for origin in moved:
            if origin in self._assigned and self._fleets.of(origin) != self._assigned[origin]:
                self._assign(origin)

    def _on_addresses(self, change: Change) -> None:
        """A tenant's nodes are its own endpoints, and nobody else's: others hear of it in their next pass."""
        own = view.namespace(_either(change))
        for state in self._states.values():
            state.stale |= state.contexts.keys()
        self._touch(own)

    def _on_tenant(self, change: Change) -> None:
        if _spec_changed(change):
            self._touch(names.tenant_namespace(view.name(_either(change))), reassign=True)

    def _on_namespace(self, change: Change) -> None:
        if _spec_changed(change):
            self._touch(view.name(_either(change)))

    def _fleet_of_pods(self, obj: Object) -> list[ObjectKey]:
        fleet = self._by_label.get(view.labels(obj).get(names.LABEL_FLEET, ""))
        return [ObjectKey(*fleet)] if fleet is not None else []

    def _touch(self, namespace: str, *, reassign: bool = False) -> None:
        """Look again at what a tenant's objects share, and with `reassign` at the fleets that they belong to."""
        if reassign:
            for origin in self._origins(namespace):
                if self._fleets.of(origin) != self._assigned.get(origin):
                    self._assign(origin)
        for fleet in self._fleets_of.get(namespace, ()):
            self._states[fleet].stale.add(namespace)
            self.controller.enqueue(ObjectKey(*fleet))

    def _origins(self, namespace: str) -> list[Origin]:
        return self._gatherer.origins(namespace)

    def everybody_again(self) -> None:
        """Have every fleet looked at."""
        for namespace in list(self._fleets_of):
            self._touch(namespace, reassign=True)

    def _assign(self, origin: Origin) -> None:
        """Bring an object that changed, or that belongs to other fleets than before, to all of them."""
        before = self._assigned.pop(origin, ())
        now = () if self._gatherer.live(origin) is None else self._fleets.of(origin)
        if now:
            self._assigned[origin] = now
        for fleet in {*before, *now, *self._left.get(origin, ())}:
            if fleet not in self._states:
                self._states[fleet] = _State()
                self._by_label[names.fleet_label(*fleet)] = fleet
            self._states[fleet].changed.add(origin)
            self._fleets_of.setdefault(origin.namespace, set()).add(fleet)
            self.controller.enqueue(ObjectKey(*fleet))
        if before and now and before != now:
            self._board.touch(origin)

    def _note_hostnames(self, origin: Origin) -> None:
        obj = self._gatherer.live(origin)
        found = hostnames_of(obj) if obj is not None else ()
        known = self._hostnames.setdefault(origin.namespace, {})
        if found:
            known[origin] = found
        else:
            known.pop(origin, None)

    def _on_progress(self, fleet_key: str) -> None:
        fleet = FleetId(*fleet_key.split("/", 1))
        state = self._states.get(fleet)
        if state is None:
            return
        if state.rollout.waiting:
            self.controller.enqueue(ObjectKey(*fleet))  # traffic waits for this one
        elif state.rollout.pending or state.restless or not state.translated:
            self.controller.enqueue(ObjectKey(*fleet), after=_ACKNOWLEDGEMENTS_JOIN)

    def _on_report(self, fleet_key: str, origins: set[Origin]) -> None:
        """Another replica's Envoys, or what it has of some objects, are not what they were."""
        fleet = FleetId(*fleet_key.split("/", 1))
        state = self._states.get(fleet)
        if state is None:
            return
        state.restless |= origins & state.translated.keys()
        state.waning -= origins
        if state.restless or state.rollout.pending:
            self.controller.enqueue(ObjectKey(*fleet), after=_ACKNOWLEDGEMENTS_JOIN)

    def _on_term(self) -> None:
        """Who begins to lead looks at every object with what all replicas know; nothing of before counts."""
        self._board.clear()
        for fleet, state in self._states.items():
            state.restless |= state.translated.keys()
            state.waning.clear()
            self.controller.enqueue(ObjectKey(*fleet))

    def _on_answer(self, endpoint: Endpoint) -> None:
        for fleet, state in self._states.items():
            if endpoint in state.asked:
                self.controller.enqueue(ObjectKey(*fleet))

    # One pass ------------------------------------------------------------------------------------

    async def reconcile(self, key: ObjectKey) -> Result:
        """Publish what follows from the stores now."""
        fleet = FleetId(*key)
        state = self._states.get(fleet)
        if state is None:
            return DONE
        self._translate(state, fleet)
        ready = self._gatherer.ready_pods(fleet)
        wake_at = self._roll_out(state, fleet, ready)
        waits = self._tell(state, fleet, ready)
        if self._is_over(state, fleet):
            self._forget(fleet)
            return DONE
        return self._again(state, wake_at, waits=waits)

    def _contexts(self, state: _State, changed: set[Origin]) -> set[Origin]:
        """Bring the tenants' contexts up to date; return what is to be translated.

        Without its Tenant nothing is known of a namespace's rights: what is live there stays as it is.
        """
        stale, state.stale = state.stale, set()
        out: set[Origin] = set()
        for namespace in sorted(stale | {origin.namespace for origin in changed}):
            own = {origin for origin in changed if origin.namespace == namespace}
            hostnames = {name for found in self._hostnames.get(namespace, {}).values() for name in found}
            context = self._gatherer.context(namespace, hostnames)
            if context is None:
                gone = {origin for origin in own if self._gatherer.live(origin) is None}
                state.changed |= own - gone
                out |= gone
                continue
            out |= own
            if context is not state.contexts.get(namespace):
                out |= _sharing(state, namespace, context)
                state.contexts[namespace] = context
            elif self._is_removing(namespace):
                out |= {origin for origin in state.wanted if origin.namespace == namespace}
        return out

    def _is_removing(self, namespace: str) -> bool:
        return view.deleting(self._gatherer.tenant(namespace) or {})

    def _translate(self, state: _State, fleet: FleetId) -> None:
        """Translate what changed: single objects, or all of a tenant when they share something new."""
        changed, state.changed = state.changed, set()
        changed = self._contexts(state, changed)
        needs_ports = any(origin.kind == "LoadBalancer" for origin in changed)
        ports = self._ports(fleet, state) if needs_ports else {}
        now = self._clock.monotonic()
        for origin in sorted(changed):
            obj = self._gatherer.live(origin)
            if obj is None:
                self._drop(state, fleet, origin)
                continue
            if fleet in self._assigned.get(origin, ()):
                state.lingering.pop(origin, None)
                self._left.get(origin, set()).discard(fleet)
            elif origin in state.translated or origin in state.undecided:
                state.lingering.setdefault(origin, now + LINGER)
                self._left.setdefault(origin, set()).add(fleet)
            else:
                continue
            self._translate_one(state, fleet, origin, obj, ports)
        self._let_go(state, now)
        if changed:
            self._ask(state)

    def _translate_one(
        self, state: _State, fleet: FleetId, origin: Origin, obj: Object, ports: Mapping[PortKey, int]
    ) -> None:
        context = state.contexts[origin.namespace]
        if origin.kind == "Route":
            own = self._gatherer.route_ports(origin, shared_by_all=fleet == self._fleets.shared_by_all)
        else:
            own = _own(ports, origin)
        translate = translate_route if origin.kind == "Route" else translate_load_balancer
        fresh = translate(obj, context, own)
        state.refers_to[origin] = refers_to(obj)
        admitted = self.gate.judge(origin, obj, fresh, context.settings.limits)
        if admitted is None:
            state.undecided.add(origin)
            return
        state.undecided.discard(origin)
        before = state.translated.get(origin)
        result = state.translated[origin] = before if before == admitted and before is not None else admitted
        part = result.part
        if origin.kind == "Route" and result.accepted:
            part = keep_listening(part, state.wanted.get(origin), own)
        if part is None or self._is_removing(origin.namespace) or view.deleting(obj):
            state.wanted.pop(origin, None)
        else:
            state.wanted[origin] = part
        state.restless.add(origin)
        state.waning.discard(origin)

    def _drop(self, state: _State, fleet: FleetId, origin: Origin) -> None:
        """Forget an object that a fleet has nothing of any more."""
        state.forget(origin)
        self._board.drop(origin, fleet)
        self._gathering.gone(fleet, origin)
        left = self._left.get(origin, set())
        left.discard(fleet)
        if not left:
            self._left.pop(origin, None)

    def _let_go(self, state: _State, now: float) -> None:
        """Want no longer what another fleet serves, when the time has come."""
        for origin in [origin for origin, until in state.lingering.items() if until <= now]:
            state.wanted.pop(origin, None)
            state.restless.add(origin)
            state.waning.discard(origin)

    def _ports(self, fleet: FleetId, state: _State) -> Mapping[PortKey, int]:
        members = {*state.translated, *(origin for origin, fleets in self._assigned.items() if fleet in fleets)}
        return self._gatherer.ports(sorted(members))

    def _roll_out(self, state: _State, fleet: FleetId, ready: frozenset[str]) -> float | None:
        trusted = [origin for origin in state.wanted if self._was_judged(origin)] if state.rollout.opening else []
        wake_at: float | None = None
        for _ in range(_STEPS):
            view_ = self._view(state, fleet, ready)
            now = self._clock.monotonic()
            self._hear_refusals(state, fleet, view_)
            step = state.rollout.step(state.wanted, view_, now, trusted=trusted, undecided=bool(state.undecided))
            generation = self._publish(state, fleet, step, len(ready))
            state.rollout.published(generation, now)
            wake_at = step.wake_at
            if generation == state.generation and wake_at != now:
                break
            state.generation = generation
        return wake_at

    def _was_judged(self, origin: Origin) -> bool:
        obj = self._gatherer.live(origin)
        return obj is not None and _was_judged(obj)

    def _view(self, state: _State, fleet: FleetId, ready: frozenset[str]) -> FleetView:
        progress, elsewhere = self._cache.progress(fleet.key), self._gathering.elsewhere(fleet)
        streams = tuple(stream for stream in progress.streams if stream.pod not in elsewhere.pods)
        # Who does not lead answers for the Envoys that are connected here.
        answerable = ready if self._gathering.leads else frozenset(stream.pod for stream in streams)
        progress = FleetProgress(progress.generation, streams)
        view_ = FleetView(progress, answerable, self.prober.reach, elsewhere)
        if state.generation and view_.has_clusters(state.generation) and view_.has_routes(state.generation):
            state.rollout.settled(state.generation)
        return view_

    def _publish(self, state: _State, fleet: FleetId, step: Step, ready: int) -> int:
        merged, state.shadowed = merge(fleet.key, step.parts, client=_client_address(state), memo=state.memo)
        limits = _header_limits(state)
        merged = replace(merged, clusters=step.clusters, header_limits=limits, shares=_shares(state, ready))
        if step.opening:
            merged = Fleet(fleet.key, clusters=step.clusters, header_limits=limits, shares=merged.shares)
        if (merged, step.opening) != state.published:
            state.published = (merged, step.opening)
            state.table = self._generator.table(merged)
        return self._cache.publish(fleet.key, state.table, clusters_only=step.opening)

    def _ask(self, state: _State) -> None:
        wanted = frozenset(
            endpoint for part in state.wanted.values() for cluster in part.clusters for endpoint in cluster.endpoints
        )
        if wanted == state.asked:
            return
        before, state.asked = state.asked, wanted
        others = {endpoint for other in self._states.values() for endpoint in other.asked}
        self.prober.forget(before - others)
        self.prober.ask(wanted - before)

    def _hear_refusals(self, state: _State, fleet: FleetId, view_: FleetView) -> None:
        now = frozenset((stream.pod, nack) for stream in view_.progress.streams for nack in stream.nacks)
        for pod, nack in sorted(now - state.heard, key=lambda item: item[1].generation):
            _log.warning(
                "an Envoy refused configuration",
                fleet=fleet.key,
                pod=pod,
                type=nack.type_url.rpartition(".")[2],
                names=list(nack.names),
                message=nack.message,
            )
            if nack.type_url in (CLUSTER, ENDPOINTS):
                state.rollout.refuse_clusters(frozenset(nack.names), nack.message)
            elif nack.type_url in (EXTENSIONS, LISTENER, ROUTES):
                state.rollout.refuse(nack.generation, nack.message, routes=True)
        state.heard = now

    # What came of it -----------------------------------------------------------------------------

    def _tell(self, state: _State, fleet: FleetId, ready: frozenset[str]) -> bool:
        """Report every restless object, and put its outcome if we lead; return whether one waits on."""
        self._gathering.look(fleet)
        view_ = self._view(state, fleet, ready)
        still = {origin for origin in state.waning if not state.rollout.is_letting_go(origin)}
        for origin in sorted(state.restless - state.undecided - still):
            obj, result = self._gatherer.live(origin), state.translated.get(origin)
            if obj is None or result is None:
                state.restless.discard(origin)
                continue
            outcome, quiet = self._outcome(state, fleet, view_, origin, obj, result)
            if self._has_left(state, view_, origin):
                self._drop(state, fleet, origin)
                continue
            if self._gathering.leads:
                self._board.put(origin, fleet, outcome)
            state.waning.discard(origin)
            if not quiet or view.deleting(obj):
                continue
            if not state.rollout.is_leaving(origin):
                state.restless.discard(origin)
            elif origin not in state.lingering:
                state.waning.add(origin)
        return bool(state.restless)

    def _has_left(self, state: _State, view_: FleetView, origin: Origin) -> bool:
        """Whether another fleet serves the object, and no Envoy of this one has anything of it any more."""
        if origin not in state.lingering or origin in state.wanted:
            return False
        return not state.rollout.clusters_of(origin, view_, self._clock.monotonic())

    def _outcome(
        self,
        state: _State,
        fleet: FleetId,
        view_: FleetView,
        origin: Origin,
        obj: Object,
        result: Translated,
    ) -> tuple[Outcome, bool]:
        now = self._clock.monotonic()
        standing = None if view.deleting(obj) else state.rollout.standing(origin, view_)
        ours = self._ours(state, view_, origin, obj, result, standing)
        self._gathering.report.put(fleet.key, origin, ours)
        services, sure = self._services(state, view_, origin, obj, ours)
        released = view.deleting(obj) and (
            now - state.deleting_since[origin] >= REMOVAL_BOUND
            or (ours.released and not view_.unknown() and view_.elsewhere.released(origin, ours.uid))
        )
        verdict, quiet, everywhere = None, True, False
        # What was programmed once stays so where traffic goes; another fleet has to show it first (ruling 12).
        serves = self._fleets.serving(origin) == fleet
        if origin in state.wanted and standing is not None:
            generation = standing.generation
            if standing.phase is Phase.ADOPTED and state.adopted_at.get(origin, (0, 0.0))[0] != generation:
                state.adopted_at[origin] = (generation, now)
            waited = now - state.adopted_at.get(origin, (0, now))[1]
            latched = state.latched.get(origin) == (view.uid(obj), view.generation(obj)) or _is_latched(obj)
            serving = view_.serving(origin, ours)
            everywhere = standing.phase is Phase.ADOPTED and generation > 0 and serving[0] == serving[1] > 0
            everywhere = everywhere and (serves or self._fleets.is_complete(fleet))
            refusal = view_.elsewhere.refusal(origin, ours.uid, ours.generation)
            if refusal and standing.phase is not Phase.REFUSED:
                standing = Standing(Phase.REFUSED, refusal=refusal)
            own = own_words(result) if standing.phase is Phase.REFUSED else ()
            verdict, quiet = programmed.judge(standing, serving, waited, latched=latched and serves, own=own)
            # A latched word is no reason to stop looking: a hand-over waits for the last acknowledgement.
            hands_over = bool(result.wants or result.listening)
            quiet = quiet and (everywhere or standing.phase is Phase.REFUSED or not hands_over)
            if verdict is not None and verdict.status == "True" and self._gathering.leads:
                state.latched[origin] = (view.uid(obj), view.generation(obj))
        elif result.part is None and not result.pending and not view.deleting(obj):
            verdict = programmed.NOTHING_TO_SERVE if result.accepted else programmed.NOT_ACCEPTED
        outcome = Outcome(
            uid=view.uid(obj),
            generation=view.generation(obj),
            verdicts=(
                *programmed.with_shadowed(result.verdicts, state.shadowed.get(origin, ())),
                *([verdict] if verdict else []),
            ),
            services=services,
            copy=result.copy,
            backends=result.backends,
            wants=result.wants,
            listening=result.listening,
            settled=verdict is not None,
            everywhere=everywhere,
            released=released,
        )
        return outcome, quiet and sure and (serves or everywhere or origin in state.lingering)

    def _ours(
        self,
        state: _State,
        view_: FleetView,
        origin: Origin,
        obj: Object,
        result: Translated,
        standing: Standing | None,
    ) -> ObjectState:
        """Return where we and our own Envoys have an object."""
        now = self._clock.monotonic()
        clusters = state.rollout.clusters_of(origin, view_, now)
        content, since = "", 0
        if standing is not None and standing.phase is Phase.ADOPTED and result.part is not None:
            content, since = self._content(state, origin, result.part), standing.generation
        if view.deleting(obj):
            state.deleting_since.setdefault(origin, now)
        return ObjectState(
            uid=view.uid(obj),
            generation=view.generation(obj),
            content=content,
            since=since,
            clusters=tuple(sorted(clusters)),
            released=view.deleting(obj) and self._let_go_here(state, view_, origin, result, clusters),
            refusal=standing.refusal if standing is not None else "",
        )

    @staticmethod
    def _content(state: _State, origin: Origin, part: Part) -> str:
        known = state.contents.get(origin)
        if known is None or known[0] is not part:
            known = state.contents[origin] = (part, peers.content(part))
        return known[1]

    def _services(
        self, state: _State, view_: FleetView, origin: Origin, obj: Object, ours: ObjectState
    ) -> tuple[tuple[str, ...], bool]:
        """Return the tenant's Services that an Envoy may still have, and whether that is known of all Envoys.

        While it is not, those that were named before stay named, for as long as a dead Envoy is waited for.
        """
        clusters = {*ours.clusters, *view_.elsewhere.clusters(origin)}
        services = set(programmed.services_of(clusters))
        if not view_.unknown() and not view_.elsewhere.silent(origin, ours.uid, ours.generation):
            state.doubted_since.pop(origin, None)
            return tuple(sorted(services)), True
        now = self._clock.monotonic()
        if now - state.doubted_since.setdefault(origin, now) >= REMOVAL_BOUND:
            return tuple(sorted(services)), True
        before = view.get(obj, "status", "resources", "services", default={})
        kept = set(before) - services if isinstance(before, dict) else set()
        return tuple(sorted(services | kept)), not kept

    def _let_go_here(
        self, state: _State, view_: FleetView, origin: Origin, result: Translated, clusters: frozenset[str]
    ) -> bool:
        """Whether no Envoy that is connected here can still send to this object's node ports on its account."""
        if clusters or state.rollout.opening:
            return False
        # After a restart nothing is remembered: what the object would ask for tells what Envoys may hold.
        own = {cluster.name for cluster in result.part.clusters} if result.part is not None else set()
        own -= {name for other, found in state.translated.items() if other != origin for name in _cluster_names(found)}
        return not any(stream.may_have_cluster(name) for stream in view_.progress.streams for name in own)

    def _again(self, state: _State, wake_at: float | None, *, waits: bool) -> Result:
        """Say when the next pass is due if nothing happens before."""
        now = self._clock.monotonic()
        times = [until for origin, until in state.lingering.items() if origin in state.wanted]
        if wake_at is not None:
            times.append(wake_at)
        if state.rollout.pending:
            times.append(now + _WAITING_PERIOD)
        elif waits:
            times.append(now + programmed.PARTIAL_AFTER)
        return Again(max(min(times) - now, 0.0)) if times else DONE

    def _is_over(self, state: _State, fleet: FleetId) -> bool:
        """Whether nothing is left to serve, nor anybody to tell."""
        if state.translated or state.undecided or state.changed or state.rollout.pending:
            return False
        return not self._cache.progress(fleet.key).streams

    def _forget(self, fleet: FleetId) -> None:
        state = self._states.pop(fleet)
        self._by_label.pop(names.fleet_label(*fleet), None)
        self._cache.remove(fleet.key)
        self._generator.forget(fleet.key)
        self._gathering.forget(fleet)
        self.prober.forget(state.asked - {e for other in self._states.values() for e in other.asked})
        for namespace, fleets in list(self._fleets_of.items()):
            fleets.discard(fleet)
            if not fleets:
                del self._fleets_of[namespace]
                self._gatherer.forget(namespace)
                self._hostnames.pop(namespace, None)


def _either(change: Change) -> Object:
    obj = change.new if change.new is not None else change.old
    assert obj is not None
    return obj


def _client_address(state: _State) -> ClientAddress:
    """Return whose word on a client's address counts; tenants that share a fleet have it from Config alike."""
    return state.contexts[min(state.contexts)].client_address if state.contexts else ClientAddress()


def _header_limits(state: _State) -> HeaderLimits:
    """Return the limits of headers, which are Config's too."""
    first = state.contexts[min(state.contexts)] if state.contexts else None
    return HeaderLimits() if first is None else HeaderLimits(*first.settings.header_limits)


def _shares(state: _State, ready: int) -> tuple[tuple[str, Share], ...]:
    """Return what each tenant with limits may have of one Envoy."""
    found = ((name, share(context.settings.limits, ready)) for name, context in sorted(state.contexts.items()))
    return tuple((name, each) for name, each in found if each != Share())


def _cluster_names(result: Translated) -> set[str]:
    return {cluster.name for cluster in result.part.clusters} if result.part is not None else set()


def _is_latched(obj: Object) -> bool:
    """Whether the object says that this generation was programmed; a restart changes nothing of that."""
    found = view.objects(obj, "status", "conditions")
    return conditions.is_true(found, PROGRAMMED, generation=view.generation(obj))


def _was_judged(obj: Object) -> bool:
    """Whether a manager before us came to an end with this generation, good or bad."""
    item = conditions.find(view.objects(obj, "status", "conditions"), PROGRAMMED)
    return (
        item is not None
        and item.get("observedGeneration") == view.generation(obj)
        and (item.get("status") == "True" or item.get("reason") == programmed.BACKEND_UNREACHABLE)
    )


def _sharing(state: _State, namespace: str, context: Context) -> set[Origin]:
    """Return the objects of a tenant for which this context means another thing than the one before."""
    before = state.contexts.get(namespace)
    moved = None if before is None else moved_nodes(before, context)
    known = {origin for origin in {*state.translated, *state.undecided} if origin.namespace == namespace}
    if moved is None:
        return known
    depends = {origin: state.refers_to.get(origin) for origin in known}
    return {origin for origin, names_ in depends.items() if names_ is None or names_ & moved}


def _own(ports: Mapping[PortKey, int], origin: Origin) -> dict[PortKey, int]:
    return {key: port for key, port in ports.items() if key.holder == origin}


def _matters(change: Change) -> bool:
    """Whether a change of a Route or LoadBalancer can change what is served or said."""
    old, new = change
    if old is None or new is None:
        return True
    if old["metadata"].get("generation") != new["metadata"].get("generation") or view.uid(old) != view.uid(new):
        return True
    if view.annotations(old) != view.annotations(new) or view.deleting(old) != view.deleting(new):
        return True
    return from_status([old]) != from_status([new])


def _rolled_out(change: Change) -> bool:
    old, new = change
    return old is None or new is None or rolled_out(old) != rolled_out(new)


def _spec_changed(change: Change) -> bool:
    old, new = change
    if old is None or new is None:
        return True
    if old.get("spec") != new.get("spec") or in_force.version(old) != in_force.version(new):
        return True
    return view.deleting(old) != view.deleting(new) or view.labels(old) != view.labels(new)


def _comes_or_goes(change: Change) -> bool:
    old, new = change
    return old is None or new is None or view.deleting(old) != view.deleting(new)


def _node_moved(change: Change) -> bool:
    old, new = change
    if old is None or new is None:
        return True
    return old.get("spec") != new.get("spec") or view.get(old, "status", "addresses") != view.get(
        new, "status", "addresses"
    )
