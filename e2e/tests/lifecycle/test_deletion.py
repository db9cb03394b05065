"""Everything goes, in both clusters, and nothing sticks."""

from __future__ import annotations

from kubelb_common.kube import resources
from kubelb_common.objects import view
from kubelb_e2e.scenario import Environment


async def test_deleted_ingress_leaves_nothing(env: Environment) -> None:
    """Ingress, Route, twin and native copy are gone; the application's own Service stays."""
    tenant, host = env.tenant, env.host()
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    address = await env.served(tenant, "web", host)
    route = await env.route_of(tenant, "web")
    await tenant.delete(resources.INGRESSES, "web")
    await env.wait.eventually("removed", lambda: tenant.gone(resources.INGRESSES, "web"))
    await env.wait.eventually("removed", lambda: tenant.gone(resources.SERVICES, "echo-nodeport"))

    async def hub_is_clean() -> None:
        for resource in (resources.ROUTES, resources.INGRESSES):
            left = (await env.management.list(resource, tenant.hub_namespace)).items
            mine = [
                view.name(item) for item in left if view.uid(route) in str(item) or view.uid(item) == view.uid(route)
            ]
            assert not mine, f"{resource.kind} left: {mine}"

    await env.wait.eventually("removed", hub_is_clean)
    await tenant.get(resources.SERVICES, "echo")
    answer = await env.traffic.get(address, host, timeout=1)
    assert answer.status in (0, 404), f"{answer.status}: still served"


async def test_shared_twin_stays_while_somebody_needs_it(env: Environment) -> None:
    """Deleting one of two Ingresses that share a backend disturbs nothing."""
    tenant, one, two = env.tenant, env.host("one"), env.host("two")
    await tenant.app("echo")
    await tenant.ingress("first", (one, "/", "echo"))
    await tenant.ingress("second", (two, "/", "echo"))
    await env.served(tenant, "first", one)
    address = await env.served(tenant, "second", two)
    async with env.traffic.load(address, two) as tally:
        await tenant.delete(resources.INGRESSES, "first")
        await env.wait.eventually("removed", lambda: tenant.gone(resources.INGRESSES, "first"))
        await tenant.get(resources.SERVICES, "echo-nodeport")
    assert tally.failures == 0, str(tally)
