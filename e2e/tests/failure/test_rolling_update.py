"""Envoys are replaced while clients hold on to their connections; none of them notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.scenario import Environment

pytestmark = [pytest.mark.long, pytest.mark.needs(Capability.LOAD)]


#: What an admin may change of running fleets, all at once; but for the limits of headers each takes new pods.
SETTINGS: dict[str, Any] = {
    "replicas": 3,
    "resources": {"requests": {"cpu": "3m"}},
    "tolerations": [{"key": "edge", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "edge", "operator": "Exists"}]}}
            ]
        }
    },
    "overloadManager": {"enabled": True, "maxActiveDownstreamConnections": 10000},
    "headerLimits": {"maxRequestHeadersKb": 64},
    "gracefulShutdown": {"drainTimeout": "45s"},
}


async def fleet_pods(env: Environment) -> list[Object]:
    home = env.tenant.hub_namespace
    found = await env.management.list(resources.PODS, home, label_selector=names.LABEL_FLEET)
    return [pod for pod in found.items if not view.deleting(pod)]


@asynccontextmanager
async def configured(env: Environment, **envoy_proxy: Any) -> AsyncIterator[None]:
    """Change the fleets' settings for the block; afterwards they are as they were, and so are the pods."""
    client, where = env.management, names.MANAGER_NAMESPACE
    before = await client.get(resources.CONFIGS, names.CONFIG_NAME, where)
    known = view.get(before, "spec", "envoyProxy", default={})
    undo = {"spec": {"envoyProxy": {key: known.get(key) for key in envoy_proxy}}}
    old = await fleet_pods(env)
    await client.patch(resources.CONFIGS, names.CONFIG_NAME, {"spec": {"envoyProxy": envoy_proxy}}, where)
    try:
        yield
        changed = await fleet_pods(env)
    finally:
        await client.patch(resources.CONFIGS, names.CONFIG_NAME, undo, where)
    if {view.uid(pod) for pod in old} != {view.uid(pod) for pod in changed}:
        await renewed(env, changed)


async def renewed(env: Environment, old: list[Object]) -> None:
    """Wait until a fleet runs in other pods, all ready, and the old ones are gone."""
    home, uids = env.tenant.hub_namespace, [view.uid(pod) for pod in old]
    assert uids, "there are pods to replace"
    await env.replaced(env.management, home, home, uids)

    async def gone() -> None:
        found = await env.management.list(resources.PODS, home, label_selector=names.LABEL_FLEET)
        left = [view.name(pod) for pod in found.items if view.uid(pod) in uids]
        assert not left, f"still there: {left}"

    await env.wait.eventually("removed", gone)


async def settled(env: Environment, address: str, host: str) -> None:
    """Wait until the whole fleet serves, and until kube-proxies, which may be a second behind, know all of it."""
    await env.replaced(env.management, env.tenant.hub_namespace, env.tenant.hub_namespace, [])

    async def answers() -> None:
        for number in range(300):
            answer = await env.traffic.get(address, host)
            assert answer.status == 200, f"request {number}: {answer.status} {answer.error}"

    await env.wait.eventually("served", answers)


async def test_rolling_update_under_load(env: Environment) -> None:
    """Settings change, all Envoys are replaced: kept-alive, idle, new, long and layer-4 connections go on, none is cut."""
    tenant, host = env.tenant, env.host()
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    await tenant.load_balancer("lines", app="echo")
    address = await env.served(tenant, "web", host)
    lines = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "lines"))

    async def talks() -> None:
        assert (await env.traffic.tcp(lines, 9000))["text"]

    await env.wait.eventually("served", talks)
    await settled(env, address, host)
    old = await fleet_pods(env)
    long = asyncio.create_task(env.traffic.get(address, host, "/delay/12", timeout=40))
    busy = env.traffic.load(address, host, connections=6, fresh=4, rate=100)
    idle = env.traffic.load(address, host, connections=12, fresh=0, rate=4)
    async with (
        busy as busy_tally,
        idle as idle_tally,
        configured(env, **SETTINGS),
    ):
        async with env.traffic.talk(lines, 9000) as talk_tally:
            await env.replaced(env.management, tenant.hub_namespace, tenant.hub_namespace, [view.uid(p) for p in old])
            answer = await long
        # The drain waits for the connection of layer 4, which cannot be told anything.
        await renewed(env, old)
        pods = await fleet_pods(env)
        assert len(pods) == SETTINGS["replicas"]
        for pod in pods:
            assert {"key": "edge", "operator": "Exists"} in pod["spec"]["tolerations"]
            assert pod["spec"]["affinity"] == SETTINGS["affinity"]
            [envoy] = pod["spec"]["containers"]
            assert envoy["resources"] == SETTINGS["resources"]
            assert "global_downstream_max_connections" in str(envoy["args"])
    assert answer.status == 200, answer.error
    for tally, least in ((busy_tally, 500), (idle_tally, 40), (talk_tally, 50)):
        assert tally.failures == 0, str(tally)
        assert tally.requests > least, str(tally)


async def test_deployment_and_daemonset_under_load(env: Environment) -> None:
    """The fleet becomes a DaemonSet and a Deployment again: nothing is left behind, no request fails."""
    tenant, host = env.tenant, env.host()
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    address = await env.served(tenant, "web", host)
    home, name = tenant.hub_namespace, names.fleet_deployment(tenant.hub_namespace)

    async def only(resource: resources.Resource, other: resources.Resource) -> None:
        assert [view.name(item) for item in (await env.management.list(resource, home)).items] == [name]
        assert (await env.management.list(other, home)).items == []

    await settled(env, address, host)
    async with env.traffic.load(address, host, rate=100) as tally:
        old = await fleet_pods(env)
        async with configured(env, useDaemonset=True):
            await renewed(env, old)
            await only(resources.DAEMON_SETS, resources.DEPLOYMENTS)
        await only(resources.DEPLOYMENTS, resources.DAEMON_SETS)
    assert tally.failures == 0, str(tally)
    assert tally.requests > 500, str(tally)
