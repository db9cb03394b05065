"""Key: a tenant's namespace. Gather, translate, roll out, publish, and say what came of each object.

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
from kubelb_manager.controllers import programmed
from kubelb_manager.controllers.board import PROGRAMMED, Board, Outcome
from kubelb_manager.controllers.fleet_view import FleetView
from kubelb_manager.delivery.cache import Cache
from kubelb_manager.delivery.messages import Nack
from kubelb_manager.gather.bundle import Frame, Gatherer
from kubelb_manager.ir.model import Endpoint, Fleet, Origin, Part
from kubelb_manager.ports.table import PortKey
from kubelb_manager.probes.nodeport import Connect, NodePortProber, connects
from kubelb_manager.rollout.rollout import REMOVAL_BOUND, Phase, Rollout, Step
from kubelb_manager.settings import in_force
from kubelb_manager.translate.context import Context, hostnames_of
from kubelb_manager.translate.load_balancer import translate_load_balancer
from kubelb_manager.translate.merge import MergeMemo, merge
from kubelb_manager.translate.result import Translated
from kubelb_manager.translate.route import translate_route
from kubelb_manager.xds.generate import Generator
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES

_log = logs.get(__name__)
#: Steps that may follow at once in one pass; each needs the one before to be published.
_STEPS = 4
#: While something waits for slow node ports, their lag is looked at this often.
_WAITING_PERIOD = 0.25
#: The acknowledgements of several Envoys come within this time, and nothing but a status waits for them.
_ACKNOWLEDGEMENTS_JOIN = 0.01


@dataclass(slots=True)
class _State:
    """What is remembered of one fleet between passes."""

    rollout: Rollout = field(default_factory=Rollout)
    memo: MergeMemo = field(default_factory=MergeMemo)
    context: Context | None = None
    #: Objects that changed since the last pass.
    changed: set[Origin] = field(default_factory=set)
    translated: dict[Origin, Translated] = field(default_factory=dict)
    wanted: dict[Origin, Part] = field(default_factory=dict)
    hostnames: dict[Origin, tuple[str, ...]] = field(default_factory=dict)
    #: Objects about which a word is still due, or that still hold clusters they let go of.
    restless: set[Origin] = field(default_factory=set)
    latched: dict[Origin, tuple[str, int]] = field(default_factory=dict)
    adopted_at: dict[Origin, tuple[int, float]] = field(default_factory=dict)
    deleting_since: dict[Origin, float] = field(default_factory=dict)
    #: Objects that name a host of which the leader has not decided whose it is: what they were before stays.
    undecided: set[Origin] = field(default_factory=set)
    shadowed: Mapping[Origin, tuple[str, ...]] = field(default_factory=dict)
    heard: frozenset[tuple[str, Nack]] = frozenset()
    asked: frozenset[Endpoint] = frozenset()
    generation: int = 0

    def forget(self, origin: Origin) -> None:
        """Drop an object that is gone."""
        for table in (
            self.translated,
            self.wanted,
            self.hostnames,
            self.latched,
            self.adopted_at,
            self.deleting_since,
        ):
            table.pop(origin, None)
        self.restless.discard(origin)
        self.undecided.discard(origin)


class SnapshotController:
    """Publishes every fleet's snapshot; see the module."""

    def __init__(
        self,
        gatherer: Gatherer,
        cache: Cache,
        generator: Generator,
        board: Board,
        clock: Clock,
        connect: Connect = connects,
    ) -> None:
        self._gatherer = gatherer
        self._cache = cache
        self._generator = generator
        self._board = board
        self._clock = clock
        self._states: dict[str, _State] = {}
        #: What fits beside a tenant's other objects, and beside other tenants.
        self.gate = Gate(self._objects_again)
        self.prober = NodePortProber(clock, self._on_answer, connect)
        self.controller = Controller("snapshot", self.reconcile, clock=clock)
        cache.on_progress(self._on_progress)
        self._watch()

    def _watch(self) -> None:
        stores = self._gatherer.informers
        stores.routes.on_change(lambda change: self._on_object("Route", change))
        stores.load_balancers.on_change(lambda change: self._on_object("LoadBalancer", change))
        for informer in (stores.addresses, stores.slices):
            self.controller.watch(informer, lambda obj: [ObjectKey("", view.namespace(obj))])
        self.controller.watch(
            stores.tenants, lambda obj: [ObjectKey("", names.tenant_namespace(view.name(obj)))], when=_spec_changed
        )
        self.controller.watch(stores.namespaces, lambda obj: [ObjectKey("", view.name(obj))], when=_spec_changed)
        for informer in (stores.configs, stores.service_cidrs):
            self.controller.watch(informer, self._everybody, when=_spec_changed)
        self.controller.watch(stores.nodes, self._everybody, when=_node_moved)

    def _on_object(self, kind: str, change: Change) -> None:
        """Note which object changed; what we wrote ourselves is no change."""
        if not _matters(change):
            return
        obj = change.new if change.new is not None else change.old
        assert obj is not None
        origin = Origin(kind, view.namespace(obj), view.name(obj))
        self.gate.object(origin, change.new)
        self._objects_again([origin])

    def _objects_again(self, origins: Iterable[Origin]) -> None:
        """Have objects translated again."""
        for origin in origins:
            state = self._states.get(origin.namespace)
            if state is not None:
                state.changed.add(origin)
            self.controller.enqueue(ObjectKey("", origin.namespace))

    def _everybody(self, _obj: Object) -> list[ObjectKey]:
        return [ObjectKey("", namespace) for namespace in self._states]

    def everybody_again(self) -> None:
        """Have every fleet looked at."""
        for key in self._everybody({}):
            self.controller.enqueue(key)

    def _on_progress(self, fleet_key: str) -> None:
        namespace = fleet_key.partition("/")[0]
        state = self._states.get(namespace)
        if state is None:
            return
        if state.rollout.waiting:
            self.controller.enqueue(ObjectKey("", namespace))  # traffic waits for this one
        elif state.rollout.pending or state.restless:
            self.controller.enqueue(ObjectKey("", namespace), after=_ACKNOWLEDGEMENTS_JOIN)

    def _on_answer(self, endpoint: Endpoint) -> None:
        for namespace, state in self._states.items():
            if endpoint in state.asked:
                self.controller.enqueue(ObjectKey("", namespace))

    # One pass ------------------------------------------------------------------------------------

    async def reconcile(self, key: ObjectKey) -> Result:
        """Publish what follows from the stores now."""
        namespace = key.name
        if self._gatherer.informers.namespaces.store.get(None, namespace) is None:
            self._forget(namespace)
            return DONE
        state = self._states.get(namespace)
        if state is None:
            state = self._states[namespace] = _State(changed=set(self._gatherer.origins(namespace)))
        for origin in state.changed:
            self._note_hostnames(state, origin)
        frame = self._gatherer.frame(namespace, {name for found in state.hostnames.values() for name in found})
        if frame.tenant is None:
            # Without its Tenant nothing is known of the namespace's rights: what is live stays as it is.
            return DONE
        self._translate(state, frame)
        wake_at = self._roll_out(state, frame)
        waits = self._tell(state, frame)
        return self._again(state, wake_at, waits=waits)

    def _note_hostnames(self, state: _State, origin: Origin) -> None:
        obj = self._gatherer.live(origin)
        found = hostnames_of(obj) if obj is not None else ()
        if found:
            state.hostnames[origin] = found
        else:
            state.hostnames.pop(origin, None)

    def _translate(self, state: _State, frame: Frame) -> None:
        """Translate what changed: single objects, or all when they share something new."""
        changed, state.changed = state.changed, set()
        if frame.context is not state.context:
            state.context = frame.context
            changed = {*changed, *state.translated, *state.undecided}
        removing = view.deleting(frame.tenant or {})
        if removing and state.wanted:
            changed = {*changed, *state.wanted}
        needs_ports = any(origin.kind == "LoadBalancer" for origin in changed)
        ports = self._gatherer.ports(frame.context.tenant_namespace) if needs_ports else {}
        for origin in changed:
            obj = self._gatherer.live(origin)
            if obj is None:
                state.forget(origin)
                self._board.drop(origin)
                continue
            fresh = (
                translate_route(obj, frame.context)
                if origin.kind == "Route"
                else translate_load_balancer(obj, frame.context, _own(ports, origin))
            )
            admitted = self.gate.judge(origin, obj, fresh, frame.context.settings.limits)
            if admitted is None:
                state.undecided.add(origin)
                continue
            state.undecided.discard(origin)
            fresh, before = admitted, state.translated.get(origin)
            result = state.translated[origin] = before if before == fresh and before is not None else fresh
            if result.part is None or removing or view.deleting(obj):
                state.wanted.pop(origin, None)
            else:
                state.wanted[origin] = result.part
            state.restless.add(origin)
        if changed:
            self._ask(state)

    def _roll_out(self, state: _State, frame: Frame) -> float | None:
        trusted = [origin for origin in state.wanted if self._was_judged(origin)] if state.rollout.opening else []
        wake_at: float | None = None
        for _ in range(_STEPS):
            view_ = self._view(state, frame)
            now = self._clock.monotonic()
            self._hear_refusals(state, frame, view_)
            step = state.rollout.step(state.wanted, view_, now, trusted=trusted, undecided=bool(state.undecided))
            generation = self._publish(state, frame, step)
            state.rollout.published(generation, now)
            wake_at = step.wake_at
            if generation == state.generation and wake_at != now:
                break
            state.generation = generation
        return wake_at

    def _was_judged(self, origin: Origin) -> bool:
        obj = self._gatherer.live(origin)
        return obj is not None and _was_judged(obj)

    def _view(self, state: _State, frame: Frame) -> FleetView:
        progress = self._cache.progress(_fleet_key(frame))
        view_ = FleetView(progress, frame.ready_pods, self.prober.reach)
        if state.generation and view_.has_clusters(state.generation) and view_.has_routes(state.generation):
            state.rollout.settled(state.generation)
        return view_

    def _publish(self, state: _State, frame: Frame, step: Step) -> int:
        fleet, state.shadowed = merge(
            _fleet_key(frame), step.parts, client=frame.context.client_address, memo=state.memo
        )
        fleet = replace(fleet, clusters=step.clusters)
        if step.opening:
            fleet = Fleet(fleet.key, clusters=step.clusters)
        table = self._generator.table(fleet)
        return self._cache.publish(fleet.key, table, clusters_only=step.opening)

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

    def _hear_refusals(self, state: _State, frame: Frame, view_: FleetView) -> None:
        now = frozenset((stream.pod, nack) for stream in view_.progress.streams for nack in stream.nacks)
        for pod, nack in sorted(now - state.heard, key=lambda item: item[1].generation):
            text = programmed.refusal_text(nack.message)
            _log.warning(
                "an Envoy refused configuration",
                fleet=_fleet_key(frame),
                pod=pod,
                type=nack.type_url.rpartition(".")[2],
                names=list(nack.names),
                message=nack.message,
            )
            if nack.type_url in (CLUSTER, ENDPOINTS):
                state.rollout.refuse_clusters(frozenset(nack.names), text)
            elif nack.type_url in (LISTENER, ROUTES):
                state.rollout.refuse(nack.generation, text, routes=True)
        state.heard = now

    # What came of it -----------------------------------------------------------------------------

    def _tell(self, state: _State, frame: Frame) -> bool:
        """Put the outcome of every restless object; return whether one waits on."""
        view_ = self._view(state, frame)
        for origin in sorted(state.restless - state.undecided):
            obj, result = self._gatherer.live(origin), state.translated.get(origin)
            if obj is None or result is None:
                state.restless.discard(origin)
                continue
            outcome, quiet = self._outcome(state, view_, origin, obj, result, state.shadowed.get(origin, ()))
            self._board.put(origin, outcome)
            if quiet and not state.rollout.is_leaving(origin) and not view.deleting(obj):
                state.restless.discard(origin)
        return bool(state.restless)

    def _outcome(
        self,
        state: _State,
        view_: FleetView,
        origin: Origin,
        obj: Object,
        result: Translated,
        shadowed: tuple[str, ...],
    ) -> tuple[Outcome, bool]:
        now = self._clock.monotonic()
        clusters = state.rollout.clusters_of(origin, view_, now)
        services = tuple(sorted(set(programmed.services_of(clusters))))
        released = False
        if view.deleting(obj):
            since = state.deleting_since.setdefault(origin, now)
            released = self._released(state, view_, origin, result, clusters, now - since)
        standing = None if view.deleting(obj) else state.rollout.standing(origin, view_)
        verdict, quiet = None, True
        if result.part is not None and standing is not None:
            generation = standing.generation
            if standing.phase is Phase.ADOPTED and state.adopted_at.get(origin, (0, 0.0))[0] != generation:
                state.adopted_at[origin] = (generation, now)
            waited = now - state.adopted_at.get(origin, (0, now))[1]
            latched = state.latched.get(origin) == (view.uid(obj), view.generation(obj)) or _is_latched(obj)
            verdict, quiet = programmed.judge(standing, view_.serving(generation), waited, latched=latched)
            if verdict is not None and verdict.status == "True":
                state.latched[origin] = (view.uid(obj), view.generation(obj))
        elif result.part is None and not view.deleting(obj):
            verdict = programmed.NOTHING_TO_SERVE if result.accepted else programmed.NOT_ACCEPTED
        outcome = Outcome(
            uid=view.uid(obj),
            generation=view.generation(obj),
            verdicts=(*programmed.with_shadowed(result.verdicts, shadowed), *([verdict] if verdict else [])),
            services=services,
            copy=result.copy,
            settled=verdict is not None,
            released=released,
        )
        return outcome, quiet

    def _released(
        self,
        state: _State,
        view_: FleetView,
        origin: Origin,
        result: Translated,
        clusters: frozenset[str],
        waited: float,
    ) -> bool:
        """Whether no Envoy can still send to this object's node ports on its account."""
        if waited >= REMOVAL_BOUND:
            return True
        if clusters or state.rollout.opening:
            return False
        streams = view_.progress.streams
        if not view_.ready_pods <= {stream.pod for stream in streams}:
            return False
        # After a restart nothing is remembered: what the object would ask for tells what Envoys may hold.
        own = {cluster.name for cluster in result.part.clusters} if result.part is not None else set()
        own -= {name for other, found in state.translated.items() if other != origin for name in _cluster_names(found)}
        return not any(stream.may_have_cluster(name) for stream in streams for name in own)

    def _again(self, state: _State, wake_at: float | None, *, waits: bool) -> Result:
        """Say when the next pass is due if nothing happens before."""
        if wake_at is not None:
            later = max(wake_at - self._clock.monotonic(), 0.0)
            return Again(min(later, _WAITING_PERIOD) if state.rollout.pending else later)
        if state.rollout.pending:
            return Again(_WAITING_PERIOD)
        return Again(programmed.PARTIAL_AFTER) if waits else DONE

    def _forget(self, namespace: str) -> None:
        state = self._states.pop(namespace, None)
        self._gatherer.forget(namespace)
        key = f"{namespace}/{names.SHARED_FLEET}"
        self._cache.remove(key)
        self._generator.forget(key)
        if state is not None:
            self.prober.forget(state.asked - {e for other in self._states.values() for e in other.asked})
            for origin in state.translated:
                self._board.drop(origin)


