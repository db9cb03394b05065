"""Limits, as a real Envoy keeps them: headers that are too large, too many connections, too little memory."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from kubelb_manager.bootstrap.render import OverloadLimits
from kubelb_manager.delivery.cache import Cache
from kubelb_manager.ir.model import Forward, HeaderLimits

pytestmark = pytest.mark.real_envoy
HOST = "h.example.com"


class Upstream:
    """Answers with as much header as the path says: `/size/<bytes>`, `/count/<headers>`."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                kind, _, number = head.split(" ")[1].lstrip("/").partition("/")
                extra = "x-large: " + "a" * int(number) + "\r\n" if kind == "size" else ""
                extra += "".join(f"x-{n}: 1\r\n" for n in range(int(number) if kind == "count" else 0))
                writer.write(f"HTTP/1.1 200 OK\r\n{extra}content-length: 2\r\n\r\nok".encode())
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            writer.close()


async def serving(lab, cache: Cache, limits: HeaderLimits, up_port: int, port: int) -> int:
    plain = lab.fleet(port, [lab.table(HOST, Forward("a"))], [lab.cluster("a", up_port)])
    fleet = type(plain)(plain.key, plain.http, plain.l4, plain.clusters, limits)
    return lab.publish(cache, fleet)


@pytest.fixture
async def up_port():
    server = await asyncio.start_server(Upstream().serve, "127.0.0.1", 0, limit=2**24)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_headers_beyond_their_limits(lab, up_port) -> None:
    cache, port = Cache(), lab.free_port()
    _, xds_port = await lab.xds(cache)
    generation = await serving(lab, cache, HeaderLimits(), up_port, port)
    await lab.envoy(xds_port)
    await lab.routed(cache, generation)

    async def ask(path: str = "/", *, size: int = 0, count: int = 0) -> int:
        extra = f"x-large: {'a' * size}\r\n" + "".join(f"x-{n}: 1\r\n" for n in range(count))
        return (await lab.request(port, HOST, path, extra=extra)).status

    async def first() -> bool:
        return await ask() == 200

    await lab.until(first, "served")
    # By default what the original takes: far more than Envoy's own 60 KiB and 100 headers.
    assert [await ask(size=200 * 1024), await ask(count=500)] == [200, 200]
    assert [await ask("/size/50000"), await ask("/count/500")] == [200, 200]

    tally: Counter[int] = Counter()
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            tally[await ask()] += 1

    running = [asyncio.create_task(load()) for _ in range(4)]
    for limits in (HeaderLimits(64, 150, 32), HeaderLimits(128, 150, 32), HeaderLimits(64, 150, 32)):
        seen = tally[200]
        generation = await serving(lab, cache, limits, up_port, port)
        await lab.routed(cache, generation)
        await lab.until(lambda: tally[200] > seen + 40, "requests go on")  # noqa: B023
    stop.set()
    await asyncio.gather(*running)
    assert set(tally) == {200}, tally

    assert [await ask(size=60 * 1024), await ask(size=70 * 1024)] == [200, 431]
    assert [await ask(count=100), await ask(count=200)] == [200, 431]
    assert [await ask("/size/20000"), await ask("/size/40000")] == [200, 502]
    assert [await ask("/count/100"), await ask("/count/200")] == [200, 502]


async def test_connections_beyond_the_limit_are_closed_and_probes_go_on(lab, up_port) -> None:
    cache, port = Cache(), lab.free_port()
    _, xds_port = await lab.xds(cache)
    generation = await serving(lab, cache, HeaderLimits(), up_port, port)
    envoy = await lab.envoy(xds_port, overload=OverloadLimits(max_connections=2))
    await lab.routed(cache, generation)

    async def serves() -> bool:
        return (await lab.request(port, HOST)).status == 200

    await lab.until(serves, "served")
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for reader, writer in held:
        writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\nok")
    assert (await lab.request(port, HOST)).status == 0
    assert await envoy.is_ready()
    assert (await lab.request(envoy.stats_port, "x", "/stats/prometheus")).status == 200
    for _, writer in held:
        writer.close()
    await lab.until(serves, "served again")


async def test_without_memory_requests_are_refused_politely(lab, up_port) -> None:
    cache, port = Cache(), lab.free_port()
    _, xds_port = await lab.xds(cache)
    generation = await serving(lab, cache, HeaderLimits(), up_port, port)
    envoy = await lab.envoy(xds_port, overload=OverloadLimits(max_heap_bytes=2**20))
    await lab.routed(cache, generation)

    async def refuses() -> bool:
        return (await lab.request(port, HOST)).status == 503

    await lab.until(refuses, "a refusal")
    # The admin interface answers all the same, and that is where readiness comes from.
    assert "LIVE" in await envoy.admin("/ready")
