"""Many ports of one Service, renamed and in another order, under load."""

from __future__ import annotations

from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_e2e.scenario import Environment

PORTS = [(f"tcp-{number}", 6000 + number, "TCP") for number in range(16)]
PORTS += [(f"udp-{number}", 6000 + number, "UDP") for number in range(16)]


async def test_many_ports_are_renamed_and_reordered(env: Environment) -> None:
    """Every port answers before and after; names arrive in the management cluster; open connections and flows go on.

    New connections are not counted: Kubernetes itself refuses those to a port that was renamed, until kube-proxy has
    learnt the new names of its endpoints. In the management cluster that must not be, so there the Service keeps them.
    """
    tenant = env.tenant
    await tenant.app("db")
    service = await tenant.expose("db-lb", *PORTS, app="db")
    address = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "db-lb"))
    for _, number, protocol in PORTS:
        await env.answers(address, number, protocol.lower())
    async with (
        env.traffic.load(address, port=6003, protocol="tcp", connections=8, fresh=0, rate=100) as lines,
        env.traffic.load(address, port=6003, protocol="udp", connections=8, fresh=0, rate=100) as datagrams,
    ):
        live = await tenant.get(resources.SERVICES, "db-lb")
        renamed = [{**port, "name": f"new-{port['name']}"} for port in reversed(live["spec"]["ports"])]
        await tenant.client.replace(resources.SERVICES, _with_ports(live, renamed), tenant.namespace)

        async def arrived() -> None:
            found = await env.management.get(resources.LOAD_BALANCERS, view.uid(service), tenant.hub_namespace)
            ports = view.objects(found, "status", "service", "ports")
            names = {(port["port"], port["protocol"]): port["name"] for port in ports}
            assert names == {(number, protocol): f"new-{name}" for name, number, protocol in PORTS}

        await env.wait.eventually("status", arrived)
        for _, number, protocol in PORTS:
            await env.answers(address, number, protocol.lower())
    for tally in (lines, datagrams):
        assert tally.requests > 20
        assert tally.failures == 0, str(tally)


def _with_ports(service: Object, ports: list[Object]) -> Object:
    return {**service, "spec": {**service["spec"], "ports": ports}}
