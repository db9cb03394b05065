from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import ENDPOINT_SLICES, NODES, SERVICES
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.testing import builders
from kubelb_common.testing.fake_kube import FakeKube
from kubelb_e2e.clusters.addresses import AddressController, Pool
from kubelb_e2e.clusters.slices import BY_SERVICE, service_of_slice

ONE, TWO = "node-1", "node-2"
A, B = "10.99.200.1", "10.99.200.2"
A6 = "fd99::c8:1"
MORE = ["10.99.200.3", "10.99.200.4"]


@dataclass
class Lab:
    kube: FakeKube
    placed: dict[str, set[str]] = field(default_factory=dict)
    steps: list[tuple[str, str, str]] = field(default_factory=list)

    def put(self, node: str, address: str) -> None:
        self.placed.setdefault(address, set()).add(node)
        self.steps.append(("put", node, address))

    def take(self, node: str, address: str) -> None:
        self.placed[address].discard(node)
        self.steps.append(("take", node, address))

    async def address(self, name: str) -> str | None:
        status = (await self.kube.get(SERVICES, name, "default")).get("status", {})
        ingress = status.get("loadBalancer", {}).get("ingress") or [{}]
        return ingress[0].get("ip")

    async def handled(self, barrier: str) -> None:
        """Return when everything before was reconciled: one worker takes keys in order."""
        await self.kube.create(SERVICES, balanced(barrier), "default")

        async def has() -> bool:
            return await self.address(barrier) is not None

        await until(has)

    async def slices(self, *nodes: str, service: str = "web") -> None:
        built = builders.endpoint_slice(service)
        for number, node in enumerate(nodes):
            built.endpoint(f"10.244.1.{number + 2}", node=node)
        await replace(self.kube, ENDPOINT_SLICES, built.build())


async def replace(kube: FakeKube, resource: object, obj: Object) -> None:
    name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace")
    found = [item for item in (await kube.list(resource, namespace)).items if item["metadata"]["name"] == name]
    if not found:
        await kube.create(resource, obj, namespace)
        return
    obj["metadata"]["resourceVersion"] = found[0]["metadata"]["resourceVersion"]
    await kube.replace(resource, obj, namespace)


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await check():  # noqa: ASYNC110  # the condition is the fake API server's state
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running() -> AsyncIterator[Lab]:
    lab = Lab(FakeKube())
    for name in (ONE, TWO):
        await lab.kube.create(NODES, builders.node(name).ready().build())
    informers = [Informer(lab.kube, item) for item in (SERVICES, ENDPOINT_SLICES, NODES)]
    informers[1].store.add_index(BY_SERVICE, service_of_slice)
    services, slices, nodes = informers
    controller = AddressController(
        (ONE, TWO),
        lab.kube,
        {"IPv4": Pool([A, B, *MORE]), "IPv6": Pool([A6])},
        services=services,
        slices=slices,
        nodes=nodes,
        put=lab.put,
        take=lab.take,
    )
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(item.run()) for item in (*informers, controller.controller)]
        yield lab
        for task in tasks:
            task.cancel()


def balanced(name: str = "web", *, policy: str = "Cluster", **spec: object) -> Object:
    return builders.service(name).port(80).load_balancer().spec(externalTrafficPolicy=policy, **spec).build()


async def test_a_service_gets_an_address_on_one_node() -> None:
    async with running() as lab:
        await lab.kube.create(SERVICES, balanced(), "default")

        async def has() -> bool:
            return await lab.address("web") == A

        await until(has)
        assert len(lab.placed[A]) == 1
        status = (await lab.kube.get(SERVICES, "web", "default"))["status"]
        assert status["loadBalancer"]["ingress"] == [{"ip": A, "ipMode": "VIP"}]


