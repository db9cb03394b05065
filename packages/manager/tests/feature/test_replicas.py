"""Several managers over one cluster: one writes, all publish the same, and the leader speaks for the Envoys of all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from feature_world import RELEASE_SECONDS, FakeEnvoy, Replica, World, replicas, until

from kubelb_common.api import crd_schema
from kubelb_common.kube import resources
from kubelb_common.testing.fake_kube import FakeKube
from kubelb_manager.xds.resources import CLUSTER

FLEET = "tenant-a/shared"
Several = tuple[World, list[Replica]]


@pytest.fixture
async def several() -> AsyncIterator[Several]:
    kube = FakeKube(namespaces=["kubelb"], crds=crd_schema.crds(), garbage_collection=True)
    async with replicas(kube, 2) as (world, made):
        yield world, made


def envoy(world: World, replica: Replica, pod: str) -> FakeEnvoy:
    """Return an Envoy that is connected to one replica."""
    world.manager = replica.manager
    return world.envoy(pod)


def programmed(world: World, name: str) -> str:
    return world.condition(resources.ROUTES, name, "Programmed").get("status", "")


async def test_all_publish_the_same_and_one_writes() -> None:
    kube = FakeKube(namespaces=["kubelb"], crds=crd_schema.crds(), garbage_collection=True)
    async with replicas(kube, 3) as (world, made):
        for each in made:
            each.asked.clear()
        await world.onboard()
        for number in range(4):
            await world.route(f"r{number}", f"h{number}.example.com", {f"s{number}": 30001 + number})
            await world.load_balancer(f"lb{number}", 5000 + number, 30100 + number)
        await until(lambda: len(made[0].versions(FLEET).get(CLUSTER, {})) == 8, "the leader publishes all")

        def same() -> bool:
            tables = [each.versions(FLEET) for each in made]
            return tables[0] == tables[1] == tables[2] and len(tables[0][CLUSTER]) == 8

        await until(same, "the same everywhere")
        assert made[0].writes()
        assert [each.writes() for each in made[1:]] == [[], []]


async def test_programmed_counts_the_envoys_of_all_replicas(several: Several) -> None:
    world, (leader, follower) = several
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with envoy(world, leader, "envoy-0") as one, envoy(world, follower, "envoy-1") as two:
        two.listens.clear()
        await world.ready_pods("envoy-0", "envoy-1")
        await world.address("envoy-ingress", "198.51.100.1")
        await until(lambda: one.backend("a.example.com"), "the leader's Envoy serves")
        said = lambda: world.condition(resources.ROUTES, "r1", "Programmed")  # noqa: E731
        await until(said, "a word on Programmed")
        assert said()["reason"] == "PartiallyAcknowledged", said()
        assert "1/2" in said()["message"]
        two.listens.set()
        await until(lambda: two.backend("a.example.com"), "the follower's Envoy serves")
        await until(lambda: programmed(world, "r1") == "True", "programmed")
    assert follower.writes() == [] or leader.leads


async def test_a_deleted_route_is_held_by_an_envoy_of_another_replica(several: Several) -> None:
    world, (leader, follower) = several
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.route("r2", "b.example.com", {"other": 30002})
    await world.certificate()
    async with envoy(world, leader, "envoy-0") as one, envoy(world, follower, "envoy-1") as two:
        await world.ready_pods("envoy-0", "envoy-1")
        await until(lambda: one.backend("a.example.com") and two.backend("a.example.com"), "both serve")
        two.listens.clear()
        await world.kube.delete(resources.ROUTES, "r1", "tenant-a")
        await until(lambda: not [n for n in one.has[CLUSTER] if "/echo/" in n], "gone from the leader's Envoy")
        await until(lambda: leader.manager.snapshot.controller.is_idle, "the leader has seen it")
        assert world.get(resources.ROUTES, "r1") is not None, "the follower's Envoy still has its cluster"
        two.listens.set()
        await until(lambda: world.get(resources.ROUTES, "r1") is None, "released", seconds=RELEASE_SECONDS)
        assert not [name for name in two.has[CLUSTER] if "/echo/" in name]


async def test_a_follower_that_dies_leaves_its_envoys_unknown(several: Several) -> None:
    world, (leader, follower) = several
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with envoy(world, leader, "envoy-0") as one, envoy(world, follower, "envoy-1") as two:
        await world.ready_pods("envoy-0", "envoy-1")
        await until(lambda: programmed(world, "r1") == "True", "programmed")
        await follower.kill()
        await until(lambda: two.ended, "its Envoy has lost it")
        await world.kube.delete(resources.ROUTES, "r1", "tenant-a")
        await until(lambda: not one.backend("a.example.com"), "the route is gone from the leader's Envoy")
        await until(lambda: leader.manager.snapshot.controller.is_idle, "the leader has seen it")
        assert world.get(resources.ROUTES, "r1") is not None, "nobody knows what envoy-1 has"
        async with envoy(world, leader, "envoy-1").resume(two):
            await until(lambda: world.get(resources.ROUTES, "r1") is None, "released", seconds=RELEASE_SECONDS)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_another_leader_sends_nothing_again_and_writes_no_status(several: Several, end: str) -> None:
    world, (leader, follower) = several
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.load_balancer("lb1", 5432, 30100)
    await world.certificate()
    async with envoy(world, leader, "envoy-0") as one, envoy(world, follower, "envoy-1") as two:
        await world.ready_pods("envoy-0", "envoy-1")
        await world.address("envoy-ingress", "198.51.100.1")
        await world.address("envoy-lb1", "198.51.100.2")

        def served() -> bool:
            lb = world.get(resources.LOAD_BALANCERS, "lb1") or {}
            copies = world.kube.objects(resources.INGRESSES)
            shown = bool(copies and copies[0].get("status", {}).get("loadBalancer", {}).get("ingress"))
            return programmed(world, "r1") == "True" and shown and bool(lb["status"].get("loadBalancer"))

        await until(served, "served")
        await until(lambda: leader.versions(FLEET) == follower.versions(FLEET), "the same")
        sent = list(two.received)
        follower.asked.clear()
        await (leader.stop() if end == "stop" else leader.kill())
        await until(lambda: follower.leads, "the other leads")
        async with envoy(world, follower, "envoy-0").resume(one) as again:
            await until(lambda: len(follower.manager.cache.progress(FLEET).streams) == 2, "both are connected")
            await world.quiet()
            assert two.received == sent
            assert again.received == []
            assert follower.writes() == []
            await world.route("r2", "b.example.com", {"echo": 30001})
            await until(lambda: programmed(world, "r2") == "True", "the new leader works")


async def test_a_refusal_at_another_replica_is_said(several: Several) -> None:
    world, (leader, follower) = several
    await world.onboard()
    await world.route("good", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with envoy(world, leader, "envoy-0") as one, envoy(world, follower, "envoy-1") as two:
        await world.ready_pods("envoy-0", "envoy-1")
        await until(lambda: programmed(world, "good") == "True", "the good one is served")
        two.refuse = lambda _url, _name, body: "invalid poison.example.com" if b"poison" in body else None
        await world.route("bad", "poison.example.com", {"echo": 30001})
        await until(
            lambda: world.condition(resources.ROUTES, "bad", "Programmed").get("reason") == "RefusedByProxy", "refused"
        )
        assert "invalid poison.example.com" in world.condition(resources.ROUTES, "bad", "Programmed")["message"]
        await world.route("later", "later.example.com", {"echo": 30001})
        await until(lambda: programmed(world, "later") == "True", "others go on")
        assert one.backend("later.example.com")


async def test_only_managers_may_report(several: Several) -> None:
    world, (leader, _) = several
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    stranger = envoy(world, leader, "envoy-0")
    call = stranger._channel.stream_unary("/kubelb.manager.v1.Peers/Report")(metadata=(("kubelb-replica", "x"),))
    assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
    await stranger._channel.close()
