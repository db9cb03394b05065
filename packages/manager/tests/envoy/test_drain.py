"""A real Envoy leaves while clients use it: what they notice, and when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest

from kubelb_common.runtime.clock import SystemClock
from kubelb_manager.agent.admin import AdminClient, EnvoyGone
from kubelb_manager.agent.drain import Drain
from kubelb_manager.agent.server import AgentServer
from kubelb_manager.delivery.cache import Cache
from kubelb_manager.ir.model import Forward, L4Listener, Layer

pytestmark = pytest.mark.real_envoy
HOST = "h.example.com"
TOKEN = "t0ken"
#: A limit that no test reaches: what ends a drain is its clients.
LIMIT = 600.0


class Upstream:
    """Answers requests at once, except: `/slow` sends half of its body and the rest when told, an upgrade echoes."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                if "upgrade: websocket" in head.lower():
                    writer.write(
                        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
                    )
                    while data := await reader.read(100):
                        writer.write(data)
                    return
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
                if " /slow " in head:
                    await self.go_on.wait()
                writer.write(b"world")
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@dataclass
class Client:
    """One connection, kept."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def head(self, path: str = "/", extra: str = "") -> str:
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{extra}\r\n".encode())
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def get(self, path: str = "/") -> tuple[str, str]:
        """Return status and body, and leave the connection if told so, as every client does."""
        head = await self.head(path)
        body = (await self.reader.readexactly(10)).decode()
        if "connection: close" in head:
            self.writer.close()
        return head.split(" ")[1], body

    @property
    def is_open(self) -> bool:
        return not self.writer.is_closing()


@dataclass
class Leaving:
    """An Envoy with an agent beside it."""

    port: int
    tcp_port: int
    upstream: Upstream
    url: str
    envoy: object

    async def ask(self, path: str, token: str = TOKEN) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession() as session, session.get(self.url + path, headers=headers) as response:
            return response.status, await response.text()

    @asynccontextmanager
    async def drained(self) -> AsyncIterator[asyncio.Task[tuple[int, str]]]:
        """Have the kubelet's preStop hook run beside the block; it must have ended soon after it."""
        hook = asyncio.create_task(self.ask("/drain"))
        try:
            async with asyncio.timeout(30):
                yield hook
                status, text = await hook
            assert (status, text.rpartition(" ")[2]) == (200, "0\n"), text
        finally:
            hook.cancel()


@pytest.fixture
async def leaving(lab) -> AsyncIterator[Leaving]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    up_port = server.sockets[0].getsockname()[1]
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port, tcp_port = lab.free_port(), lab.free_port()
    fleet = lab.fleet(
        port,
        [lab.table(HOST, Forward("a"))],
        [lab.cluster("a", up_port), lab.cluster("t", up_port, layer=Layer.L4)],
        l4=(L4Listener("tcp", tcp_port, "t"),),
    )
    generation = lab.publish(cache, fleet)
    envoy = await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    admin = AdminClient(f"http://127.0.0.1:{envoy.admin_port}", (envoy.stats_port, envoy.ready_port))
    agent = AgentServer("127.0.0.1", 0, admin, Drain(admin, SystemClock(), timeout=LIMIT, minimum=0.2), TOKEN)
    running = asyncio.create_task(agent.run())
    await lab.until(lambda: agent.port, "the agent listens")
    made = Leaving(port, tcp_port, upstream, f"http://127.0.0.1:{agent.port}", envoy)

    async def answers() -> bool:
        return (await lab.request(port, HOST)).status == 200

    await lab.until(answers, "Envoy serves")
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    server.close()


async def test_kept_alive_clients_are_told_and_none_is_cut(lab, leaving) -> None:
    clients = [await Client.connect(leaving.port) for _ in range(8)]
    for client in clients:
        assert await client.get() == ("200", "helloworld")
    assert all(client.is_open for client in clients)
    async with leaving.drained() as hook:
        # Who comes late finds an open door, and is told too.
        await lab.until(lambda: draining(leaving), "Envoy drains")
        late = await Client.connect(leaving.port)
        assert await late.get() == ("200", "helloworld")
        assert not late.is_open
        for client in clients:
            assert not hook.done()
            assert await leaving.ask("/ready") == (200, "DRAINING\n")
            assert await client.get() == ("200", "helloworld")
            assert not client.is_open
    assert (await leaving.ask("/ready"))[0] == 503


async def draining(leaving) -> bool:
    return "DRAINING" in (await leaving.ask("/ready"))[1]


async def test_a_download_a_websocket_and_a_tcp_connection_end_by_themselves(lab, leaving) -> None:
    download = await Client.connect(leaving.port)
    assert "200" in await download.head("/slow")
    socket = await Client.connect(leaving.port)
    assert "101" in await socket.head("/", "Connection: upgrade\r\nUpgrade: websocket\r\n")
    raw = await Client.connect(leaving.tcp_port)
    assert "200" in await raw.head("/slow")
    async with leaving.drained() as hook:
        await lab.until(lambda: draining(leaving), "Envoy drains")
        leaving.upstream.go_on.set()
        assert await download.reader.readexactly(10) == b"helloworld"
        assert await raw.reader.readexactly(10) == b"helloworld"
        for text in (b"one", b"two"):
            socket.writer.write(text)
            assert await socket.reader.readexactly(3) == text
        # An idle connection of layer 4 cannot be told anything; the drain waits for it.
        for client in (download, socket, raw):
            assert not hook.done()
            client.writer.close()


async def test_only_the_pods_own_hook_may_drain(lab, leaving) -> None:
    assert await leaving.ask("/ready") == (200, "LIVE\n")
    for token in ("", "t0ke", "t0kenn"):
        assert (await leaving.ask("/drain", token))[0] == 403
    assert await leaving.ask("/ready") == (200, "LIVE\n")
    await leaving.envoy.stop()
    status, text = await leaving.ask("/ready")
    assert (status, text[:23]) == (503, "Envoy does not answer: ")


async def test_an_envoy_that_is_gone(lab) -> None:
    with pytest.raises(EnvoyGone):
        await AdminClient(f"http://127.0.0.1:{lab.free_port()}", ()).connections()
