"""Config and Tenant by traffic: what is switched off, and what is malformed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.objects import conditions, view
from kubelb_e2e.scenario import Environment, Tenant


async def configure(env: Environment, tenant: Tenant | None, spec: dict[str, Any]) -> None:
    """Patch the spec of a Tenant, or of Config."""
    if tenant is not None:
        name = names.tenant_of_namespace(tenant.hub_namespace)
        await env.management.patch(resources.TENANTS, name, {"spec": spec})
    else:
        await env.management.patch(resources.CONFIGS, names.CONFIG_NAME, {"spec": spec}, names.MANAGER_NAMESPACE)


@asynccontextmanager
async def restored(env: Environment, tenant: Tenant | None, *fields: str) -> AsyncIterator[None]:
    """Take fields of the spec away again at the end."""
    try:
        yield
    finally:
        await configure(env, tenant, dict.fromkeys(fields))


@pytest.mark.parametrize("where", ["Config", "Tenant"])
async def test_disable_and_clear(env: Environment, where: str) -> None:
    """What is disabled answers nothing and shows no address; cleared, it answers at the same addresses."""
    tenant, host = env.tenant, env.host()
    target = tenant if where == "Tenant" else None
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    await tenant.load_balancer("tcp", app="echo")
    http = await env.served(tenant, "web", host)
    tcp = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "tcp"))

    async def connects(*, wanted: bool) -> None:
        found = await env.traffic.tcp(tcp, 9000, timeout=2)
        assert bool(found["connected"] and found["text"]) is wanted, f"TCP: {found}"
        answer = await env.traffic.get(http, host, timeout=2)
        assert (answer.status == 200) is wanted, f"HTTP: {answer.status} {answer.error}"

    async def no_address() -> None:
        for resource, name in ((resources.INGRESSES, "web"), (resources.SERVICES, "tcp")):
            found = view.get(await tenant.get(resource, name), "status", "loadBalancer", "ingress")
            assert not found, f"{name} shows {found}"

    await env.wait.eventually("served", lambda: connects(wanted=True))
    async with restored(env, target, "ingress", "loadBalancer"):
        await configure(env, target, {"ingress": {"disable": True}, "loadBalancer": {"disable": True}})
        await env.wait.eventually("removed", lambda: connects(wanted=False))
        await env.wait.eventually("status", no_address)
        left = (await env.management.list(resources.INGRESSES, tenant.hub_namespace)).items
        assert left == [], "copies are left"
    await env.wait.eventually("served", lambda: connects(wanted=True))
    assert await env.wait.eventually("status", lambda: tenant.address(resources.INGRESSES, "web")) == http
    assert await env.wait.eventually("status", lambda: tenant.address(resources.SERVICES, "tcp")) == tcp


async def test_malformed_settings_change_nothing(env: Environment) -> None:
    """A malformed Tenant is named in a condition and an Event; the last good one holds, also for a new manager."""
    tenant, host = env.tenant, env.host()
    name = names.tenant_of_namespace(tenant.hub_namespace)
    await tenant.app("echo")
    async with restored(env, tenant, "hosts", "deniedAddresses"):
        await configure(env, tenant, {"hosts": {"allowed": [host]}})

        async def valid(*, wanted: str) -> str:
            found = await env.management.get(resources.TENANTS, name)
            item = conditions.find(view.objects(found, "status", "conditions"), "SettingsValid") or {}
            told = (item.get("status"), item.get("observedGeneration"))
            assert told == (wanted, view.generation(found)), f"SettingsValid is {item}"
            return str(item["message"])

        await env.wait.eventually("status", lambda: valid(wanted="True"))
        await configure(env, tenant, {"hosts": {"allowed": ["http://x"]}, "deniedAddresses": ["0.0.0.0/33"]})
        message = await env.wait.eventually("status", lambda: valid(wanted="False"))
        assert "spec.hosts.allowed[0]" in message
        assert "spec.deniedAddresses[0]" in message
        events = (await env.management.list(resources.EVENTS, "default")).items
        assert [
            item for item in events if item["reason"] == "InvalidSettings" and item["involvedObject"]["name"] == name
        ]
        old = await env.kill_pods(env.management, names.MANAGER_NAMESPACE, "kubelb-manager")
        await env.replaced(env.management, names.MANAGER_NAMESPACE, "kubelb-manager", old)
        await tenant.ingress("web", (host, "/", "echo"))
        await env.served(tenant, "web", host)
        await tenant.ingress("other", (f"other.{host}", "/", "echo"))

        async def refused() -> None:
            route = await env.route_of(tenant, "other")
            item = conditions.find(view.objects(route, "status", "conditions"), "Accepted") or {}
            assert item.get("reason") == "HostNotAllowed", f"Accepted is {item}"

        await env.wait.eventually("refused", refused)
