"""Services of type LoadBalancer, by connections."""

from __future__ import annotations

from kubelb_common.kube import resources
from kubelb_e2e.scenario import Environment


async def test_tcp(env: Environment) -> None:
    """Connections to the address reach a pod; before that they are refused, never accepted and cut."""
    tenant = env.tenant
    await tenant.app("db")
    await tenant.load_balancer("db-lb", app="db")
    address = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "db-lb"))

    async def answers() -> None:
        found = await env.traffic.tcp(address, 9000, "ping\n")
        if found["connected"]:
            cut.append(found) if "db-" not in found["text"] else None
        assert found["text"], f"{address}: {found['error']}"

    cut: list[object] = []
    # The management cluster's own kube-proxy may be a second behind; until then a connection is refused.
    await env.wait.eventually("served", answers)
    for _ in range(20):
        await answers()
    assert not cut, f"accepted and then cut: {cut}"
    await tenant.delete(resources.SERVICES, "db-lb")
    await env.wait.eventually("removed", lambda: tenant.gone(resources.SERVICES, "db-lb"))
    assert not (await env.traffic.tcp(address, 9000, timeout=1))["text"]


async def test_service_leaves_the_type(env: Environment) -> None:
    """A Service that stops being a load balancer is cleaned up at once, its finalizer removed."""
    tenant = env.tenant
    await tenant.app("db")
    await tenant.load_balancer("db-lb", app="db")
    await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "db-lb"))
    live = await tenant.get(resources.SERVICES, "db-lb")
    live["spec"]["type"] = "ClusterIP"
    await tenant.client.replace(resources.SERVICES, live, tenant.namespace)

    async def released() -> None:
        service = await tenant.get(resources.SERVICES, "db-lb")
        assert not service["metadata"].get("finalizers"), service["metadata"]["finalizers"]
        left = await env.management.list(resources.LOAD_BALANCERS, tenant.hub_namespace)
        assert [item for item in left.items if item["metadata"]["name"] == live["metadata"]["uid"]] == []

    await env.wait.eventually("removed", released)
