"""Hosts between tenants, limits of a tenant, and an object that is nested without end, seen by traffic."""

from __future__ import annotations

import msgspec

from kubelb_common.kube import resources
from kubelb_common.kube.errors import NotFound
from kubelb_common.objects import view
from kubelb_e2e.scenario import Environment, Tenant


async def _says(tenant: Tenant, ingress: str, reason: str) -> None:
    found = await tenant.get(resources.INGRESSES, ingress)
    text = found["metadata"].get("annotations", {}).get("kubelb.k8c.io/status", "")
    assert reason in text, f"annotation of {ingress}: {text!r}"


async def test_a_host_of_another_tenant_is_refused(env: Environment) -> None:
    """Equal and by a wildcard; the refusal names nobody, and the owner loses no request."""
    one, two = env.tenants[:2]
    host = env.host("owned")
    await one.app("echo")
    await one.ingress("web", (host, "/", "echo"))
    address = await env.served(one, "web", host)
    await two.app("echo")
    async with env.traffic.load(address, host) as tally:
        await two.ingress("same", (host, "/", "echo"))
        await two.ingress("above", (f"*.{host.partition('.')[2]}", "/", "echo"))
        for name in ("same", "above"):
            await env.wait.eventually("refused", lambda name=name: _says(two, name, "HostClaimed"))
            found = await two.get(resources.INGRESSES, name)
            assert not view.get(found, "status", "loadBalancer", "ingress"), f"{name} has an address"
            assert one.hub_namespace not in found["metadata"]["annotations"]["kubelb.k8c.io/status"]
        own = env.host("own")
        await two.ingress("own", (own, "/", "echo"))
        await env.served(two, "own", own)
    assert tally.failures == 0, str(tally)


async def test_limits_hold_the_oldest_and_change_under_load(env: Environment) -> None:
    tenant = env.tenants[1]
    name = tenant.hub_namespace.removeprefix("tenant-")
    before = (await env.management.get(resources.TENANTS, name))["spec"].get("limits")
    first, second = env.host("first"), env.host("second")
    await tenant.app("echo")
    await tenant.ingress("first", (first, "/", "echo"))
    address = await env.served(tenant, "first", first)
    in_use = len((await env.management.list(resources.ROUTES, tenant.hub_namespace)).items)
    await env.management.patch(resources.TENANTS, name, {"spec": {"limits": {"routes": in_use}}})
    try:
        async with env.traffic.load(address, first) as tally:
            await tenant.ingress("second", (second, "/", "echo"))
            await env.wait.eventually("refused", lambda: _says(tenant, "second", "LimitExceeded"))
            await env.management.patch(resources.TENANTS, name, {"spec": {"limits": {"routes": in_use + 1}}})
            await env.served(tenant, "second", second)
        assert tally.failures == 0, str(tally)
    finally:
        await env.management.patch(resources.TENANTS, name, {"spec": {"limits": before}})


async def test_an_object_nested_without_end_harms_nobody(env: Environment) -> None:
    """A Route whose free-form part no stack holds: others are served, and it can be removed."""
    tenant = env.tenant
    before, after = env.host("before"), env.host("after")
    await tenant.app("echo")
    await tenant.ingress("before", (before, "/", "echo"))
    address = await env.served(tenant, "before", before)
    good = await env.route_of(tenant, "before")
    depth = 5000
    deep = msgspec.Raw(b'{"a":' * depth + b"1" + b"}" * depth)
    body = {"apiVersion": good["apiVersion"], "kind": "Route", "metadata": {"name": "deep"}}
    spec = {"endpoints": good["spec"]["endpoints"], "source": {"kubernetes": {"resource": deep}}}
    async with env.traffic.load(address, before) as tally:
        await tenant.agent.create(resources.ROUTES, {**body, "spec": spec}, tenant.hub_namespace)

        async def refused() -> None:
            found = await env.condition(resources.ROUTES, "deep", tenant.hub_namespace, "Accepted")
            assert found.get("reason") == "UnsupportedKind", found

        await env.wait.eventually("refused", refused)
        await tenant.ingress("after", (after, "/", "echo"))
        await env.served(tenant, "after", after)
        await tenant.agent.delete(resources.ROUTES, "deep", tenant.hub_namespace)

        async def gone() -> None:
            try:
                await env.management.get(resources.ROUTES, "deep", tenant.hub_namespace)
            except NotFound:
                return
            raise AssertionError("the Route is still there")

        await env.wait.eventually("removed", gone)
    assert tally.failures == 0, str(tally)
