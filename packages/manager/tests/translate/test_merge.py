"""Merging by difference gives what merging from nothing gives, and costs only what changed."""

from __future__ import annotations

import random

from hypothesis import given
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
    RouteRule,
)
from kubelb_manager.translate.merge import MergeMemo, merge

KEY = "tenant-a/shared"


def rule(origin: Origin, cluster: str, path: str = "/", kind: PathKind = PathKind.PREFIX) -> RouteRule:
    return RouteRule(PathMatch(kind, path), Forward(cluster), origin)


def part(name: str, *hosts: str, age: float = 0.0, default: bool = False, paths: tuple[str, ...] = ("/",)) -> Part:
    origin = Origin("Route", "tenant-a", name)
    cluster = f"cluster-{name}"
    return Part(
        origin,
        (age, f"default/{name}"),
        hosts=tuple(HostRules(Host(host), tuple(rule(origin, cluster, path) for path in paths)) for host in hosts),
        default_backend=Forward(cluster) if default else None,
        clusters=(Cluster(cluster, Layer.L7, (Endpoint("10.0.0.1", 30000),)),),
    )


def test_one_changed_host_costs_one_table() -> None:
    memo = MergeMemo()
    parts = [part(f"p{number}", f"h{number}.example.com") for number in range(100)]
    before = merge(KEY, parts, memo=memo).fleet.http[0].tables
    parts[40] = part("p40", "h40.example.com", paths=("/other",))
    after = merge(KEY, parts, memo=memo).fleet.http[0].tables
    assert [new.host for new, old in zip(after, before, strict=True) if new is not old] == ["h40.example.com"]


def test_an_equal_part_changes_no_table() -> None:
    memo = MergeMemo()
    before = merge(KEY, [part("a", "a.example.com")], memo=memo).fleet
    after = merge(KEY, [part("a", "a.example.com")], memo=memo).fleet
    assert after.http[0].tables is before.http[0].tables
    assert after.clusters is before.clusters


def test_an_added_part_of_a_shared_host_costs_that_host() -> None:
    memo = MergeMemo()
    parts = [part("a", "shared.example.com", "a.example.com"), part("b", "b.example.com")]
    before = {table.host: table for table in merge(KEY, parts, memo=memo).fleet.http[0].tables}
    parts.append(part("c", "shared.example.com", paths=("/c",)))
    after = {table.host: table for table in merge(KEY, parts, memo=memo).fleet.http[0].tables}
    assert [host for host in after if after[host] is not before[host]] == ["shared.example.com"]


def test_a_new_default_backend_reaches_the_table_without_host() -> None:
    memo = MergeMemo()
    hostless = part("hostless", "*", paths=("/x",))
    merge(KEY, [hostless], memo=memo)
    listener = merge(KEY, [hostless, part("default", default=True)], memo=memo).fleet.http[0]
    assert listener.unknown_host == Forward("cluster-default")
    assert listener.tables[0].miss == Forward("cluster-default")


def test_another_tenants_object_is_not_named() -> None:
    """Rules without a host may meet in a global fleet."""
    theirs = Part(
        Origin("Route", "tenant-b", "r"),
        (0.0, "secret/project"),
        hosts=(HostRules(Host("*"), (rule(Origin("Route", "tenant-b", "r"), "c"),)),),
        clusters=(Cluster("c", Layer.L7, ()),),
    )
    mine = part("young", "*", age=1.0)
    (said,) = merge(KEY, [mine, theirs]).shadowed[mine.origin]
    assert said == "* Prefix / is served by another tenant's object, which is older."


def test_shadowed_rules_come_back_when_the_older_part_goes() -> None:
    memo = MergeMemo()
    old, young = part("old", "a.example.com", age=1), part("young", "a.example.com", age=2)
    assert merge(KEY, [young, old], memo=memo).shadowed == {
        young.origin: ("a.example.com Prefix / is served by default/old, which is older.",)
    }
    alone = merge(KEY, [young], memo=memo)
    assert alone.shadowed == {}
    assert alone.fleet.http[0].tables[0].rules[0].origin == young.origin


def test_no_http_listener_without_http() -> None:
    origin = Origin("LoadBalancer", "tenant-a", "lb")
    cluster = Cluster("c", Layer.L4, ())
    fleet = merge(KEY, [Part(origin, (0, "x"), listeners=(L4Listener("l", 10000, "c"),), clusters=(cluster,))]).fleet
    assert fleet.http == ()
    assert [listener.port for listener in fleet.l4] == [10000]


def test_one_cluster_with_two_values_is_the_same_in_any_order() -> None:
    old, new = Endpoint("10.0.0.1", 30000), Endpoint("10.0.0.2", 30000)
    parts = [
        Part(Origin("Route", "t", name), (0, name), clusters=(Cluster("c", Layer.L7, ends),))
        for name, ends in (("a", (old,)), ("b", (new,)), ("c", (old,)))
    ]
    results = {merge(KEY, order).fleet.clusters for order in (parts, parts[::-1])}
    assert results == {(Cluster("c", Layer.L7, (new,)),)}


def test_exact_stands_before_prefix_and_long_before_short() -> None:
    origin = Origin("Route", "t", "a")
    rules = (
        rule(origin, "c", "/"),
        rule(origin, "c", "/a"),
        rule(origin, "c", "/a", PathKind.EXACT),
        rule(origin, "c", "/a/b"),
    )
    merged = merge(KEY, [Part(origin, (0, "a"), hosts=(HostRules(Host("h.example.com"), rules),))])
    assert [item.match for item in merged.fleet.http[0].tables[0].rules] == [
        PathMatch(PathKind.PREFIX, "/a/b"),
        PathMatch(PathKind.EXACT, "/a"),
        PathMatch(PathKind.PREFIX, "/a"),
        PathMatch(PathKind.PREFIX, "/"),
    ]


hosts = st.lists(st.sampled_from(["*", "a.example.com", "b.example.com", "*.example.com"]), unique=True, max_size=3)
paths = st.lists(st.sampled_from(["/", "/a", "/a/b"]), unique=True, max_size=2)
any_part = st.builds(
    lambda name, hosts, age, default, paths: part(name, *hosts, age=age, default=default, paths=tuple(paths)),
    st.sampled_from("abcdefgh"),
    hosts,
    st.integers(0, 2),
    st.booleans(),
    paths,
)
sets_of_parts = st.lists(any_part, max_size=8, unique_by=lambda item: item.origin)


@given(st.lists(sets_of_parts, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_any_history_ends_where_a_fresh_start_ends(history: list[list[Part]], chance: random.Random) -> None:
    memo = MergeMemo()
    pool = {item: item for parts in history for item in parts}
    for parts in history:
        # Equal parts of later steps are sometimes the same objects, as a caller that memoises has them.
        current = [pool[item] if chance.random() < 0.7 else item for item in parts]
        chance.shuffle(current)
        assert merge(KEY, current, memo=memo) == merge(KEY, parts)


@given(st.integers(1, 300), st.lists(st.integers(0, 299), max_size=200))
def test_many_at_once_and_few_at_once_agree(count: int, removed: list[int]) -> None:
    memo = MergeMemo()
    parts = [part(f"p{number}", f"h{number % 50}.example.com", paths=(f"/{number}",)) for number in range(count)]
    merge(KEY, parts, memo=memo)
    left = [item for number, item in enumerate(parts) if number not in removed]
    assert merge(KEY, left, memo=memo) == merge(KEY, left)
