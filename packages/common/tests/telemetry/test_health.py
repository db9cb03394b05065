from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from kubelb_common.telemetry import metrics
from kubelb_common.telemetry.health import CannotListen, HealthServer


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


async def fetch(session: aiohttp.ClientSession, server: HealthServer, path: str) -> tuple[int, str]:
    async with session.get(f"http://127.0.0.1:{server.port}{path}") as response:
        return response.status, await response.text()


async def test_checks_decide_and_are_asked_each_time(session: aiohttp.ClientSession) -> None:
    wrong: dict[str, str] = {}
    server = HealthServer(
        "127.0.0.1", 0, live={"loop": lambda: wrong.get("loop")}, ready={"sync": lambda: wrong.get("sync")}
    )
    await server.start()
    assert await fetch(session, server, "/healthz") == (200, "ok\n")
    assert await fetch(session, server, "/readyz") == (200, "ok\n")
    wrong["sync"] = "still waiting for routes"
    assert await fetch(session, server, "/healthz") == (200, "ok\n")
    assert await fetch(session, server, "/readyz") == (503, "sync: still waiting for routes\n")
    wrong["loop"] = "stalled"
    assert await fetch(session, server, "/healthz") == (503, "loop: stalled\n")
    assert (await fetch(session, server, "/readyz"))[1] == "loop: stalled\nsync: still waiting for routes\n"
    await server.stop()


async def test_metrics_are_shown(session: aiohttp.ClientSession) -> None:
    metrics.RECONCILES.labels("shown", "done").inc()
    server = HealthServer("127.0.0.1", 0)
    await server.start()
    status, text = await fetch(session, server, "/metrics")
    await server.stop()
    assert status == 200
    assert 'kubelb_reconcile_total{controller="shown",result="done"} 1.0' in text


async def test_a_taken_port_is_a_clear_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port} is in use by another process; choose another"):
            await HealthServer("127.0.0.1", port).start()


async def test_run_serves_until_cancelled(session: aiohttp.ClientSession) -> None:
    server = HealthServer("127.0.0.1", 0)
    await server.start()
    port = server.port
    task = asyncio.create_task(server.run())
    assert (await fetch(session, server, "/healthz"))[0] == 200
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await session.get(f"http://127.0.0.1:{port}/healthz")
