"""externalTrafficPolicy Local: only nodes with a ready pod, and a pod that moves under load."""

from __future__ import annotations

from kubelb_common.kube import resources
from kubelb_common.objects import view
from kubelb_e2e.scenario import Environment, Tenant


async def test_a_pod_moves_under_load(env: Environment) -> None:
    """The new pod is ready before the old one ends, and that one drains: no request of either protocol is lost."""
    tenant = env.tenant
    one, two = await nodes(tenant)
    await tenant.app("db", node=one, drain=10)
    service = await tenant.expose(
        "db-lb", ("tcp", 7000, "TCP"), ("udp", 7000, "UDP"), app="db", externalTrafficPolicy="Local"
    )
    address = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "db-lb"))
    before = await env.answers(address, 7000, "tcp")
    await env.answers(address, 7000, "udp")

    async def told() -> list[str]:
        found = await env.management.get(resources.ADDRESSES, view.uid(service), tenant.hub_namespace)
        return [item["ip"] for item in found["spec"]["addresses"] if ":" not in item["ip"]]

    assert await told() == [await internal_ip(tenant, one)]
    async with (
        env.traffic.load(address, port=7000, protocol="tcp", connections=0, fresh=4, rate=200) as lines,
        env.traffic.load(address, port=7000, protocol="udp", connections=2, fresh=2, rate=100) as datagrams,
    ):
        moved = {"spec": {"template": {"spec": {"nodeName": two}}}}
        await tenant.change(resources.DEPLOYMENTS, "db", moved)
        wanted = [await internal_ip(tenant, two)]

        async def there() -> None:
            assert await told() == wanted
            met = {await env.traffic.ask(address, 7000, protocol) for protocol in ("tcp", "udp")}
            assert len(met) == 1, met
            assert before not in met

        await env.wait.eventually("pod", there)

        async def ended() -> None:
            pods = await tenant.client.list(resources.PODS, tenant.namespace, label_selector="app=db")
            assert len(pods.items) == 1, [view.name(pod) for pod in pods.items]

        await env.wait.eventually("pod", ended)
        await env.wait.consistently("short", lambda: env.answers(address, 7000, "udp"))
    for tally in (lines, datagrams):
        assert tally.requests > 200
        assert tally.failures == 0, str(tally)
        assert len(tally.bodies) == 2, tally.bodies


async def nodes(tenant: Tenant) -> tuple[str, str]:
    """Return the names of the tenant's first two nodes."""
    found = sorted(view.name(node) for node in (await tenant.client.list(resources.NODES)).items)
    return found[0], found[1]


async def internal_ip(tenant: Tenant, node: str) -> str:
    """Return the address by which the management cluster reaches a node."""
    found = await tenant.client.get(resources.NODES, node)
    return next(item["address"] for item in found["status"]["addresses"] if item["type"] == "InternalIP")
