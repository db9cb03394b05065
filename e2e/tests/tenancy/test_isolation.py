"""Tenants: same names side by side, and a credential that opens nothing else."""

from __future__ import annotations

import pytest

from kubelb_common.kube import resources
from kubelb_common.kube.errors import Forbidden
from kubelb_e2e.scenario import Environment


async def test_same_names_in_two_tenants(env: Environment) -> None:
    """Two tenants use equal namespaces, names and Services; each host reaches its own pods."""
    addresses = {}
    for number, tenant in enumerate(env.tenants[:2]):
        await tenant.app("echo")
        host = f"tenant-{number}.{tenant.namespace}.example.com"
        await tenant.ingress("web", (host, "/", "echo"))
        addresses[host] = (tenant, await env.served(tenant, "web", host))
    for host, (tenant, address) in addresses.items():
        pods = await tenant.client.list(resources.PODS, tenant.namespace, label_selector="app=echo")
        names = [pod["metadata"]["name"] for pod in pods.items]
        answer = await env.traffic.get(address, host)
        assert answer.pod in names, f"{host}: {answer.pod!r} is none of {names}"
        for other, (_, elsewhere) in addresses.items():
            if other != host:
                assert (await env.traffic.get(elsewhere, host)).status == 404, f"{host} is served at {other}'s address"


async def test_generated_credential_opens_nothing_else(env: Environment) -> None:
    """Real requests with the agent's credential: 403 outside its namespace and on every status."""
    one, two = env.tenants[:2]
    await one.agent.list(resources.ROUTES, one.hub_namespace)
    for resource in (resources.ROUTES, resources.LOAD_BALANCERS, resources.ADDRESSES, resources.SECRETS):
        with pytest.raises(Forbidden):
            await one.agent.list(resource, two.hub_namespace)
    for resource in (resources.SECRETS, resources.SERVICES, resources.INGRESSES, resources.PODS):
        with pytest.raises(Forbidden):
            await one.agent.list(resource, one.hub_namespace)
    with pytest.raises(Forbidden):
        await one.agent.list(resources.TENANTS)
    with pytest.raises(Forbidden):
        await one.agent.list(resources.SECRETS, "kubelb")
    patch = {"status": {"conditions": []}}
    for resource, name in ((resources.ADDRESSES, "default"), (resources.TENANT_STATES, "default")):
        with pytest.raises(Forbidden):
            await one.agent.patch(resource, name, patch, one.hub_namespace, subresource="status")
    with pytest.raises(Forbidden):
        await one.agent.create(
            resources.LOAD_BALANCERS,
            {"metadata": {"name": "x"}, "spec": {"endpoints": [{"ports": [{"port": 30000}]}]}},
            two.hub_namespace,
        )
