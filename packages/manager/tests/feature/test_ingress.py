"""Objects in at the API, configuration out on the stream, truth back in the status."""

from __future__ import annotations

from feature_world import NODES, RELEASE_SECONDS, World, running, typed, until

from kubelb_common.kube import resources
from kubelb_manager.ir.model import Endpoint
from kubelb_manager.xds.resources import CLUSTER


async def test_route_is_served_and_said(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.backend("a.example.com"), "the route is served")
        await world.address("envoy-ingress", "198.51.100.1")
        await until(lambda: world.condition(resources.ROUTES, "r1", "Programmed").get("status") == "True", "programmed")

        def address() -> object:
            route = world.get(resources.ROUTES, "r1") or {}
            return route["status"]["resources"]["route"]["status"]["loadBalancer"].get("ingress")

        await until(lambda: address() == [{"ip": "198.51.100.1"}], "the address")
        route = world.get(resources.ROUTES, "r1")
        assert list(route["status"]["resources"]["services"]) == ["default/echo"]
        assert not envoy.faults


async def test_route_waits_for_its_node_ports(world: World) -> None:
    await world.onboard()
    world.everything_open = False
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await until(lambda: envoy.has[CLUSTER], "the cluster comes first")
        assert not envoy.backend("a.example.com")
        world.open = {Endpoint(ip, 30001) for ip in NODES}
        await until(lambda: envoy.backend("a.example.com"), "the route follows the node port")
        assert not envoy.faults


async def test_deleted_route_is_released_after_its_cluster_is_gone(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.route("r2", "b.example.com", {"other": 30002})
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.backend("a.example.com") and envoy.backend("b.example.com"), "both served")
        await world.kube.delete(resources.ROUTES, "r1", "tenant-a")
        await until(lambda: not envoy.backend("a.example.com"), "the route goes")
        assert world.get(resources.ROUTES, "r1") is not None, "its cluster is still there"
        await until(lambda: world.get(resources.ROUTES, "r1") is None, "released", seconds=RELEASE_SECONDS)
        assert [name for name in envoy.has[CLUSTER] if "/echo/" in name] == []
        assert envoy.backend("b.example.com")


async def test_restart_sends_nothing_again_and_writes_nothing(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await world.address("envoy-ingress", "198.51.100.1")
        await until(lambda: world.condition(resources.ROUTES, "r1", "Programmed").get("status") == "True", "programmed")
        await world.quiet()
        versions = {url: dict(found) for url, found in envoy.versions.items()}
        world.manager.supervisor.stop()
        await until(lambda: envoy.error is not None or not world.manager.supervisor.ready, "the manager stops")
    world.kube.forget_requests()
    async with running(world.kube, world):
        again = world.envoy()
        again.versions = versions
        async with again:
            await until(lambda: world.manager.cache.progress("tenant-a/shared").streams, "connected")
            await world.quiet()
            assert [item for item in again.received if item[0] == "removed"] == []
            assert world.kube.writes() == []


async def test_wrong_certificate_is_refused(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy(node="tenant-b/shared/envoy-0") as envoy:
        await until(lambda: envoy.error is not None, "refused")
        assert envoy.error is not None
        assert "PERMISSION_DENIED" in str(envoy.error.code())
        assert not envoy.received


async def test_refusal_by_envoy_is_said_on_the_object_that_caused_it(world: World) -> None:
    await world.onboard()
    await world.route("good", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.backend("a.example.com"), "the good one is served")
        envoy.refuse = lambda _url, _name, body: (
            "invalid route poison.example.com beside a.example.com" if b"poison" in body else None
        )
        await world.route("bad", "poison.example.com", {"echo": 30001})
        await until(
            lambda: world.condition(resources.ROUTES, "bad", "Programmed").get("reason") == "RefusedByProxy", "refused"
        )
        said = world.condition(resources.ROUTES, "bad", "Programmed")["message"]
        assert said.endswith("invalid route poison.example.com ..."), said
        await world.route("later", "later.example.com", {"echo": 30001})
        await until(lambda: envoy.backend("later.example.com"), "others go on")
        assert world.condition(resources.ROUTES, "good", "Programmed")["status"] == "True"


async def test_denied_addresses_of_config_are_refused(world: World) -> None:
    """The admin's deny list stands above what a tenant reports as its nodes."""
    config = {"metadata": {"name": "default"}, "spec": {"deniedAddresses": ["192.0.2.0/24"]}}
    await world.kube.create(resources.CONFIGS, typed(resources.CONFIGS, config), "kubelb")
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: world.condition(resources.ROUTES, "r1", "ResolvedRefs").get("status") == "False", "refused")
