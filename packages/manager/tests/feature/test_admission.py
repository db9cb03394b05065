"""Limits of a tenant, and hosts between tenants."""

from __future__ import annotations

import copy

from feature_world import World, running, typed, until

from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import conditions, view
from kubelb_manager.xds.resources import LISTENER


def accepted(world: World, name: str, namespace: str = "tenant-a") -> str:
    route = world.get(resources.ROUTES, name, namespace) or {}
    found = conditions.find(view.objects(route, "status", "conditions"), "Accepted") or {}
    return str(found.get("reason"))


def message(world: World, name: str, namespace: str) -> str:
    route = world.get(resources.ROUTES, name, namespace) or {}
    return str((conditions.find(view.objects(route, "status", "conditions"), "Accepted") or {}).get("message"))


def record(world: World) -> dict[str, str]:
    held = world.kube.objects(resources.CONFIG_MAPS, "kubelb")
    return {host: text for item in held for host, text in (item.get("data") or {}).items()}


async def foreign(world: World, name: str, like: str, host: str) -> None:
    """Write a Route of tenant b that is like one of tenant a but for its host."""
    spec = copy.deepcopy(world.get(resources.ROUTES, like)["spec"])
    spec["source"]["kubernetes"]["resource"]["spec"]["rules"][0]["host"] = host
    body = typed(resources.ROUTES, {"metadata": {"name": name}, "spec": spec})
    await world.kube.create(resources.ROUTES, body, "tenant-b")


async def configure(world: World, spec: Object) -> None:
    if world.kube.peek(resources.CONFIGS, "default", "kubelb") is None:
        body = typed(resources.CONFIGS, {"metadata": {"name": "default"}, "spec": spec})
        await world.kube.create(resources.CONFIGS, body, "kubelb")
    else:
        await world.kube.patch(resources.CONFIGS, "default", {"spec": spec}, "kubelb")


async def test_a_host_is_one_tenants_alone(world: World) -> None:
    """The claim is in the record before the host is served; a refusal does not name the owner."""
    await world.onboard()
    await world.onboard("b")
    await world.route("r1", "shop.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await until(lambda: envoy.backend("shop.example.com"), "served")
        assert record(world) == {"shop.example.com": "a"}
        await foreign(world, "r2", "r1", "*.example.com")
        await until(lambda: accepted(world, "r2", "tenant-b") == "HostClaimed", "refused")
        said = message(world, "r2", "tenant-b")
        assert "'*.example.com'" in said
        assert "shop" not in said
        assert "tenant-a" not in said
        await foreign(world, "r3", "r1", "shop.example.org")
        await until(lambda: accepted(world, "r3", "tenant-b") == "Accepted", "another host is free")
        assert record(world) == {"shop.example.com": "a", "shop.example.org": "b"}


async def test_a_delegated_ingress_claims_its_hosts(world: World) -> None:
    """Whoever chooses by host, it is the hub's name."""
    await configure(world, {"ingress": {"class": "standin"}})
    await world.onboard()
    await world.onboard("b")
    await world.route("r1", "shop.example.com", {"echo": 30001})
    await until(lambda: record(world) == {"shop.example.com": "a"}, "claimed")
    await foreign(world, "r2", "r1", "shop.example.com")
    await until(lambda: accepted(world, "r2", "tenant-b") == "HostClaimed", "refused")
    assert world.kube.objects(resources.INGRESSES, "tenant-b") == []


async def test_a_host_is_held_after_its_last_use_and_given_by_an_admin(world: World) -> None:
    await world.onboard()
    await world.onboard("b")
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: accepted(world, "r1") == "Accepted", "accepted")
    await foreign(world, "r2", "r1", "a.example.com")
    await until(lambda: accepted(world, "r2", "tenant-b") == "HostClaimed", "refused")
    await world.kube.delete(resources.ROUTES, "r1", "tenant-a")
    await until(lambda: record(world).get("a.example.com", "").startswith("a released 20"), "released, and held")
    await world.quiet()
    assert accepted(world, "r2", "tenant-b") == "HostClaimed"
    (holder,) = [item for item in world.kube.objects(resources.CONFIG_MAPS, "kubelb") if item.get("data")]
    await world.kube.patch(
        resources.CONFIG_MAPS, holder["metadata"]["name"], {"data": {"a.example.com": "b"}}, "kubelb"
    )
    await until(lambda: accepted(world, "r2", "tenant-b") == "Accepted", "given")


async def test_without_a_hold_down_a_released_host_is_free(world: World) -> None:
    await configure(world, {"hosts": {"holdDown": "0s"}})
    await world.onboard()
    await world.onboard("b")
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: accepted(world, "r1") == "Accepted", "accepted")
    await foreign(world, "r2", "r1", "a.example.com")
    await until(lambda: accepted(world, "r2", "tenant-b") == "HostClaimed", "refused")
    await world.kube.delete(resources.ROUTES, "r1", "tenant-a")
    await until(lambda: accepted(world, "r2", "tenant-b") == "Accepted", "free")
    assert record(world) == {"a.example.com": "b"}


