"""UDP, alone and beside TCP under one number, by answered datagrams."""

from __future__ import annotations

from kubelb_common.kube import resources
from kubelb_e2e.scenario import Environment


async def test_udp(env: Environment) -> None:
    """Every datagram is answered, of flows that go on and of new ones, while the application grows."""
    tenant = env.tenant
    await tenant.app("dns")
    await tenant.expose("dns-lb", ("dns", 5353, "UDP"), app="dns")
    address = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "dns-lb"))
    assert (await env.answers(address, 5353, "udp")).startswith("dns-")
    async with env.traffic.load(address, port=5353, protocol="udp", rate=100) as tally:
        await tenant.change(resources.DEPLOYMENTS, "dns", {"spec": {"replicas": 3}})

        async def grown() -> None:
            found = await tenant.get(resources.DEPLOYMENTS, "dns")
            assert found["status"].get("readyReplicas") == 3, found["status"]

        await env.wait.eventually("pod", grown)
        await env.wait.consistently("short", lambda: env.answers(address, 5353, "udp"))
    assert tally.requests > 200
    assert tally.failures == 0, str(tally)
    await tenant.delete(resources.SERVICES, "dns-lb")
    await env.wait.eventually("removed", lambda: tenant.gone(resources.SERVICES, "dns-lb"))
    assert not await env.traffic.ask(address, 5353, "udp", timeout=1)


async def test_tcp_and_udp_under_one_number(env: Environment) -> None:
    """One address, one number, both protocols; a change of one leaves the other alone."""
    tenant = env.tenant
    await tenant.app("dns")
    await tenant.expose("dns-lb", ("dns-tcp", 5300, "TCP"), ("dns-udp", 5300, "UDP"), app="dns")
    address = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "dns-lb"))
    for protocol in ("tcp", "udp"):
        assert (await env.answers(address, 5300, protocol)).startswith("dns-")
    async with env.traffic.load(address, port=5300, protocol="udp", rate=100) as datagrams:
        async with env.traffic.load(address, port=5300, protocol="tcp", rate=100) as lines:
            await env.wait.consistently("short", lambda: env.answers(address, 5300, "tcp"))
        live = await tenant.get(resources.SERVICES, "dns-lb")
        live["spec"]["ports"] = [port for port in live["spec"]["ports"] if port["protocol"] == "UDP"]
        await tenant.client.replace(resources.SERVICES, live, tenant.namespace)

        async def closed() -> None:
            assert not await env.traffic.ask(address, 5300, "tcp", timeout=1), "TCP is still served"

        await env.wait.eventually("removed", closed)
    assert lines.requests > 100
    assert lines.failures == 0, str(lines)
    assert datagrams.requests > 100
    assert datagrams.failures == 0, str(datagrams)