def _fleet_key(frame: Frame) -> str:
    return f"{frame.context.tenant_namespace}/{frame.context.fleet}"


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


def _own(ports: Mapping[PortKey, int], origin: Origin) -> dict[PortKey, int]:
    return {key: port for key, port in ports.items() if key.load_balancer == origin.name}


def _matters(change: Change) -> bool:
    """Whether a change of a Route or LoadBalancer can change what is served or said."""
    old, new = change
    if old is None or new is None:
        return True
    if old["metadata"].get("generation") != new["metadata"].get("generation") or view.uid(old) != view.uid(new):
        return True
    if view.annotations(old) != view.annotations(new) or view.deleting(old) != view.deleting(new):
        return True
    return bool(view.get(old, "status", "service", "ports") != view.get(new, "status", "service", "ports"))


def _spec_changed(change: Change) -> bool:
    old, new = change
    if old is None or new is None:
        return True
    if old.get("spec") != new.get("spec") or in_force.version(old) != in_force.version(new):
        return True
    return view.deleting(old) != view.deleting(new) or view.labels(old) != view.labels(new)


def _node_moved(change: Change) -> bool:
    old, new = change
    if old is None or new is None:
        return True
    return old.get("spec") != new.get("spec") or view.get(old, "status", "addresses") != view.get(
        new, "status", "addresses"
    )