async def test_a_local_policy_follows_the_endpoints_and_is_never_nowhere_meanwhile() -> None:
    async with running() as lab:
        await lab.slices(ONE)
        await lab.kube.create(SERVICES, balanced(policy="Local"), "default")

        async def on(node: str) -> None:
            async def check() -> bool:
                return lab.placed.get(A) == {node}

            await until(check)

        for node, barrier in ((ONE, "b1"), (TWO, "b2")):
            await lab.slices(node)
            await on(node)
            await lab.slices(ONE, TWO)
            await lab.handled(barrier)
            assert lab.placed[A] == {node}, "it stays while its node still has an endpoint"
        assert [step for step in lab.steps if step[2] == A] == [("put", ONE, A), ("put", TWO, A), ("take", ONE, A)]
        await lab.slices()

        async def nowhere() -> bool:
            return lab.placed[A] == set()

        await until(nowhere)
        assert await lab.address("web") == A


async def test_a_dead_node_is_left() -> None:
    async with running() as lab:
        await lab.kube.create(SERVICES, balanced(), "default")

        async def somewhere() -> bool:
            return bool(lab.placed.get(A))

        await until(somewhere)
        (dead,) = lab.placed[A]
        (other,) = {ONE, TWO} - {dead}
        conditions = [{"type": "Ready", "status": "Unknown"}]
        await lab.kube.patch(NODES, dead, {"status": {"conditions": conditions}}, subresource="status")

        async def moved() -> bool:
            return lab.placed[A] == {other}

        await until(moved)


async def test_what_is_not_ours_gets_nothing() -> None:
    async with running() as lab:
        await lab.kube.create(SERVICES, balanced("foreign", loadBalancerClass="example.com/other"), "default")
        await lab.kube.create(SERVICES, builders.service("plain").port(80).build(), "default")
        await lab.kube.create(SERVICES, balanced(), "default")

        async def has() -> bool:
            return await lab.address("web") is not None

        await until(has)
        assert await lab.address("foreign") is None
        assert await lab.address("plain") is None


@pytest.mark.parametrize("end", ["delete", "retype"])
async def test_an_address_is_given_back(end: str) -> None:
    async with running() as lab:
        await lab.kube.create(SERVICES, balanced(), "default")

        async def has() -> bool:
            return await lab.address("web") is not None

        await until(has)
        if end == "delete":
            await lab.kube.delete(SERVICES, "web", "default")
        else:
            await lab.kube.patch(SERVICES, "web", {"spec": {"type": "ClusterIP"}}, "default")

        async def gone() -> bool:
            return lab.placed[A] == set()

        await until(gone)
        if end == "retype":

            async def clear() -> bool:
                return await lab.address("web") is None

            await until(clear)


def test_the_pool_gives_wished_addresses_and_reuses_the_oldest_last() -> None:
    pool, keys = Pool([A, B]), [ObjectKey("n", name) for name in "abc"]
    assert pool.allocate(keys[0], [B]) == B
    assert pool.allocate(keys[0], [A]) == B, "an address stays"
    assert pool.release(keys[0]) == B
    assert pool.allocate(keys[1], ["192.0.2.1"]) == A, "the freed one comes last"
    assert pool.allocate(keys[2], []) == B
    assert pool.allocate(keys[0], []) is None
    assert pool.release(keys[0]) is None


async def test_a_dual_stack_service_has_an_address_of_each_family() -> None:
    async with running() as lab:
        await lab.kube.create(SERVICES, balanced(ipFamilies=["IPv4", "IPv6"]), "default")
        await until(lambda: has(lab, [A, A6]))
        await lab.kube.patch(SERVICES, "web", {"spec": {"ipFamilies": ["IPv4"]}}, "default")
        await until(lambda: has(lab, [A]))
        assert not lab.placed.get(A6), "an address of a family that it lost is on no node"


async def has(lab: Lab, addresses: list[str]) -> bool:
    service = await lab.kube.get(SERVICES, "web", "default")
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    return [item["ip"] for item in ingress] == addresses
