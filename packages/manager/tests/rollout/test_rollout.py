"""A rollout as a dialogue: wanted parts and facts in, what to publish out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb_manager.ir.model import (
    Cluster,
    Endpoint,
    Forward,
    Host,
    HostRules,
    L4Listener,
    Layer,
    Origin,
    Part,
    PathKind,
    PathMatch,
    Protocol,
    RouteRule,
)
from kubelb_manager.rollout import rollout as module
from kubelb_manager.rollout.rollout import Phase, Rollout
from kubelb_manager.rollout.view import Reach


def cluster(name: str, layer: Layer = Layer.L7) -> Cluster:
    return Cluster(name, layer, (Endpoint("10.0.0.1", 30000),))


def route(name: str, *backends: str) -> Part:
    origin = Origin("Route", "tenant-a", name)
    rules = tuple(RouteRule(PathMatch(PathKind.PREFIX, f"/{b}"), Forward(b), origin) for b in backends)
    return Part(
        origin,
        (0.0, name),
        hosts=(HostRules(Host(f"{name}.example.com"), rules),),
        clusters=tuple(cluster(b) for b in sorted(backends)),
    )


def tcp(name: str, backend: str) -> Part:
    return Part(
        Origin("LoadBalancer", "tenant-a", name),
        (0.0, name),
        listeners=(L4Listener(name, 10000, backend),),
        clusters=(cluster(backend, Layer.L4),),
    )


@dataclass
class World:
    """Facts that a test changes by hand, and the loop that a controller runs."""

    rollout: Rollout = field(default_factory=Rollout)
    reaches: dict[str, Reach] = field(default_factory=dict)
    endpoints: set[str] | None = None  # None: everything published is acknowledged
    acked_clusters: int | None = None  # None: everything
    acked_routes: int | None = None
    now: float = 100.0
    generation: int = 0
    wanted: dict[Origin, Part] = field(default_factory=dict)
    live: tuple[tuple[Part, ...], tuple[Cluster, ...], bool] | None = None

    def reach(self, cluster: Cluster) -> Reach:
        return self.reaches.get(cluster.name, Reach.ANSWERS)

    def has_endpoints(self, cluster: str) -> bool:
        return self.endpoints is None or cluster in self.endpoints

    def has_clusters(self, generation: int) -> bool:
        return self.acked_clusters is None or self.acked_clusters >= generation

    def has_routes(self, generation: int) -> bool:
        return self.acked_routes is None or self.acked_routes >= generation

    def want(self, *parts: Part) -> None:
        self.wanted = {part.origin: part for part in parts}

    def settle(self, **kwargs) -> None:
        for _ in range(10):
            step = self.rollout.step(self.wanted, self, self.now, **kwargs)
            parts = tuple(sorted(step.parts, key=lambda part: part.origin))
            content = (parts, step.clusters, step.opening)
            same = content == self.live
            self.live = content
            self.generation += 0 if same else 1
            self.rollout.published(self.generation, self.now)
            if same and step.wake_at != self.now:
                return
        raise AssertionError("a rollout must come to rest when the facts rest")

    def routed(self) -> set[str]:
        return set() if self.live is None or self.live[2] else {part.origin.name for part in self.live[0]}

    def clusters(self) -> set[str]:
        return set() if self.live is None else {c.name for c in self.live[1]}

    def phase(self, part: Part) -> Phase | None:
        standing = self.rollout.standing(part.origin, self)
        return standing.phase if standing else None


def opened(*parts: Part) -> World:
    world = World()
    world.want(*parts)
    world.settle()
    assert world.routed() == {part.origin.name for part in parts}
    return world


def test_route_waits_for_its_node_port():
    world = opened()
    part = route("a", "one")
    world.reaches["one"] = Reach.ASKING
    world.want(part)
    world.settle()
    assert world.routed() == set()
    assert world.clusters() == {"one"}
    world.reaches["one"] = Reach.ANSWERS
    world.settle()
    assert world.routed() == {"a"}


def test_route_waits_for_endpoints_but_not_for_ever():
    world = opened()
    world.endpoints = set()
    world.want(route("a", "one"))
    world.settle()
    assert world.routed() == set()
    world.now += module.ENDPOINTS_BOUND
    world.settle()
    assert world.routed() == {"a"}


def test_silent_backend_is_published_for_http_and_said():
    world = opened()
    part = route("a", "one")
    world.reaches["one"] = Reach.SILENT
    world.want(part)
    world.settle()
    assert world.routed() == {"a"}
    standing = world.rollout.standing(part.origin, world)
    assert standing is not None
    assert standing.silent == ("one",)


def test_silent_backend_gets_no_tcp_listener_and_no_cluster():
    world = opened()
    world.reaches["one"] = Reach.SILENT
    world.want(tcp("a", "one"))
    world.settle()
    assert world.routed() == set()
    assert world.clusters() == set()
    world.reaches["one"] = Reach.ANSWERS
    world.settle()
    assert world.routed() == {"a"}


def test_tcp_listener_waits_briefly_for_a_warm_cluster():
    world = opened()
    world.acked_clusters = 0
    world.want(tcp("a", "one"))
    world.settle()
    assert world.routed() == set()
    world.now += module.WARMING_BOUND
    world.settle()
    assert world.routed() == {"a"}


def test_udp_listener_waits_for_no_check():
    world = opened()
    world.acked_clusters = 0
    part = tcp("a", "one")
    cluster_ = replace(part.clusters[0], protocol=Protocol.UDP)
    world.want(replace(part, clusters=(cluster_,)))
    world.settle()
    assert world.routed() == {"a"}


def _on(part: Part, *addresses: str) -> Part:
    """The same part on other nodes."""
    ends = tuple(Endpoint(address, 30000) for address in addresses)
    return replace(part, clusters=tuple(replace(each, endpoints=ends) for each in part.clusters))


def _addresses(world: World) -> list[str]:
    assert world.live is not None
    return [end.address for each in world.live[1] for end in each.endpoints]


def test_a_node_stays_until_its_successor_was_checked():
    """A pod moves from node to node: Envoys use the new one only after a check of their own."""
    part = _on(tcp("a", "one"), "10.0.0.1")
    world = opened(part)
    world.now += 60
    world.want(_on(part, "10.0.0.2"))
    world.settle()
    assert _addresses(world) == ["10.0.0.1", "10.0.0.2"]
    world.now += module.CHECKED_AFTER / 2
    world.settle()
    assert _addresses(world) == ["10.0.0.1", "10.0.0.2"]
    world.now += module.CHECKED_AFTER / 2
    world.settle()
    assert _addresses(world) == ["10.0.0.2"]


def test_a_node_whose_successor_just_came_stays_for_the_rest_of_its_check():
    part = _on(tcp("a", "one"), "10.0.0.1")
    world = opened(part)
    world.now += 60
    world.want(_on(part, "10.0.0.1", "10.0.0.2"))
    world.settle()
    world.want(_on(part, "10.0.0.2", "10.0.0.3"))
    world.settle()
    assert _addresses(world) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    world.now += module.CHECKED_AFTER
    world.settle()
    assert _addresses(world) == ["10.0.0.2", "10.0.0.3"]


def test_a_node_leaves_at_once_where_another_is_in_use():
    part = _on(tcp("a", "one"), "10.0.0.1", "10.0.0.2")
    world = opened(part)
    world.now += 60
    world.want(_on(part, "10.0.0.2", "10.0.0.3"))
    world.settle()
    assert _addresses(world) == ["10.0.0.2", "10.0.0.3"]


def test_a_cluster_without_nodes_keeps_none_of_the_old():
    part = _on(tcp("a", "one"), "10.0.0.1")
    world = opened(part)
    world.now += 60
    world.want(_on(part))
    world.settle()
    assert _addresses(world) == []


def test_one_object_does_not_wait_for_another():
    world = opened()
    world.reaches["slow"] = Reach.ASKING
    world.want(route("a", "slow"), route("b", "fast"))
    world.settle()
    assert world.routed() == {"b"}


def test_switch_keeps_the_old_route_until_the_new_backend_is_there():
    world = opened(route("a", "one"))
    world.endpoints = {"one"}
    world.want(route("a", "two"))
    world.settle()
    assert world.live is not None
    assert world.live[0] == (route("a", "one"),)
    assert world.clusters() == {"one", "two"}
    world.endpoints = {"one", "two"}
    world.settle()
    assert world.live[0] == (route("a", "two"),)
    assert world.clusters() == {"one", "two"}, "requests under way still use the old cluster"
    world.now += module.DRAIN
    world.settle()
    assert world.clusters() == {"two"}


def test_old_cluster_stays_until_envoys_have_the_new_routes():
    world = opened(route("a", "one"))
    world.acked_routes = world.generation
    world.want()
    world.settle()
    world.now += module.DRAIN + 1
    world.settle()
    assert world.clusters() == {"one"}
    world.acked_routes = world.generation
    world.settle()
    world.now += module.DRAIN
    world.settle()
    assert world.clusters() == set()


def test_object_is_released_only_when_no_envoy_has_its_cluster():
    part = route("a", "one")
    world = opened(part)
    origin = part.origin
    assert world.rollout.clusters_of(origin, world, world.now) == {"one"}
    world.want()
    world.settle()
    assert world.rollout.clusters_of(origin, world, world.now) == {"one"}
    world.acked_clusters = world.generation
    world.now += module.DRAIN
    world.settle()
    assert world.clusters() == set()
    assert world.rollout.clusters_of(origin, world, world.now) == {"one"}, "the removal is sent, not yet heard"
    world.acked_clusters = world.generation
    assert world.rollout.clusters_of(origin, world, world.now) == frozenset()


def test_shared_cluster_does_not_hold_the_one_that_leaves():
    world = opened(route("a", "one"), route("b", "one"))
    world.want(route("b", "one"))
    world.settle()
    assert world.rollout.clusters_of(route("a").origin, world, world.now) == frozenset()
    assert world.clusters() == {"one"}


def test_restart_publishes_clusters_only_until_all_are_judged():
    world = World()
    world.endpoints = set()
    world.want(route("a", "one"), route("b", "two"))
    world.reaches["two"] = Reach.ASKING
    world.settle()
    world.endpoints = {"one", "two"}
    world.settle()
    assert world.live is not None
    assert world.live[2], "a table without b would take b's traffic away"
    world.reaches["two"] = Reach.ANSWERS
    world.settle()
    assert world.routed() == {"a", "b"}


def test_restart_does_not_ask_what_was_programmed():
    world = World()
    part = route("a", "one")
    world.reaches["one"] = Reach.ASKING
    world.want(part)
    world.settle(trusted=[part.origin])
    assert world.routed() == {"a"}


def test_restart_is_bounded():
    world = World()
    world.reaches["one"] = Reach.ASKING
    world.want(route("a", "one"), route("b", "two"))
    world.settle()
    assert world.routed() == set()
    world.now += module.OPENING_BOUND
    world.settle()
    assert world.routed() == {"b"}


def test_single_refusal_brings_the_version_before_back():
    world = opened(route("a", "one"))
    world.rollout.settled(world.generation)
    world.want(route("a", "two"))
    world.settle()
    assert world.rollout.refuse(world.generation, "no", routes=True)
    world.settle()
    assert world.live is not None
    assert world.live[0] == (route("a", "one"),)
    assert world.phase(route("a")) is Phase.REFUSED
    world.want(route("a", "three"))
    world.settle()
    assert world.live[0] == (route("a", "three"),), "a changed object gets a new chance"


def test_refusal_with_several_suspects_finds_the_one():
    good, bad, fine = route("a", "one"), route("b", "two"), route("c", "three")
    world = opened()
    world.want(good, bad, fine)
    world.settle()
    for _ in range(10):
        parts = world.live[0] if world.live else ()
        if bad in parts:
            assert world.rollout.refuse(world.generation, "b is bad", routes=True)
        else:
            world.rollout.settled(world.generation)
        world.settle()
    assert world.routed() == {"a", "c"}
    assert world.phase(bad) is Phase.REFUSED


def test_refused_cluster_is_withdrawn():
    world = opened()
    world.endpoints = set()
    world.want(route("a", "one"))
    world.settle()
    assert world.clusters() == {"one"}
    assert world.rollout.refuse(world.generation, "bad cluster", routes=False)
    world.endpoints = None
    world.settle()
    world.now += module.DRAIN
    world.settle()
    assert world.clusters() == set()
    assert world.phase(route("a")) is Phase.REFUSED


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_routes_never_point_at_a_missing_or_unheard_cluster(data: st.DataObject):
    """Whatever happens in whatever order: routes name published, acknowledged clusters; the end is what is wanted."""
    world = World(endpoints=set(), acked_clusters=0, acked_routes=0)
    names = ["one", "two", "three"]
    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["want", "reach", "ack", "time"]))
        if action == "want":
            chosen = data.draw(
                st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from(names), max_size=2, unique=True))
            )
            world.want(*(route(name, *backends) for name, backends in chosen.items()))
        elif action == "reach":
            world.reaches[data.draw(st.sampled_from(names))] = data.draw(st.sampled_from(list(Reach)))
        elif action == "ack":
            world.endpoints = world.clusters()
            world.acked_clusters = world.acked_routes = world.generation
            world.rollout.settled(world.generation)
        else:
            world.now += data.draw(st.sampled_from([0.1, 1.0, 3.0]))
        world.settle()
        used = {c.name for part in world.live[0] for c in part.clusters} if world.live else set()
        assert used <= world.clusters()
    world.reaches.clear()
    world.endpoints, world.acked_clusters, world.acked_routes = None, None, None
    for _ in range(3):
        world.settle()
        world.now += module.DRAIN
    world.settle()
    assert {part.origin: part for part in world.live[0]} == world.wanted
    assert world.clusters() == {c.name for part in world.wanted.values() for c in part.clusters}
    for name in "abc":
        origin = Origin("Route", "tenant-a", name)
        expected = {c.name for c in world.wanted[origin].clusters} if origin in world.wanted else set()
        assert world.rollout.clusters_of(origin, world, world.now) == expected
