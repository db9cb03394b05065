"""Limits per tenant: the oldest stay, whatever the order in which things become known."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb_manager.admission.limits import Counted, Quota, share
from kubelb_manager.ir.model import Host, Origin, Share
from kubelb_manager.settings.limits import Limits, limits, spoken
from kubelb_manager.translate.result import Reason

kinds = st.sampled_from(["LoadBalancer", "Route", "Gateway"])
objects = st.dictionaries(
    st.sampled_from([f"o{number}" for number in range(12)]),
    st.tuples(
        kinds,
        st.integers(1, 4),
        st.frozensets(st.sampled_from(["a.x", "b.x", "c.x", "d.x"]).map(Host), max_size=3),
    ),
    max_size=12,
)
some = st.none() | st.integers(0, 4)
any_limits = st.builds(Limits, load_balancers=some, routes=some, gateways=some, hosts=some)


def origin(name: str, kind: str = "Route") -> Origin:
    return Origin("LoadBalancer" if kind == "LoadBalancer" else "Route", "tenant-a", name)


def counted(kind: str, day: int, hosts: frozenset[Host]) -> Counted:
    return Counted(kind, f"2026-01-0{day}T00:00:00Z", hosts if kind != "LoadBalancer" else frozenset())


def model(held: dict[Origin, Counted], limit: Limits) -> set[Origin]:
    """Who is refused, said from nothing."""
    by_age = sorted(held, key=lambda item: (held[item].created, item.name, item))
    refused: set[Origin] = set()
    for name, members in (
        ("load_balancers", ["LoadBalancer"]),
        ("routes", ["Route", "Gateway"]),
        ("gateways", ["Gateway"]),
    ):
        most = getattr(limit, name)
        of_kind = [item for item in by_age if held[item].kind in members]
        refused |= set(of_kind[most:] if most is not None else [])
    taken: set[Host] = set()
    routes = [item for item in by_age if held[item].kind != "LoadBalancer"][: limit.routes]
    for item in routes if limit.hosts is not None else []:
        if len(taken | held[item].hosts) <= limit.hosts:
            taken |= held[item].hosts
        else:
            refused.add(item)
    return refused


@settings(max_examples=300)
@given(objects, objects, any_limits, any_limits, st.randoms())
def test_any_history_gives_the_same_answer(first, then, before: Limits, after: Limits, chance: random.Random) -> None:
    """And whoever's answer changed is told, unless it is the one that was put."""
    quota, held = Quota(), {}
    said: dict[Origin, bool] = {}
    moves = [(name, value) for name, value in first.items()] + [(name, then.get(name)) for name in {**first, **then}]
    chance.shuffle(moves)
    for number, (name, value) in enumerate(moves):
        told = set(quota.set_limits(before if number < len(moves) / 2 else after))
        for item in [item for item in held if item.name == name]:
            told |= {item, *quota.put(item, None)}
            del held[item]
        if value is not None:
            item = origin(name, value[0])
            held[item] = counted(*value)
            told |= {item, *quota.put(item, held[item])}
        refused = {item for item in held if quota.refusal(item) is not None}
        assert refused == model(held, quota.limits)
        changed = {item for item in held if item in said and said[item] != (item in refused)}
        assert changed <= told, "an object was not told that its answer changed"
        said = {item: item in refused for item in held}
    fresh = Quota()
    fresh.set_limits(quota.limits)
    for item in sorted(held, key=lambda _: chance.random()):
        fresh.put(item, held[item])
    assert {item: fresh.refusal(item) for item in held} == {item: quota.refusal(item) for item in held}


def test_the_text_names_the_limit_and_nothing_that_moves() -> None:
    quota = Quota()
    quota.set_limits(Limits(routes=2, hosts=1))
    for number in range(5):
        quota.put(origin(f"r{number}"), counted("Route", 1, frozenset({Host(f"{number}.x")})))
    texts = {name: quota.refusal(origin(name)) for name in ("r0", "r1", "r2", "r4")}
    assert texts["r0"] is None
    assert texts["r1"].reason == texts["r2"].reason == Reason.LIMIT_EXCEEDED
    assert "limits.hosts of this tenant is 1" in texts["r1"].message
    assert "limits.routes of this tenant is 2" in texts["r2"].message
    assert texts["r2"] == texts["r4"], "another object that comes rewrites nothing"


def test_limits_are_read_with_care() -> None:
    own = {"routes": 0, "hosts": "5", "connections": 0, "requestsPerSecond": True}
    general = {"routes": 7, "hosts": 9, "connections": 100, "loadBalancers": -1}
    found = limits(own, general)
    assert found == Limits(routes=0, hosts=9, connections=100)
    assert spoken(found) == {"routes": 0, "hosts": 9, "connections": 100}
    assert limits(None, []) == Limits()


def test_a_greedy_tenant_costs_little() -> None:
    """5,000 objects, each change looked at alone: no change costs a pass over all of them."""
    quota = Quota()
    quota.set_limits(Limits(routes=5000, hosts=6000))
    for number in range(5000):
        quota.put(origin(f"r{number:04}"), counted("Route", 1, frozenset({Host(f"h{number}.x")})))
    assert quota.put(origin("r2500"), counted("Route", 2, frozenset({Host("other.x")}))) == frozenset()
    assert quota.refusal(origin("r4999")) is None


@given(st.integers(1, 10_000), st.integers(0, 50))
def test_shares_together_are_the_limit_and_hardly_more(limit: int, ready: int) -> None:
    found = share(Limits(connections=limit, requests_per_second=limit), ready)
    assert found.connections == found.requests
    assert limit <= found.connections * max(1, ready) < limit + max(1, ready)
    assert share(Limits(), ready) == Share()
