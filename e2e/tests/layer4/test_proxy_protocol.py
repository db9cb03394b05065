"""PROXY protocol, version 2, switched on and off while connections are open."""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_e2e.scenario import Environment


async def test_switched_on_and_off_under_live_connections(env: Environment) -> None:
    """No connection is cut, none is misread: each begins with a header or without, and echoes to its end."""
    tenant = env.tenant
    await tenant.app("mail")
    await tenant.expose("mail-lb", ("smtp", 2525, "TCP"), app="mail")
    address = await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "mail-lb"))
    assert "proxy" not in await env.answers(address, 2525, "tcp")

    async def switched(*, on: bool) -> None:
        value = names.PROXY_PROTOCOL_V2 if on else None
        note = {"metadata": {"annotations": {names.ANNOTATION_PROXY_PROTOCOL: value}}}
        await tenant.change(resources.SERVICES, "mail-lb", note)

        async def check() -> None:
            met = await env.traffic.ask(address, 2525, "tcp")
            assert met.endswith(" proxy") is on, met

        await env.wait.eventually("status", check)

    async with env.traffic.load(address, port=2525, protocol="tcp", connections=6, rate=200) as first:
        await switched(on=True)
        async with env.traffic.load(address, port=2525, protocol="tcp", connections=6, rate=200) as second:
            await env.wait.consistently("short", lambda: env.answers(address, 2525, "tcp"))
            await switched(on=False)
            await env.wait.consistently("short", lambda: env.answers(address, 2525, "tcp"))
            await env.wait.consistently("short", lambda: env.answers(address, 2525, "tcp"))
    for tally in (first, second):
        assert tally.requests > 200
        assert tally.failures == 0, str(tally)
        assert {met.endswith(" proxy") for met in tally.bodies} == {True, False}, tally.bodies
