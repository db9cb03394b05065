"""Nodes that are drained, that fail, and that come back, under load."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.scenario import Environment, Tenant

pytestmark = pytest.mark.long


async def test_a_node_is_drained_under_load(env: Environment) -> None:
    """Cordoned, its pods deleted: they drain, others take over, no new connection is lost."""
    tenant = env.tenant
    node = (await ready_nodes(tenant))[0]
    await tenant.app("db", replicas=4, drain=8)
    await tenant.expose("db-lb", ("tcp", 7100, "TCP"), ("udp", 7100, "UDP"), app="db")
    address = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "db-lb"))
    await env.answers(address, 7100, "tcp")
    await env.answers(address, 7100, "udp")
    async with env.traffic.load(address, port=7100, protocol="tcp", connections=0, fresh=4, rate=200) as tally:
        await tenant.client.patch(resources.NODES, view.name(node), {"spec": {"unschedulable": True}})
        try:
            await drained(env, tenant, view.name(node))
        finally:
            await tenant.client.patch(resources.NODES, view.name(node), {"spec": {"unschedulable": None}})
    assert tally.requests > 200
    assert tally.failures == 0, str(tally)


@pytest.mark.needs(Capability.NODE_FAULTS)
async def test_a_node_fails_and_comes_back_under_load(env: Environment) -> None:
    """It leaves the endpoints while it is not ready; connections through it go on; of the last node nothing is lost."""
    tenant = env.tenant
    one, two = (await ready_nodes(tenant))[:2]
    ips = [ip(one), ip(two)]
    await tenant.app("db", node=view.name(one))
    await tenant.expose("db-lb", ("tcp", 7200, "TCP"), app="db")
    address = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "db-lb"))
    await env.answers(address, 7200, "tcp")

    async def told(wanted: list[str]) -> None:
        found = await env.management.get(resources.ADDRESSES, names.ADDRESSES_NAME, tenant.hub_namespace)
        assert [item["ip"] for item in found["spec"]["addresses"] if ":" not in item["ip"]] == wanted

    async with env.traffic.load(address, port=7200, protocol="tcp", connections=8, fresh=2, rate=200) as tally:
        async with not_ready(tenant, two):
            await env.wait.eventually("status", lambda: told(ips[:1]))
            await env.wait.consistently("short", lambda: env.answers(address, 7200, "tcp"))
        await env.wait.eventually("status", lambda: told(ips))
        await env.wait.consistently("short", lambda: env.answers(address, 7200, "tcp"))
    assert tally.requests > 200
    assert tally.failures == 0, str(tally)
    async with not_ready(tenant, two):
        await env.wait.eventually("status", lambda: told(ips[:1]))
        async with not_ready(tenant, one):
            await env.wait.consistently("short", lambda: told(ips[:1]))
    await env.wait.eventually("status", lambda: told(ips))


async def ready_nodes(tenant: Tenant) -> list[Object]:
    """Return the tenant's nodes by name."""
    return sorted((await tenant.client.list(resources.NODES)).items, key=view.name)


def ip(node: Object) -> str:
    """Return the address by which the management cluster reaches a node."""
    return next(item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP")


async def drained(env: Environment, tenant: Tenant, node: str) -> None:
    """Delete the application's pods of a node as `kubectl drain` does; wait until they are gone and replaced."""

    async def pods() -> list[Object]:
        found = await tenant.client.list(resources.PODS, tenant.namespace, label_selector="app=db")
        return [pod for pod in found.items if view.text(pod, "spec", "nodeName") == node]

    async def ready() -> None:
        found = await tenant.get(resources.DEPLOYMENTS, "db")
        assert found["status"].get("readyReplicas") == 4, found["status"]
        assert not found["status"].get("unavailableReplicas"), found["status"]

    async def empty() -> None:
        left = await pods()
        assert not left, [view.name(pod) for pod in left]

    await env.wait.eventually("pod", ready)
    leaving = await pods()
    assert leaving, "a node without pods of the application drains nothing"
    for pod in leaving:
        await tenant.client.delete(resources.PODS, view.name(pod), tenant.namespace)
    await env.wait.eventually("pod", empty)
    await env.wait.eventually("pod", ready)


@asynccontextmanager
async def not_ready(tenant: Tenant, node: Object) -> AsyncIterator[None]:
    """Have a node not ready while the block runs."""
    await set_ready(tenant, node, "False")
    try:
        yield
    finally:
        await set_ready(tenant, node, "True")


async def set_ready(tenant: Tenant, node: Object, status: str) -> None:
    """Say that a node is ready, or not, as its kubelet would."""
    others = [item for item in node["status"]["conditions"] if item["type"] != "Ready"]
    ready = next(item for item in node["status"]["conditions"] if item["type"] == "Ready")
    patch = {"status": {"conditions": [*others, {**ready, "status": status, "reason": "Scenario"}]}}
    await tenant.client.patch(resources.NODES, view.name(node), patch, subresource="status")
