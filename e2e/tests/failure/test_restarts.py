"""Agents die; requests do not notice."""

from __future__ import annotations

import pytest

from kubelb_common.kube import resources
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.scenario import Environment

pytestmark = pytest.mark.needs(Capability.LOAD)


async def test_manager_killed_under_load(env: Environment) -> None:
    """The manager's pod is killed while requests flow: none fails; changes made meanwhile arrive."""
    tenant, host, late = env.tenant, env.host(), env.host("late")
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    address = await env.served(tenant, "web", host)
    async with env.traffic.load(address, host, rate=300) as tally:
        old = await env.kill_pods(env.management, "kubelb", "kubelb-manager")
        assert old, "there is a manager to kill"
        await tenant.ingress("late", (late, "/", "echo"))
        await env.replaced(env.management, "kubelb", "kubelb-manager", old)
        await env.served(tenant, "late", late)
    assert tally.failures == 0, str(tally)
    assert tally.requests > 300, str(tally)


async def test_ccm_restarted_while_objects_change(env: Environment) -> None:
    """Objects come, change and go while the tenant's agent is away; all of it arrives afterwards."""
    tenant = env.tenant
    kept, changed, deleted, created = (env.host(name) for name in ("kept", "changed", "deleted", "created"))
    await tenant.app("a")
    await tenant.app("b")
    for name, host in (("kept", kept), ("changed", changed), ("deleted", deleted)):
        await tenant.ingress(name, (host, "/", "a"))
    for name, host in (("kept", kept), ("changed", changed), ("deleted", deleted)):
        address = await env.served(tenant, name, host)
    async with env.traffic.load(address, kept) as tally:
        old = await env.kill_pods(tenant.client, "kubelb", "kubelb-ccm")
        assert old, "there is an agent to kill"
        live = await tenant.get(resources.INGRESSES, "changed")
        live["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "b"
        await tenant.client.replace(resources.INGRESSES, live, tenant.namespace)
        await tenant.delete(resources.INGRESSES, "deleted")
        await tenant.ingress("created", (created, "/", "b"))
        await env.replaced(tenant.client, "kubelb", "kubelb-ccm", old)
        await env.served(tenant, "created", created)
        await env.wait.eventually("removed", lambda: tenant.gone(resources.INGRESSES, "deleted"))

        async def arrived() -> None:
            assert (await env.traffic.get(address, changed)).pod.startswith("b-")
            assert (await env.traffic.get(address, deleted)).status == 404

        await env.wait.eventually("served", arrived)
    assert tally.failures == 0, str(tally)
