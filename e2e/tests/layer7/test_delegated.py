"""Ingresses that a third-party controller of the management cluster serves (`ingress.class`)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import third_party

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_e2e.scenario import Environment, Tenant

pytestmark = pytest.mark.long


async def set_class(env: Environment, tenant: Tenant, ingress_class: str | None) -> None:
    """Give one tenant another ingress class; None for the native one."""
    patch = {"spec": {"ingress": {"class": ingress_class}}}
    await env.management.patch(resources.TENANTS, names.tenant_of_namespace(tenant.hub_namespace), patch)


@asynccontextmanager
async def delegated(env: Environment) -> AsyncIterator[str]:
    """Delegate the first tenant's Ingresses to the stand-in while the block runs; give its address."""
    async with third_party.controller(env) as address:
        await set_class(env, env.tenant, third_party.CLASS)
        try:
            yield address
        finally:
            await env.tenant.clear()
            await env.wait.eventually("removed", lambda: env.tenant.gone(resources.INGRESSES, "web"))
            await set_class(env, env.tenant, None)


async def moved_to(env: Environment, tenant: Tenant, address: str) -> None:
    """Wait until the tenant's Ingress shows this address."""

    async def shows() -> None:
        found = await tenant.address(resources.INGRESSES, "web")
        assert found == address, f"the Ingress shows {found}, expected {address}"

    await env.wait.eventually("served", shows)


async def test_a_third_party_controller_serves(env: Environment) -> None:
    """Host and path are the controller's, the way to the tenant is ours, and the application sees the client."""
    tenant, host = env.tenant, env.host()
    for name in ("one", "two"):
        await tenant.app(name)
    async with delegated(env) as address:
        await tenant.ingress("web", (host, "/", "one"), (host, "/two", "two"))
        await moved_to(env, tenant, address)
        assert await env.served(tenant, "web", host) == address
        for path, app in (("/", "one-"), ("/two", "two-"), ("/two/x", "two-"), ("/twofold", "one-")):
            answer = await env.traffic.get(address, host, path)
            assert answer.status == 200, f"{path}: {answer.status} {answer.error}"
            assert answer.pod.startswith(app), f"{path} was answered by {answer.pod!r}"
            assert answer.headers.get("x-served-by") == "standin"
        # What the controller wrote comes first, and Envoy adds the controller.
        chain = json.loads((await env.traffic.get(address, host)).body)["headers"]["x-forwarded-for"].split(",")
        assert len(chain) == 2, chain
        async with env.traffic.load(address, host, rate=60) as tally:
            live = await tenant.get(resources.INGRESSES, "web")
            live["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "two"
            await tenant.client.replace(resources.INGRESSES, live, tenant.namespace)

            async def two_answers() -> None:
                answer = await env.traffic.get(address, host)
                assert answer.pod.startswith("two-"), f"{answer.status} from {answer.pod}"

            await env.wait.eventually("served", two_answers)
            await env.wait.consistently("short", lambda: None)
        assert tally.failures == 0, str(tally)
        assert tally.requests > 30, str(tally)


async def test_class_changes_under_load(env: Environment) -> None:
    """Native, delegated, native: clients that follow the address that the Ingress shows lose no request."""
    tenant, host = env.tenant, env.host()
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    native = await env.served(tenant, "web", host)
    async with third_party.controller(env) as elsewhere:
        try:
            async with env.traffic.load(native, host, rate=60) as there:
                await set_class(env, tenant, third_party.CLASS)
                await moved_to(env, tenant, elsewhere)
                await env.served(tenant, "web", host)
                await env.wait.consistently("short", lambda: None)
            async with env.traffic.load(elsewhere, host, rate=60) as back:
                await set_class(env, tenant, None)
                await moved_to(env, tenant, native)
                await env.wait.consistently("short", lambda: None)
            assert (await env.traffic.get(native, host)).status == 200
        finally:
            await set_class(env, tenant, None)
    for tally in (there, back):
        assert tally.failures == 0, str(tally)
        assert tally.requests > 30, str(tally)
