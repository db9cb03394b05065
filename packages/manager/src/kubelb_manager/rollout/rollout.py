"""The life of every object of one fleet between "wanted" and "gone from the last Envoy".

What can happen to a part (what one source object asks of the fleet):

    wanted ──> waiting ──> adopted ──> leaving ──> released
                  │            │
                  └── refused ─┘   (an Envoy did not take it: the version before it, if any, stays live)

* **waiting**: its clusters are sent to the Envoys and its node ports are asked. The version before
  it, if there is one, stays live. It is adopted when every cluster answers (or the asker gave up)
  *and* every Envoy has the endpoints, the latter bounded to 2 s. So the first request that meets a
  new route finds a backend (rulings 26, 27).
* **adopted**: listeners and route tables are made from adopted parts alone.
* **leaving**: no longer wanted, or replaced. Routes and listeners go at once; the clusters stay
  until every Envoy has the routes without them and the drain has passed; then they go, and when
  every Envoy has said so the object is *released*: nothing in the data plane points at its node
  ports any more, so they may be given to another application (ruling 17).

Order: clusters, then routes, then removal of clusters. Never: a route before its cluster's
endpoints; a cluster removed before the routes that used it; the last endpoint that an Envoy has checked removed
together with the addition of its successor, so a pod that moves from node to node costs no connection; one object
waiting for another's trouble. After a restart nothing is adopted yet while Envoys serve what they have: `opening`
is True until every part has been judged once, and the caller publishes clusters only until then.

No clock and no I/O in here: time is an argument in seconds, `View` has the facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kubelb_manager.ir.model import Cluster, Endpoint, Layer, Origin, Part, Protocol
from kubelb_manager.rollout.view import Reach, View

#: Longest wait for Envoys to acknowledge a new cluster's endpoints (ruling 27).
ENDPOINTS_BOUND = 2.0
#: An L4 cluster is warm only after its first health check; its CDS acknowledgement says so, but any
#: other warming cluster withholds that too, so it is waited for no longer than a check takes (`xds.clusters`).
WARMING_BOUND = 1.25
#: How long an Envoy may need to see that a new endpoint answers its check; the old ones stay until then.
CHECKED_AFTER = 0.5
#: How long a cluster outlives the last route to it, for requests under way.
DRAIN = 5.0
#: Longest wait for an Envoy that does not acknowledge a removal; it may be dead and not yet unready.
REMOVAL_BOUND = 30.0
#: Longest time in which a restarted manager publishes no routes because some part is not judged yet.
OPENING_BOUND = 6.0


class Phase(StrEnum):
    """Where an object stands."""

    WAITING = "Waiting"
    ADOPTED = "Adopted"
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a step says of one wanted object.

    Attributes:
        phase: where it stands.
        generation: of the snapshot that first carried the adopted part; 0 if none did.
        silent: clusters that nobody answers behind, sorted.
        refusal: Envoy's text, for REFUSED.
    """

    phase: Phase
    generation: int = 0
    silent: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What to publish now.

    Attributes:
        parts: adopted parts, in no order that means anything: listeners and tables come from these.
        clusters: everything to publish, sorted by name; a superset of what `parts` use.
        opening: routes and listeners must not be published yet (only after a restart).
        wake_at: time of the next step if nothing happens before, `now` for at once; None if nothing is pending.
    """

    parts: tuple[Part, ...]
    clusters: tuple[Cluster, ...]
    opening: bool
    wake_at: float | None


@dataclass(slots=True)
class _Waiting:
    part: Part
    since: float


@dataclass(slots=True)
class _Retiring:
    """A published cluster that no part names any more."""

    cluster: Cluster
    since: float
    #: Generation of the first snapshot whose routes do not use it; 0 until published.
    unrouted: int = 0
    drained_at: float | None = None


@dataclass(frozen=True, slots=True)
class _Endpoints:
    """What was published of a checked cluster: since when each endpoint."""

    cluster: Cluster
    since: Mapping[Endpoint, float]


@dataclass(slots=True)
class Rollout:
    """State of one fleet; call `step`, publish, then `published`, again and again."""

    opening: bool = True
    _opened_at: float | None = None
    _adopted: dict[Origin, Part] = field(default_factory=dict)
    _generation_of: dict[Origin, int] = field(default_factory=dict)
    _waiting: dict[Origin, _Waiting] = field(default_factory=dict)
    _refused: dict[Origin, tuple[Part, str]] = field(default_factory=dict)
    _before: dict[Origin, Part | None] = field(default_factory=dict)
    _suspects: list[Origin] = field(default_factory=list)
    _published_at: dict[str, float] = field(default_factory=dict)
    _published_in: dict[str, int] = field(default_factory=dict)
    _retiring: dict[str, _Retiring] = field(default_factory=dict)
    _gone_in: dict[str, tuple[int, float]] = field(default_factory=dict)
    _leaving: dict[Origin, frozenset[str]] = field(default_factory=dict)
    _used: dict[Origin, frozenset[str]] = field(default_factory=dict)
    #: How many origins use a cluster.
    _users: Counter[str] = field(default_factory=Counter)
    _fresh: set[Origin] = field(default_factory=set)
    _last_clusters: dict[str, Cluster] = field(default_factory=dict)
    _endpoints: dict[str, _Endpoints] = field(default_factory=dict)
    #: Clusters with endpoints that stay for their successors, and until when at least.
    _lingering: dict[str, float] = field(default_factory=dict)

    # One step -----------------------------------------------------------------------------------

    def step(
        self,
        wanted: Mapping[Origin, Part],
        view: View,
        now: float,
        *,
        trusted: Iterable[Origin] = (),
        undecided: bool = False,
    ) -> Step:
        """Judge every object once and say what to publish.

        Args:
            wanted: the parts that translation asks for now, by origin.
            view: facts.
            now: seconds of a monotonic clock.
            trusted: origins that were programmed in this very version before a restart; their node
                ports are not asked again.
            undecided: objects are left out of `wanted` because nobody has decided about them yet.
        """
        if self._opened_at is None:
            self._opened_at = now
        self._drop_unwanted(wanted)
        self._judge(wanted, view, now, frozenset(trusted) if self.opening else frozenset())
        if self.opening and (not (self._waiting or undecided) or now - self._opened_at >= OPENING_BOUND):
            self.opening = False
        clusters = self._clusters_to_publish(view, now)
        parts = tuple(self._adopted.values())
        self._last_clusters = clusters
        ordered = tuple(clusters[name] for name in sorted(clusters))
        return Step(parts, ordered, self.opening, self._wake_at(now))

    def published(self, generation: int, now: float) -> None:
        """Record that the last step's content is snapshot `generation` of the fleet."""
        for name, cluster in self._last_clusters.items():
            self._published_at.setdefault(name, now)
            self._published_in.setdefault(name, generation)
            self._note_endpoints(cluster, now)
        for name in [name for name in self._published_at if name not in self._last_clusters]:
            del self._published_at[name]
            del self._published_in[name]
            self._endpoints.pop(name, None)
            self._gone_in[name] = (generation, now)
        if self.opening:
            return
        for origin in self._fresh:
            self._generation_of[origin] = generation
        self._fresh.clear()
        for retiring in self._retiring.values():
            retiring.unrouted = retiring.unrouted or generation

    def _drop_unwanted(self, wanted: Mapping[Origin, Part]) -> None:
        for origin in [origin for origin in self._waiting if origin not in wanted]:
            self._leave(origin)
        for origin in [origin for origin in self._adopted if origin not in wanted]:
            self._leave(origin)
        for origin in [origin for origin in self._refused if origin not in wanted]:
            del self._refused[origin]
        self._suspects = [origin for origin in self._suspects if origin in wanted]

    def _leave(self, origin: Origin) -> None:
        used = self._set_used(origin, frozenset())
        if used:
            self._leaving[origin] = self._leaving.get(origin, frozenset()) | used
        for table in (self._waiting, self._adopted, self._generation_of, self._before):
            table.pop(origin, None)
        self._fresh.discard(origin)

    def _judge(self, wanted: Mapping[Origin, Part], view: View, now: float, trusted: frozenset[Origin]) -> None:
        for origin, part in wanted.items():
            adopted = self._adopted.get(origin)
            if adopted is part or adopted == part:
                if self._waiting.pop(origin, None) is not None:
                    self._forget_unused(origin)
                continue
            refused = self._refused.get(origin)
            if refused is not None:
                if refused[0] == part:
                    continue
                del self._refused[origin]
            waiting = self._waiting.get(origin)
            if waiting is None or waiting.part != part:
                since = waiting.since if waiting is not None and _same_clusters(waiting.part, part) else now
                waiting = self._waiting[origin] = _Waiting(part, since)
                self._use(origin, part)
            if self._may_adopt(origin, waiting, view, now, asked=origin not in trusted):
                self._adopt(origin, part)

    def _use(self, origin: Origin, part: Part) -> None:
        """Remember which clusters are on the way or live because of `origin`."""
        names = frozenset(cluster.name for cluster in part.clusters)
        self._set_used(origin, self._used.get(origin, frozenset()) | names)
        # A version that was overtaken before it was adopted may have sent clusters already.
        self._forget_unused(origin)

    def _may_adopt(self, origin: Origin, waiting: _Waiting, view: View, now: float, *, asked: bool) -> bool:
        if self._held(origin):
            return False
        return all(self._cluster_ready(cluster, view, now, asked=asked) for cluster in waiting.part.clusters)

    def _held(self, origin: Origin) -> bool:
        """Suspects of a refusal come one at a time."""
        return origin in self._suspects and self._suspects[0] != origin

    def _cluster_ready(self, cluster: Cluster, view: View, now: float, *, asked: bool) -> bool:
        if cluster.layer is Layer.L4:
            if asked and view.reach(cluster) is not Reach.ANSWERS:
                return False
        elif asked and view.reach(cluster) is Reach.ASKING:
            return False
        published = self._published_at.get(cluster.name)
        if published is None:
            return False
        if not view.has_endpoints(cluster.name) and now - published < ENDPOINTS_BOUND:
            return False
        if _is_checked(cluster) and now - published < WARMING_BOUND:
            return view.has_clusters(self._published_in[cluster.name])
        return True

    def _adopt(self, origin: Origin, part: Part) -> None:
        before = self._adopted.get(origin)
        self._before[origin] = before
        self._adopted[origin] = part
        self._fresh.add(origin)
        del self._waiting[origin]
        self._forget_unused(origin)

    def _forget_unused(self, origin: Origin) -> None:
        """Let go of the clusters that neither the live nor the waiting version of `origin` names."""
        parts = [self._adopted.get(origin), self._waiting[origin].part if origin in self._waiting else None]
        names = frozenset(cluster.name for part in parts if part is not None for cluster in part.clusters)
        dropped = self._set_used(origin, names) - names
        if dropped:
            self._leaving[origin] = self._leaving.get(origin, frozenset()) | dropped

    # Clusters ------------------------------------------------------------------------------------

    def _clusters_to_publish(self, view: View, now: float) -> dict[str, Cluster]:
        wanted: dict[str, Cluster] = {}
        self._lingering.clear()
        for part in self._adopted.values():
            for cluster in part.clusters:
                wanted[cluster.name] = self._with_predecessors(cluster, now) if _is_checked(cluster) else cluster
        for origin, waiting in self._waiting.items():
            if self._held(origin):
                continue
            for cluster in waiting.part.clusters:
                # An L4 cluster's health check would find a silent port down and wait two rounds.
                if cluster.layer is Layer.L4 and view.reach(cluster) is not Reach.ANSWERS:
                    continue
                wanted[cluster.name] = self._with_predecessors(cluster, now) if _is_checked(cluster) else cluster
        self._retire(wanted, now)
        self._finish_retiring(view, now)
        for name in wanted:
            self._gone_in.pop(name, None)
        return wanted | {name: retiring.cluster for name, retiring in self._retiring.items()}

    def _note_endpoints(self, cluster: Cluster, now: float) -> None:
        if not _is_checked(cluster):
            return
        before = self._endpoints.get(cluster.name)
        if before is None or before.cluster is not cluster:
            since = {} if before is None else before.since
            self._endpoints[cluster.name] = _Endpoints(cluster, {e: since.get(e, now) for e in cluster.endpoints})

    def _with_predecessors(self, cluster: Cluster, now: float) -> Cluster:
        """Return the cluster with the endpoints that must stay until Envoys have checked one of its own."""
        published = self._endpoints.get(cluster.name)
        if published is None or not cluster.endpoints:
            return cluster
        gone = published.since.keys() - set(cluster.endpoints)
        checked_at = min(published.since.get(each, now) for each in cluster.endpoints) + CHECKED_AFTER
        if not gone or now >= checked_at:
            return cluster
        self._lingering[cluster.name] = checked_at
        return replace(cluster, endpoints=tuple(sorted({*cluster.endpoints, *gone})))

    def _retire(self, wanted: Mapping[str, Cluster], now: float) -> None:
        for name in list(self._retiring):
            if name in wanted:
                del self._retiring[name]
        for name, cluster in self._last_clusters.items():
            if name not in wanted and name not in self._retiring:
                self._retiring[name] = _Retiring(cluster, now)

    def _finish_retiring(self, view: View, now: float) -> None:
        for name, retiring in list(self._retiring.items()):
            if retiring.drained_at is None:
                heard = retiring.unrouted and view.has_routes(retiring.unrouted)
                if heard or now - retiring.since >= REMOVAL_BOUND:
                    retiring.drained_at = now + DRAIN
            elif now >= retiring.drained_at:
                del self._retiring[name]

    def _wake_at(self, now: float) -> float | None:
        if not self.opening and any(not retiring.unrouted for retiring in self._retiring.values()):
            return now  # publishing this step tells the generation to wait for
        times = [waiting.since + ENDPOINTS_BOUND for waiting in self._waiting.values()]
        times += [
            self._published_at[cluster.name] + bound
            for waiting in self._waiting.values()
            for cluster in waiting.part.clusters
            if cluster.name in self._published_at
            for bound in (ENDPOINTS_BOUND, WARMING_BOUND)
        ]
        if self.opening and self._opened_at is not None:
            times.append(self._opened_at + OPENING_BOUND)
        for retiring in self._retiring.values():
            times.append(retiring.drained_at if retiring.drained_at is not None else retiring.since + REMOVAL_BOUND)
        times += [since + REMOVAL_BOUND for _, since in self._gone_in.values()]
        times += self._lingering.values()
        later = [time for time in times if time > now]
        return min(later) if later else None

    @property
    def waiting(self) -> bool:
        """Whether an object waits to be adopted."""
        return bool(self._waiting)

    @property
    def pending(self) -> bool:
        """Whether an acknowledgement, an answer or time can still change something."""
        return bool(self.opening or self._waiting or self._retiring or self._leaving or self._before or self._lingering)

    def is_leaving(self, origin: Origin) -> bool:
        """Whether `origin` has let go of clusters that an Envoy may still have."""
        return origin in self._leaving

    def is_letting_go(self, origin: Origin) -> bool:
        """Whether a cluster that `origin` has let go of is published no more, so that `clusters_of` may say less."""
        leaving = self._leaving.get(origin, frozenset())
        return any(name not in self._published_at and name not in self._retiring for name in leaving)

    # Questions -----------------------------------------------------------------------------------

    def standing(self, origin: Origin, view: View) -> Standing | None:
        """Return where a wanted object stands; None for one that is not known."""
        refused = self._refused.get(origin)
        if refused is not None:
            return Standing(Phase.REFUSED, refusal=refused[1])
        waiting = self._waiting.get(origin)
        if waiting is not None:
            return Standing(Phase.WAITING, silent=_silent(waiting.part, view))
        part = self._adopted.get(origin)
        if part is None:
            return None
        return Standing(Phase.ADOPTED, self._generation_of.get(origin, 0), _silent(part, view))

    def clusters_of(self, origin: Origin, view: View, now: float) -> frozenset[str]:
        """Return the clusters that an Envoy may still have because of `origin`, wanted or leaving.

        Empty for an object that is no longer wanted means *released*.
        """
        leaving = self._leaving.get(origin, frozenset())
        if leaving:
            own = self._used.get(origin, frozenset())
            free = [name for name in leaving if self._users[name] == (name in own)]
            leaving = frozenset(name for name in free if not self._gone(name, view, now))
            if leaving:
                self._leaving[origin] = leaving
            else:
                del self._leaving[origin]
        return leaving | self._used.get(origin, frozenset())

    def _set_used(self, origin: Origin, names: frozenset[str]) -> frozenset[str]:
        """Set which clusters are on the way or live because of `origin`; return those before."""
        before = self._used.pop(origin, frozenset())
        if names:
            self._used[origin] = names
        self._users.update(names - before)
        for name in before - names:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
        return before

    def _gone(self, name: str, view: View, now: float) -> bool:
        if name in self._published_at or name in self._retiring:
            return False
        gone = self._gone_in.get(name)
        if gone is None:
            return True
        generation, since = gone
        if view.has_clusters(generation) or now - since >= REMOVAL_BOUND:
            del self._gone_in[name]
            return True
        return False

    # Refusals ------------------------------------------------------------------------------------

    def refuse(self, generation: int, text: str, *, routes: bool) -> bool:
        """An Envoy refused something of snapshot `generation`: find the culprit and keep the rest moving.

        The suspects are the objects that this snapshot or an unacknowledged one before it brought.
        One suspect: it is refused with Envoy's text, and its version before goes live again. Several:
        all step back and come one at a time, so that the next refusal names one.

        Args:
            generation: of the refused snapshot.
            text: Envoy's own; what of it may be told is decided by whoever tells it.
            routes: a listener or route table was refused, else a cluster or its endpoints.

        Returns:
            True if something changed and a step is due.
        """
        suspects = [
            origin for origin, seen in self._generation_of.items() if seen <= generation and origin in self._before
        ]
        if not routes:
            suspects = [origin for origin in self._waiting if self._sent_unheard(origin, generation)] or suspects
        if not suspects:
            return False
        if len(suspects) == 1:
            self._refuse_one(suspects[0], text)
            self._suspects = [origin for origin in self._suspects if origin != suspects[0]]
            return True
        for origin in suspects:
            self._step_back(origin)
        self._suspects = sorted(set(self._suspects) | set(suspects))
        return True

    def _sent_unheard(self, origin: Origin, generation: int) -> bool:
        live = self._adopted.get(origin)
        known = {cluster.name for cluster in live.clusters} if live is not None else set()
        fresh = (cluster.name for cluster in self._waiting[origin].part.clusters if cluster.name not in known)
        return any(0 < self._published_in.get(name, 0) <= generation for name in fresh)

    def refuse_clusters(self, names: frozenset[str], text: str) -> bool:
        """An Envoy refused these clusters or their endpoints: every object that brought one is refused."""
        culprits = [
            origin
            for table in (self._waiting, self._adopted)
            for origin in table
            if self._used.get(origin, frozenset()) & names and (origin in self._waiting or origin in self._before)
        ]
        for origin in dict.fromkeys(culprits):
            self._refuse_one(origin, text)
        return bool(culprits)

    def settled(self, generation: int) -> None:
        """Every Envoy took snapshot `generation`: what it brought is no longer suspect."""
        for origin in [origin for origin, seen in self._generation_of.items() if seen <= generation]:
            self._before.pop(origin, None)
            if origin in self._suspects and origin not in self._waiting:
                self._suspects.remove(origin)

    def _refuse_one(self, origin: Origin, text: str) -> None:
        waiting = self._waiting.pop(origin, None)
        part = waiting.part if waiting is not None else self._adopted[origin]
        self._step_back(origin)
        self._forget_unused(origin)
        self._refused[origin] = (part, text)

    def _step_back(self, origin: Origin) -> None:
        """Put the version before the suspect one in its place, or nothing if it was the first."""
        if origin not in self._before:
            return
        before = self._before.pop(origin)
        self._generation_of.pop(origin, None)
        if before is None:
            self._adopted.pop(origin, None)
        else:
            self._adopted[origin] = before
        self._forget_unused(origin)


def _is_checked(cluster: Cluster) -> bool:
    """Whether Envoys use an endpoint of this cluster only once it has answered a check of theirs."""
    return cluster.layer is Layer.L4 and cluster.protocol is Protocol.TCP


def _same_clusters(one: Part, other: Part) -> bool:
    return one.clusters == other.clusters


def _silent(part: Part, view: View) -> tuple[str, ...]:
    return tuple(cluster.name for cluster in part.clusters if view.reach(cluster) is Reach.SILENT)
