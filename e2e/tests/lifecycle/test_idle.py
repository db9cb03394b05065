"""Idle means no write (ruling 35), by the API servers' audit logs."""

from __future__ import annotations

import pytest

from kubelb_e2e.audit import writes_of_agents
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.scenario import Environment


@pytest.mark.needs(Capability.AUDIT)
async def test_no_writes_while_idle(env: Environment) -> None:
    """With objects served and nothing changing, our agents write nothing for a minute."""
    tenant, host = env.tenant, env.host()
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    await tenant.load_balancer("db", app="echo")
    await env.served(tenant, "web", host)

    async def settled() -> None:
        before = writes_of_agents(env.lab)
        await env.wait.consistently("short", lambda: None)
        fresh = writes_of_agents(env.lab)[len(before) :]
        assert not fresh, f"still writing: {fresh[:5]}"

    await env.wait.eventually("status", settled)
    before = len(writes_of_agents(env.lab))
    await env.wait.consistently("quiet", lambda: None)
    fresh = writes_of_agents(env.lab)[before:]
    assert fresh == [], f"{len(fresh)} writes while idle, first: {fresh[:5]}"
