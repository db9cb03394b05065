"""Two managers: one dies, requests do not notice, and only ever one of them writes."""

from __future__ import annotations

import itertools

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.objects import conditions, view
from kubelb_e2e.audit import writes_of_agents
from kubelb_e2e.clusters.base import MANAGEMENT, Capability
from kubelb_e2e.scenario import Environment

pytestmark = [pytest.mark.long, pytest.mark.needs(Capability.LOAD), pytest.mark.needs(Capability.AUDIT)]
APP = "kubelb-manager"


async def pods(env: Environment) -> list[str]:
    """Return the names of the managers' pods, the leader's first; both are ready."""
    found = await env.management.list(
        resources.PODS, names.MANAGER_NAMESPACE, label_selector=f"{names.LABEL_APP_NAME}={APP}"
    )
    ready = [
        view.name(pod) for pod in found.items if conditions.is_true(view.objects(pod, "status", "conditions"), "Ready")
    ]
    assert len(ready) == 2, f"ready managers: {ready}"
    lease = await env.management.get(resources.LEASES, names.MANAGER_LEASE, names.MANAGER_NAMESPACE)
    leader = view.text(lease, "spec", "holderIdentity").rpartition("_")[0]
    assert leader in ready, f"the Lease names {leader or 'nobody'}, ready are {ready}"
    return sorted(ready, key=lambda name: name != leader)


def writers(env: Environment) -> list[str]:
    """Return which manager made each write in the management cluster, in order."""
    found = writes_of_agents(env.lab)
    return [each.source for each in found if each.cluster == MANAGEMENT and each.user.endswith(f":{APP}")]


def terms(env: Environment, before: int) -> list[str]:
    """Return which manager wrote after the first `before` writes, in order, each term once."""
    return [source for source, _ in itertools.groupby(writers(env)[before:])]


@pytest.mark.parametrize("victim", ["leader", "follower"])
async def test_one_of_two_managers_is_killed_under_load(env: Environment, victim: str) -> None:
    """A manager is killed without a word while requests flow: none fails, and what comes meanwhile is served."""
    tenant, host, late, port = env.tenant, env.host(), env.host("late"), "db"
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    address = await env.served(tenant, "web", host)
    both = await env.wait.eventually("pod", lambda: pods(env))
    before = len(writers(env))
    async with env.traffic.load(address, host, rate=300) as tally:
        name = both[0] if victim == "leader" else both[1]
        await env.management.delete(resources.PODS, name, names.MANAGER_NAMESPACE, grace_period_seconds=0)
        await tenant.ingress("late", (late, "/", "echo"))
        await tenant.load_balancer(port, app="echo")
        await env.served(tenant, "late", late)
        await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, port))
        after = await env.wait.eventually("pod", lambda: pods(env))
    assert tally.failures == 0, str(tally)
    assert tally.requests > 300, str(tally)
    assert name not in after
    wrote = terms(env, before)
    assert wrote, "somebody wrote"
    assert len(set(wrote)) == len(wrote), f"two managers wrote in turns: {wrote}"
    if victim == "follower":
        assert after[0] == both[0], "who leads goes on"
        assert len(wrote) == 1, wrote


async def test_managers_are_replaced_in_order_under_load(env: Environment) -> None:
    """A rolling update of the managers: no request fails, and the Lease is handed over without waiting for its end."""
    tenant, host, late = env.tenant, env.host(), env.host("late")
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    address = await env.served(tenant, "web", host)
    both = await env.wait.eventually("pod", lambda: pods(env))
    before = len(writers(env))
    async with env.traffic.load(address, host, rate=300) as tally:
        restart = {"spec": {"template": {"metadata": {"annotations": {"restarted": host}}}}}
        await env.management.patch(resources.DEPLOYMENTS, APP, restart, names.MANAGER_NAMESPACE)
        await tenant.ingress("late", (late, "/", "echo"))
        await env.served(tenant, "late", late)

        async def replaced() -> None:
            assert not set(await pods(env)) & set(both)

        await env.wait.eventually("pod", replaced)
    assert tally.failures == 0, str(tally)
    wrote = terms(env, before)
    assert len(set(wrote)) == len(wrote), f"two managers wrote in turns: {wrote}"
