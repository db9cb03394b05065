"""The life of a tenant: its token rotates, it is removed while its agent runs, it comes back under the same name."""

from __future__ import annotations

import asyncio
import base64
import json
import sys

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import NotFound, Unauthorized
from kubelb_common.objects import view
from kubelb_e2e.clusters.base import MANAGEMENT, Capability, credential_name
from kubelb_e2e.scenario import Environment, Tenant

pytestmark = [pytest.mark.long, pytest.mark.needs(Capability.LOAD, Capability.QUICK_VOLUMES)]


async def command(env: Environment, *args: str) -> str:
    """Run `kubelb-manager` as an admin does, with a kubeconfig of the management cluster."""
    line = [sys.executable, "-m", "kubelb_manager", *args, "--kubeconfig", str(env.lab.kubeconfig(MANAGEMENT))]
    process = await asyncio.create_subprocess_exec(
        *line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"kubelb-manager {' '.join(args)}: {err.decode()}"
    return out.decode()


def tenant_of(tenant: Tenant) -> str:
    return names.tenant_of_namespace(tenant.hub_namespace)


async def carry(env: Environment, tenant: Tenant) -> None:
    """Bring the generated kubeconfig to the agent, and to this test's own client."""
    text = await command(env, "tenants", "kubeconfig", tenant_of(tenant))
    data = {names.CCM_KUBECONFIG_KEY: base64.b64encode(text.encode()).decode()}
    await tenant.client.patch(resources.SECRETS, names.CCM_CLUSTER_SECRET, {"data": data}, names.MANAGER_NAMESPACE)
    env.lab.keep_credential(tenant.name, text)
    env.lab.kubeconfig(credential_name(tenant.name))  # written anew, and the client reads it again


async def agent_pods(tenant: Tenant) -> list[tuple[str, int]]:
    """Return UID and restarts of the agent's pods."""
    found = await tenant.client.list(resources.PODS, "kubelb", label_selector=f"{names.LABEL_APP_NAME}=kubelb-ccm")
    return [
        (view.uid(pod), sum(item.get("restartCount", 0) for item in view.objects(pod, "status", "containerStatuses")))
        for pod in found.items
    ]


async def test_rotate_under_load(env: Environment) -> None:
    """A tenant's token is rotated under load: no request fails, the agent goes on with the new one, the old one ends."""
    tenant, host, late, later = env.tenant, env.host(), env.host("late"), env.host("later")
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    address = await env.served(tenant, "web", host)
    pods = await agent_pods(tenant)
    before = await env.management.get(resources.TENANTS, tenant_of(tenant))
    old_secret = view.text(before, "status", "credential", "secret")
    async with env.traffic.load(address, host, rate=200) as tally:
        await command(env, "tenants", "rotate", tenant_of(tenant), "--overlap", "15s")
        await tenant.ingress("late", (late, "/", "echo"))
        await env.served(tenant, "late", late)
        await carry(env, tenant)

        async def old_token_is_gone() -> None:
            try:
                await env.management.get(resources.SECRETS, old_secret, tenant.hub_namespace)
            except NotFound:
                return
            raise AssertionError(f"Secret {old_secret} is still there")

        await env.wait.eventually("removed", old_token_is_gone)
        # An API server remembers a token that it accepted for ten seconds.
        await tenant.ingress("later", (later, "/", "echo"))
        await env.served(tenant, "later", later)
        for name in ("late", "later"):
            await tenant.delete(resources.INGRESSES, name)
            await env.wait.eventually("removed", lambda name=name: tenant.gone(resources.INGRESSES, name))
    assert tally.failures == 0, str(tally)
    assert tally.requests > 500, str(tally)
    assert await agent_pods(tenant) == pods, "the agent did not restart"
    await tenant.agent.list(resources.ROUTES, tenant.hub_namespace)


async def test_removed_and_back_while_another_is_under_load(env: Environment) -> None:
    """A tenant is removed while its agent runs and finalizers are on everything, and comes back under its name at once.

    The other tenant loses no request.
    """
    tenant, other = env.tenants[:2]
    host, theirs = env.host(), env.host("other")
    await other.app("echo")
    await other.ingress("web", (theirs, "/", "echo"))
    elsewhere = await env.served(other, "web", theirs)
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    await tenant.load_balancer("tcp", app="echo")
    await env.served(tenant, "web", host)
    await env.wait.eventually("status", lambda: tenant.address(resources.SERVICES, "tcp"))
    pods = await agent_pods(tenant)
    route = await env.route_of(tenant, "web")
    stuck = {"metadata": {"finalizers": [*view.finalizers(route), "example.com/never"]}}
    await tenant.agent.patch(resources.ROUTES, view.name(route), stuck, tenant.hub_namespace)

    async with env.traffic.load(elsewhere, theirs, rate=200) as tally:
        await command(env, "tenants", "remove", tenant_of(tenant), "--yes", "--timeout", "2m")
        with pytest.raises(NotFound):
            await env.management.get(resources.NAMESPACES, tenant.hub_namespace)

        async def released() -> None:
            for resource, name in ((resources.INGRESSES, "web"), (resources.SERVICES, "tcp")):
                held = view.finalizers(await tenant.get(resource, name))
                assert not held, f"{resource.kind} {name} is held by {held}"
            await tenant.gone(resources.SERVICES, "echo-nodeport")

        await env.wait.eventually("removed", released)

        async def is_refused() -> None:
            try:
                await tenant.agent.list(resources.ROUTES, tenant.hub_namespace)
            except Unauthorized:
                return
            raise AssertionError("the credential of the removed tenant still works")

        await env.wait.eventually("removed", is_refused)
        await command(env, "tenants", "add", tenant_of(tenant), "--timeout", "2m")
        await carry(env, tenant)

        async def is_served() -> None:
            address = await tenant.address(resources.INGRESSES, "web")
            answer = await env.traffic.get(address, host)
            assert answer.status == 200, f"{answer.status} {answer.error}"

        await env.wait.eventually("pod", is_served)
        assert await agent_pods(tenant) == pods, "the agent did not restart"
    assert tally.failures == 0, str(tally)
    assert tally.requests > 500, str(tally)


async def test_proxies_are_seen_through_the_api_server(env: Environment) -> None:
    """`kubelb-manager proxies` shows every ready Envoy of a fleet, its node, and that it is up to date."""
    tenant, host = env.tenant, env.host()
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    await env.served(tenant, "web", host)

    async def up_to_date() -> None:
        shown = json.loads(await command(env, "proxies", "--fleet", tenant.hub_namespace, "-o", "json"))["items"]
        pods = await env.management.list(resources.PODS, tenant.hub_namespace, label_selector=names.LABEL_FLEET)
        places = {view.name(pod): view.text(pod, "spec", "nodeName") for pod in pods.items if not view.deleting(pod)}
        assert {item["pod"]: item["node"] for item in shown} == places
        for item in shown:
            assert item["ready"], item
            assert item["connected"], item
            assert item["refusals"] == [], item
            assert item["generation"]["acknowledged"] == item["generation"]["current"] > 0, item

    await env.wait.eventually("served", up_to_date)
    assert tenant.hub_namespace in await command(env, "proxies")
