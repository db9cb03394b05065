"""Key: a tenant's namespace. Gather, translate, roll out, publish, and say what came of each object.

One pass reads everything that decides about a fleet and publishes what follows from it; there is no
other state than the rollout's and memos that may be lost at any time. A pass without a change
publishes nothing and changes no outcome. It runs when an object, an acknowledgement or a node port's
answer may change something, and at the time that the rollout names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import conditions, view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Change
from kubelb_common.telemetry import logs
from kubelb_manager.controllers import programmed
from kubelb_manager.controllers.board import PROGRAMMED, Board, Outcome
from kubelb_manager.controllers.fleet_view import FleetView
from kubelb_manager.delivery.cache import Cache
from kubelb_manager.delivery.messages import Nack
from kubelb_manager.gather.bundle import Bundle, Gatherer
from kubelb_manager.ir.model import Endpoint, Fleet, Origin, Part
from kubelb_manager.ports.table import PortKey, from_status
from kubelb_manager.probes.nodeport import Connect, NodePortProber, connects
from kubelb_manager.rollout.rollout import REMOVAL_BOUND, Phase, Rollout, Step
from kubelb_manager.translate.context import Context
from kubelb_manager.translate.load_balancer import translate_load_balancer
from kubelb_manager.translate.merge import MergeMemo, merge
from kubelb_manager.translate.result import Translated
from kubelb_manager.translate.route import translate_route
from kubelb_manager.xds.check import check
from kubelb_manager.xds.generate import Generator
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES

_log = logs.get(__name__)
#: Steps that may follow at once in one pass; each needs the one before to be published.
_STEPS = 4
#: While something waits for slow node ports, their lag is looked at this often.
_WAITING_PERIOD = 0.25


class _Kept(NamedTuple):
    """A translation and what it was made from."""

    version: str
    context: Context
    ports: Mapping[PortKey, int]
    result: Translated


@dataclass(slots=True)
class _State:
    """What is remembered of one fleet between passes."""

    rollout: Rollout = field(default_factory=Rollout)
    memo: MergeMemo = field(default_factory=MergeMemo)
    kept: dict[Origin, _Kept] = field(default_factory=dict)
    #: Objects about which nothing is to be expected, and the translation for which that holds.
    settled: dict[Origin, Translated] = field(default_factory=dict)
    latched: dict[Origin, tuple[str, int]] = field(default_factory=dict)
    adopted_at: dict[Origin, tuple[int, float]] = field(default_factory=dict)
    deleting_since: dict[Origin, float] = field(default_factory=dict)
    heard: frozenset[tuple[str, Nack]] = frozenset()
    asked: frozenset[Endpoint] = frozenset()
    generation: int = 0


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
        self.prober = NodePortProber(clock, self._on_answer, connect)
        self.controller = Controller("snapshot", self.reconcile, clock=clock)
        cache.on_progress(self._on_progress)
        self._watch()

    def _watch(self) -> None:
        stores = self._gatherer.informers
        for informer in (stores.routes, stores.load_balancers, stores.addresses, stores.slices):
            self.controller.watch(informer, lambda obj: [ObjectKey("", view.namespace(obj))])
        self.controller.watch(
            stores.tenants, lambda obj: [ObjectKey("", names.tenant_namespace(view.name(obj)))], when=_spec_changed
        )
        self.controller.watch(stores.namespaces, lambda obj: [ObjectKey("", view.name(obj))], when=_spec_changed)
        for informer in (stores.configs, stores.service_cidrs):
            self.controller.watch(informer, self._everybody, when=_spec_changed)
        self.controller.watch(stores.nodes, self._everybody, when=_node_moved)

    def _everybody(self, _obj: Object) -> list[ObjectKey]:
        return [ObjectKey("", namespace) for namespace in self._states]

    def everybody_again(self) -> None:
        """Have every fleet looked at."""
        for key in self._everybody({}):
            self.controller.enqueue(key)

    def _on_progress(self, fleet_key: str) -> None:
        namespace = fleet_key.partition("/")[0]
        state = self._states.get(namespace)
        if state is not None and (state.rollout.pending or len(state.settled) < len(state.kept)):
            self.controller.enqueue(ObjectKey("", namespace))

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
        bundle = self._gatherer.bundle(namespace)
        if bundle.tenant is None:
            # Without its Tenant nothing is known of the namespace's rights: what is live stays as it is.
            return DONE
        state = self._states.setdefault(namespace, _State())
        translated = dict(self._translate(state, bundle))
        wanted = {
            origin: result.part
            for origin, (obj, result) in translated.items()
            if result.part is not None and not view.deleting(obj) and not view.deleting(bundle.tenant)
        }
        self._drop_gone(state, translated)
        trusted = (
            [origin for origin, (obj, _) in translated.items() if _was_judged(obj)] if state.rollout.opening else []
        )
        wake_at, shadowed = self._roll_out(state, bundle, wanted, trusted)
        waits = self._tell(state, bundle, translated, shadowed)
        return self._again(state, wake_at, waits=waits)

    def _translate(self, state: _State, bundle: Bundle) -> Iterator[tuple[Origin, tuple[Object, Translated]]]:
        for route in bundle.routes:
            origin = Origin("Route", view.namespace(route), view.name(route))
            yield origin, (route, self._kept(state, origin, route, bundle.context, {}, translate_route))
        table = from_status(bundle.load_balancers)
        for lb in bundle.load_balancers:
            origin = Origin("LoadBalancer", view.namespace(lb), view.name(lb))
            own = {key: port for key, port in table.items() if key.load_balancer == origin.name}

            def translate(obj: Object, context: Context, own: Mapping[PortKey, int] = own) -> Translated:
                return translate_load_balancer(obj, context, own)

            yield origin, (lb, self._kept(state, origin, lb, bundle.context, own, translate))

    @staticmethod
    def _kept(
        state: _State,
        origin: Origin,
        obj: Object,
        context: Context,
        ports: Mapping[PortKey, int],
        translate: Callable[[Object, Context], Translated],
    ) -> Translated:
        """Translate, or return what was translated from the same spec in the same context."""
        # Status writes move the resourceVersion; the generation moves with the spec, annotations by themselves.
        version = f"{view.uid(obj)}/{view.generation(obj)}/{hash(frozenset(view.annotations(obj).items()))}"
        kept = state.kept.get(origin)
        if kept is None or kept.version != version or kept.context is not context or kept.ports != ports:
            result = translate(obj, context)
            if kept is not None and kept.result == result:
                result = kept.result
            kept = state.kept[origin] = _Kept(version, context, ports, result)
        return kept.result

    def _drop_gone(self, state: _State, translated: Mapping[Origin, object]) -> None:
        for origin in [origin for origin in state.kept if origin not in translated]:
            for table in (state.kept, state.settled, state.latched, state.adopted_at, state.deleting_since):
                table.pop(origin, None)
            self._board.drop(origin)

    def _roll_out(
        self, state: _State, bundle: Bundle, wanted: Mapping[Origin, Part], trusted: list[Origin]
    ) -> tuple[float | None, Mapping[Origin, tuple[str, ...]]]:
        shadowed: Mapping[Origin, tuple[str, ...]] = {}
        wake_at: float | None = None
        for _ in range(_STEPS):
            view_ = self._view(state, bundle)
            now = self._clock.monotonic()
            self._hear_refusals(state, bundle, view_)
            step = state.rollout.step(wanted, view_, now, trusted=trusted)
            self._ask(state, step)
            generation, shadowed = self._publish(state, bundle, step)
            state.rollout.published(generation, now)
            wake_at = step.wake_at
            if generation == state.generation and wake_at != now:
                break
            state.generation = generation
        return wake_at, shadowed

    def _view(self, state: _State, bundle: Bundle) -> FleetView:
        progress = self._cache.progress(_fleet_key(bundle))
        view_ = FleetView(progress, bundle.ready_pods, self.prober.reach)
        if state.generation and view_.has_clusters(state.generation) and view_.has_routes(state.generation):
            state.rollout.settled(state.generation)
        return view_

    def _publish(self, state: _State, bundle: Bundle, step: Step) -> tuple[int, Mapping[Origin, tuple[str, ...]]]:
        fleet, shadowed = merge(_fleet_key(bundle), step.parts, memo=state.memo)
        fleet = replace(fleet, clusters=step.clusters)
        if step.opening:
            fleet = Fleet(fleet.key, clusters=step.clusters)
        table = self._generator.table(fleet)
        faults = check(table)
        if faults:
            raise AssertionError(f"fleet {fleet.key}: the table is not consistent: {'; '.join(faults[:3])}")
        return self._cache.publish(fleet.key, table, clusters_only=step.opening), shadowed

    def _ask(self, state: _State, step: Step) -> None:
        wanted = frozenset(endpoint for cluster in step.ask for endpoint in cluster.endpoints)
        if wanted != state.asked:
            state_before, state.asked = state.asked, wanted
            others = {endpoint for other in self._states.values() for endpoint in other.asked}
            self.prober.forget(state_before - others)
        self.prober.ask(wanted)

    def _hear_refusals(self, state: _State, bundle: Bundle, view_: FleetView) -> None:
        now = frozenset((stream.pod, nack) for stream in view_.progress.streams for nack in stream.nacks)
        for pod, nack in sorted(now - state.heard, key=lambda item: item[1].generation):
            text = programmed.refusal_text(nack.message)
            _log.warning(
                "an Envoy refused configuration",
                fleet=_fleet_key(bundle),
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

    def _tell(
        self,
        state: _State,
        bundle: Bundle,
        translated: Mapping[Origin, tuple[Object, Translated]],
        shadowed: Mapping[Origin, tuple[str, ...]],
    ) -> bool:
        """Put the outcome of every object that is not settled; return whether one waits for time alone."""
        view_ = self._view(state, bundle)
        waits = False
        for origin, (obj, result) in translated.items():
            leaving = state.rollout.is_leaving(origin)
            if state.settled.get(origin) is result and not leaving and not view.deleting(obj):
                continue
            outcome, quiet = self._outcome(state, view_, origin, obj, result, shadowed.get(origin, ()))
            self._board.put(origin, outcome)
            if quiet and not leaving:
                state.settled[origin] = result
            else:
                state.settled.pop(origin, None)
                waits = True
        return waits

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
        own -= {name for other, kept in state.kept.items() if other != origin for name in _cluster_names(kept.result)}
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
            for origin in state.kept:
                self._board.drop(origin)


def _fleet_key(bundle: Bundle) -> str:
    return f"{bundle.context.tenant_namespace}/{bundle.context.fleet}"


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


def _spec_changed(change: Change) -> bool:
    old, new = change
    if old is None or new is None:
        return True
    keys = ("spec", "metadata")
    if old.get("spec") != new.get("spec"):
        return True
    return any(view.get(old, keys[1], name) != view.get(new, keys[1], name) for name in ("deletionTimestamp", "labels"))


def _node_moved(change: Change) -> bool:
    old, new = change
    if old is None or new is None:
        return True
    return old.get("spec") != new.get("spec") or view.get(old, "status", "addresses") != view.get(
        new, "status", "addresses"
    )
