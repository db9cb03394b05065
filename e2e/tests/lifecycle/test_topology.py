"""Who shares Envoys with whom is changed live."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.objects import view
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.scenario import Environment

pytestmark = [pytest.mark.long, pytest.mark.needs(Capability.LOAD)]


@asynccontextmanager
async def _connections(env: Environment, address: str, port: int) -> AsyncIterator[list[str]]:
    """Make one connection after another while the block runs; the list holds what went wrong."""
    faults: list[str] = []
    count = 0

    async def connect() -> None:
        nonlocal count
        while True:
            found = await env.traffic.tcp(address, port, "ping\n")
            count += 1
            if not found["text"]:
                faults.append(f"connection {count}: {found}")

    task = asyncio.create_task(connect())
    try:
        yield faults
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert count > 50, f"only {count} connections"


async def _leads_to(env: Environment, fleets: tuple[str, ...]) -> None:
    """Check that every address of the tenant leads to one of these fleets."""
    for service in (await env.management.list(resources.SERVICES, env.tenant.hub_namespace)).items:
        if view.text(service, "spec", "type") == "LoadBalancer":
            fleet = view.labels(service).get(names.LABEL_FLEET, "").partition(".")[2]
            assert fleet.startswith(fleets), f"{view.name(service)} leads to {fleet}, not to {fleets}"


async def test_topology_is_changed_under_load(env: Environment) -> None:
    """shared, dedicated, global and shared again: no request and no connection fails, addresses stay."""
    tenant, host = env.tenant, env.host()
    await tenant.app("echo")
    await tenant.app("db")
    await tenant.ingress("web", (host, "/", "echo"))
    await tenant.load_balancer("db-lb", app="db")
    address = await env.served(tenant, "web", host)
    database = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "db-lb"))
    async with env.traffic.load(address, host, rate=200) as tally, _connections(env, database, 9000) as faults:
        for topology, fleets in (("dedicated", ("ingress", "lb-")), ("global", ("global",)), ("shared", ("shared",))):
            patch = {"spec": {"envoyProxy": {"topology": topology}}}
            await env.management.patch(resources.TENANTS, names.tenant_of_namespace(tenant.hub_namespace), patch)
            await env.wait.eventually("pod", functools.partial(_leads_to, env, fleets))
            assert await tenant.address(resources.INGRESSES, "web") == address
            assert await tenant.address(resources.SERVICES, "db-lb") == database
            assert (await env.traffic.get(address, host)).status == 200
    assert tally.failures == 0, str(tally)
    assert tally.requests > 300, str(tally)
    assert faults == []
