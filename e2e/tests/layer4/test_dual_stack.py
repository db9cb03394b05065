"""IPv6 beside IPv4: an address of each family in the management cluster, node ports of the Service's own families."""

from __future__ import annotations

import pytest

from kubelb_common.kube import resources
from kubelb_common.objects import view
from kubelb_common.testing import builders
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.scenario import ECHO_HTTP, ECHO_TCP, Environment

pytestmark = pytest.mark.needs(Capability.DUAL_STACK)


async def _addresses(env: Environment, name: str) -> list[str]:
    found = await env.tenant.get(resources.SERVICES, name)
    ingress = view.objects(found, "status", "loadBalancer", "ingress")
    families = [":" in item["ip"] for item in ingress]
    assert families == [False, True], f"{name}: {ingress}"
    return [item["ip"] for item in ingress]


@pytest.mark.parametrize("families", [["IPv4"], ["IPv6"], ["IPv6", "IPv4"]], ids="-".join)
async def test_layer_4(env: Environment, families: list[str]) -> None:
    """Connections and datagrams to either address reach a pod, whatever families the tenant's Service has."""
    tenant = env.tenant
    await tenant.app("db")
    wanted = builders.service("db-lb", tenant.namespace).selector(app="db").build()
    wanted["spec"] |= {
        "type": "LoadBalancer",
        "ipFamilies": families,
        "ipFamilyPolicy": "RequireDualStack" if len(families) == 2 else "SingleStack",
        "ports": [
            {"name": protocol.lower(), "port": 9000, "targetPort": ECHO_TCP, "protocol": protocol}
            for protocol in ("TCP", "UDP")
        ],
    }
    await tenant.apply(resources.SERVICES, wanted)
    for address in await env.wait.eventually("served", lambda: _addresses(env, "db-lb")):
        assert (await env.answers(address, 9000, "tcp")).startswith("db-")
        assert (await env.answers(address, 9000, "udp")).startswith("db-")
        async with env.traffic.load(address, port=9000, protocol="tcp", rate=100) as tally:
            await env.wait.consistently("short", lambda: env.answers(address, 9000, "udp"))  # noqa: B023
        assert tally.failures == 0, f"{address}: {tally}"
        assert tally.requests > 100, f"{address}: {tally}"


async def test_layer_7_over_a_service_of_ipv6_alone(env: Environment) -> None:
    """Its twin has node ports in IPv6 alone; requests to both of the Ingress' addresses are answered, none is lost."""
    tenant, host = env.tenant, env.host()
    await tenant.app("web")
    wanted = builders.service("web6", tenant.namespace).selector(app="web").build()
    wanted["spec"] |= {
        "ipFamilies": ["IPv6"],
        "ports": [{"name": "http", "port": 80, "targetPort": ECHO_HTTP, "protocol": "TCP"}],
    }
    await tenant.apply(resources.SERVICES, wanted)
    await tenant.ingress("site", (host, "/", "web6"))
    await env.served(tenant, "site", host)
    ingress = view.objects(await tenant.get(resources.INGRESSES, "site"), "status", "loadBalancer", "ingress")
    assert [":" in item["ip"] for item in ingress] == [False, True], ingress
    for item in ingress:
        async with env.traffic.load(item["ip"], host, rate=100) as tally:
            await env.wait.consistently("short", lambda: env.served(tenant, "site", host))
        assert tally.failures == 0, f"{item}: {tally}"