async def test_a_lost_record_is_written_again_and_no_route_goes(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await until(lambda: envoy.backend("a.example.com"), "served")
        envoy.received.clear()
        for item in world.kube.objects(resources.CONFIG_MAPS, "kubelb"):
            await world.kube.delete(resources.CONFIG_MAPS, item["metadata"]["name"], "kubelb")
        await until(lambda: record(world) == {"a.example.com": "a"}, "written again")
        await world.quiet()
        assert envoy.received == []


async def test_a_manager_that_finds_no_record_keeps_what_envoys_serve(world: World) -> None:
    """An update from a release without a record: routes are sent when the claims are written, never taken away."""
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await until(lambda: envoy.backend("a.example.com"), "served")
        versions = {url: dict(found) for url, found in envoy.versions.items()}
        world.manager.supervisor.stop()
        await until(lambda: envoy.error is not None or not world.manager.supervisor.ready, "the manager stops")
    for item in world.kube.objects(resources.CONFIG_MAPS, "kubelb"):
        await world.kube.delete(resources.CONFIG_MAPS, item["metadata"]["name"], "kubelb")
    async with running(world.kube, world):
        again = world.envoy()
        again.versions = versions
        async with again:
            await until(lambda: record(world) == {"a.example.com": "a"}, "written again")
            await until(lambda: world.manager.cache.progress("tenant-a/shared").streams, "connected")
            await world.quiet()
            assert [item for item in again.received if item[0] == "removed"] == []
            assert [item for item in again.received if "Route" in item[1]] == []


async def test_limits_change_live_and_the_oldest_stay(world: World) -> None:
    await configure(world, {"limits": {"routes": 2}})
    await world.onboard()
    names = [f"r{number}" for number in range(4)]
    for name in names:
        await world.route(name, f"{name}.example.com", {"echo": 30001})

    def said() -> list[str]:
        return [accepted(world, name) for name in names]

    await until(lambda: said() == ["Accepted", "Accepted", "LimitExceeded", "LimitExceeded"], "two of four")
    assert "limits.routes of this tenant is 2" in message(world, "r3", "tenant-a")
    state = world.get(resources.TENANT_STATES, "default")
    assert state["status"]["limits"] == {"routes": 2}
    await world.kube.patch(resources.TENANTS, "a", {"spec": {"limits": {"routes": 3, "hosts": 1}}})
    await until(lambda: said() == ["Accepted", *["LimitExceeded"] * 3], "one host")
    assert "limits.hosts" in message(world, "r1", "tenant-a")
    await world.kube.patch(resources.TENANTS, "a", {"spec": {"limits": {"routes": 3, "hosts": None}}})
    await until(lambda: said() == ["Accepted", "Accepted", "Accepted", "LimitExceeded"], "three of four")
    await world.kube.delete(resources.ROUTES, "r0", "tenant-a")
    await until(lambda: said()[1:] == ["Accepted"] * 3, "the next in age takes the place")


async def test_limit_of_load_balancers(world: World) -> None:
    await configure(world, {"limits": {"loadBalancers": 1}})
    await world.onboard()
    await world.load_balancer("lb1", 5432, 30100)
    await world.load_balancer("lb2", 5433, 30101)

    def said(name: str) -> str:
        return str(world.condition(resources.LOAD_BALANCERS, name, "Accepted").get("reason"))

    await until(lambda: (said("lb1"), said("lb2")) == ("Accepted", "LimitExceeded"), "one of two")
    assert world.get(resources.SERVICES, "envoy-lb2") is None
    await world.kube.patch(resources.CONFIGS, "default", {"spec": {"limits": {"loadBalancers": 2}}}, "kubelb")
    await until(lambda: said("lb2") == "Accepted", "two of two")
    await until(lambda: world.get(resources.SERVICES, "envoy-lb2"), "its Service")


async def test_connections_and_requests_are_divided_among_ready_envoys(world: World) -> None:
    """Live: the limits change, Envoys come and go, and no listener changes."""
    await configure(world, {"limits": {"connections": 100, "requestsPerSecond": 30}})
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    key = "envoy.resource_limits.listener.http.connection_limit"
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.share() == {key: 100, "requests": 30}, "one Envoy has all of it")
        listener = envoy.has[LISTENER]["http"]
        await world.ready_pods("envoy-0", "envoy-1", "envoy-2")
        await until(lambda: envoy.share() == {key: 34, "requests": 10}, "a third, rounded up")
        await world.kube.patch(resources.TENANTS, "a", {"spec": {"limits": {"connections": 3}}})
        await until(lambda: envoy.share() == {key: 1, "requests": 10}, "the Tenant's own number")
        await world.kube.patch(resources.TENANTS, "a", {"spec": {"limits": None}})
        await world.kube.patch(resources.CONFIGS, "default", {"spec": {"limits": None}}, "kubelb")
        await until(lambda: envoy.share() == {}, "no limits")
        assert envoy.has[LISTENER]["http"] == listener
