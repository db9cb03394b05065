"""What the real Envoy makes of a tenant's share: at once, and without touching what is open."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from kubelb_manager.delivery.cache import Cache
from kubelb_manager.ir.model import Fleet, Forward, L4Listener, Layer, Share

pytestmark = pytest.mark.real_envoy


class Connection:
    """A connection to Envoy's port, kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, stack: AsyncExitStack, port: int) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(writer.close)
        return cls(reader, writer)

    async def asks(self, path: str = "/") -> int:
        """Return the status of a request over this connection; 0 if it was cut."""
        try:
            self._writer.write(f"GET {path} HTTP/1.1\r\nHost: a.example.com\r\n\r\n".encode())
            async with asyncio.timeout(20):
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (
                        int(line.split(":")[1])
                        for line in head.splitlines()
                        if line.lower().startswith("content-length")
                    ),
                    0,
                )
                await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            return 0
        return int(head.split(" ", 2)[1])


def with_share(fleet: Fleet, share: Share) -> Fleet:
    return replace(fleet, shares=(("tenant-a", share),))


async def published(lab, cache: Cache, fleet: Fleet) -> None:
    await lab.routed(cache, lab.publish(cache, fleet))


async def test_connections_of_an_http_listener(lab) -> None:
    """Beyond the share a connection is closed at once; a lower share closes none that is open."""
    upstream = await lab.upstream("one")
    cache, port = Cache(), lab.free_port()
    fleet = lab.fleet(port, [lab.table("a.example.com", Forward("one"))], [lab.cluster("one", upstream.port)])
    await published_first(lab, cache, fleet)
    async with AsyncExitStack() as stack:
        held = [await Connection.open(stack, port) for _ in range(4)]
        assert [await each.asks() for each in held] == [200] * 4
        await published(lab, cache, with_share(fleet, Share(connections=5)))
        fifth = await Connection.open(stack, port)
        assert await fifth.asks() == 200
        assert await (await Connection.open(stack, port)).asks() == 0, "the sixth"
        await published(lab, cache, with_share(fleet, Share(connections=2)))
        assert [await each.asks() for each in (*held, fifth)] == [200] * 5, "nothing that is open is cut"
        assert await (await Connection.open(stack, port)).asks() == 0
        await published(lab, cache, fleet)
        assert await (await Connection.open(stack, port)).asks() == 200, "no limit any more"
        assert [await each.asks() for each in (*held, fifth)] == [200] * 5


async def test_connections_of_layer_4_are_those_of_its_tenant(lab) -> None:
    upstream = await lab.upstream("one")
    cache, mine, theirs = Cache(), lab.free_port(), lab.free_port()
    listeners = (
        L4Listener(f"tenant-a/lb/80/{mine}/tcp", mine, "one"),
        L4Listener(f"tenant-b/lb/80/{theirs}/tcp", theirs, "one"),
    )
    fleet = lab.fleet(0, [], [lab.cluster("one", upstream.port, layer=Layer.L4)], l4=listeners)
    await published_first(lab, cache, with_share(fleet, Share(connections=1)))
    async with AsyncExitStack() as stack:
        held = await Connection.open(stack, mine)
        await lab.until(held.asks, "the cluster is warm")
        assert await (await Connection.open(stack, mine)).asks() == 0
        for _ in range(3):
            assert await (await Connection.open(stack, theirs)).asks() == 200
        assert await held.asks() == 200


async def test_requests_per_second(lab) -> None:
    """A bucket over all hosts and connections, which a change of routes does not fill again."""
    upstream = await lab.upstream("one")
    cache, port = Cache(), lab.free_port()
    clusters = [lab.cluster("one", upstream.port)]
    fleet = lab.fleet(port, [lab.table("a.example.com", Forward("one"))], clusters)
    await published_first(lab, cache, fleet)
    async with AsyncExitStack() as stack:
        held = await Connection.open(stack, port)
        assert Counter([await held.asks() for _ in range(100)]) == {200: 100}, "no limit"
        limited = with_share(fleet, Share(requests=5))
        await published(lab, cache, limited)
        began = asyncio.get_running_loop().time()
        found = Counter([await held.asks() for _ in range(100)])
        took = asyncio.get_running_loop().time() - began
        assert found[200] + found[429] == 100, found
        assert 5 <= found[200] <= 5 * (2 + took), f"{found} in {took:.1f} s"
        began = asyncio.get_running_loop().time()
        more = Counter()
        for number in range(10):
            tables = [lab.table("a.example.com", Forward("one")), lab.table(f"b{number}.example.com", Forward("one"))]
            await published(lab, cache, with_share(lab.fleet(port, tables, clusters), Share(requests=5)))
            more += Counter([await held.asks() for _ in range(5)])
        took = asyncio.get_running_loop().time() - began
        assert more[200] <= 5 * (2 + took), f"{more} in {took:.1f} s: a change of routes filled the bucket"
        await published(lab, cache, fleet)
        assert Counter([await held.asks() for _ in range(50)]) == {200: 50}, "no limit any more, on the same connection"


async def published_first(lab, cache: Cache, fleet: Fleet) -> None:
    _, xds = await lab.xds(cache)
    generation = lab.publish(cache, fleet)
    envoy = await lab.envoy(xds)
    await lab.until(envoy.is_ready, "ready")
    await lab.routed(cache, generation)
