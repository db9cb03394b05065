"""What the real Envoy makes of layer 4: changes under live connections, datagrams, PROXY headers, source ranges."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from kubelb_manager.delivery import server as server_module
from kubelb_manager.delivery.cache import Cache
from kubelb_manager.delivery.wire import Incoming
from kubelb_manager.ir.model import Cluster, Endpoint, Fleet, L4Listener, Layer, Protocol
from kubelb_manager.xds.resources import CLUSTER, EXTENSIONS, LISTENER

pytestmark = pytest.mark.real_envoy

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@dataclass
class Backend:
    """A TCP server that tells its name first, and what each connection began with; then it sends back what comes."""

    name: str
    port: int = 0
    began: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.name.encode() + b"\n")
        try:
            first = True
            while data := await reader.read(4096):
                if first:
                    self.began.append(data)
                    data, first = (strip(data), False)
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()


def strip(data: bytes) -> bytes:
    """Return what follows a PROXY header, if there is one."""
    if not data.startswith(SIGNATURE):
        return data
    (length,) = struct.unpack("!H", data[14:16])
    return data[16 + length :]


def client_of(header: bytes) -> tuple[str, int]:
    """Return the client that a PROXY v2 header names."""
    assert header.startswith(SIGNATURE), header
    assert header[12] == 0x21, "version 2, not LOCAL"
    assert header[13] == 0x11, "TCP over IPv4"
    source, _, port = struct.unpack("!4s4sH", header[16:26])
    return socket.inet_ntoa(source), port


@dataclass
class Talk:
    """A client's connection that was greeted."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: str

    @property
    def name(self) -> tuple[str, int]:
        return self.writer.get_extra_info("sockname")

    async def says_back(self, text: str) -> bool:
        """Whether the connection still carries `text` there and back."""
        self.writer.write(text.encode() + b"\n")
        try:
            async with asyncio.timeout(10):
                return await self.reader.readline() == text.encode() + b"\n"
        except OSError:
            return False


@asynccontextmanager
async def talk(port: int, source: str = "127.0.0.1") -> AsyncIterator[Talk]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        async with asyncio.timeout(10):
            greeting = (await reader.readline()).decode().strip()
        yield Talk(reader, writer, greeting)
    finally:
        writer.close()


class Datagrams(asyncio.DatagramProtocol):
    """A UDP server that answers its name and what came."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.peers: list[tuple[str, int]] = []
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.peers.append(addr)
        assert self.transport is not None
        self.transport.sendto(self.name.encode() + b" " + data, addr)


class Flow:
    """One client's socket, asked and answered."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((source, 0))
        self._socket.connect(("127.0.0.1", port))

    async def ask(self, data: bytes, seconds: float = 10) -> bytes:
        """Return the answer, nothing if there is none in time."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, data)
        try:
            async with asyncio.timeout(seconds):
                return await loop.sock_recv(self._socket, 65536)
        except (TimeoutError, OSError):
            return b""

    def close(self) -> None:
        self._socket.close()


class Bench:
    """A fleet of one Envoy whose layer 4 changes step by step."""

    def __init__(self, lab) -> None:
        self.lab = lab
        self.cache = Cache()
        self.xds_port = 0
        self.envoy = None

    async def start(self, listeners: Iterable[L4Listener], clusters: Iterable[Cluster], *, workers: int = 1) -> None:
        _, self.xds_port = await self.lab.xds(self.cache)
        generation = self.put(listeners, clusters)
        self.envoy = await self.lab.envoy(self.xds_port, workers=workers)
        await self.lab.routed(self.cache, generation)

    def put(self, listeners: Iterable[L4Listener], clusters: Iterable[Cluster]) -> int:
        ordered = tuple(sorted(clusters, key=lambda each: each.name))
        return self.lab.publish(self.cache, Fleet(self.lab.FLEET, (), tuple(listeners), ordered))

    async def change(self, listeners: Iterable[L4Listener], clusters: Iterable[Cluster]) -> None:
        await self.lab.routed(self.cache, self.put(listeners, clusters))

    async def backend(self, name: str) -> Backend:
        backend = Backend(name)
        server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
        backend.port = server.sockets[0].getsockname()[1]
        self.lab.stack.callback(server.close)
        return backend

    async def datagrams(self, name: str) -> tuple[Datagrams, int]:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(lambda: Datagrams(name), ("127.0.0.1", 0))
        self.lab.stack.callback(transport.close)
        return protocol, transport.get_extra_info("sockname")[1]

    def flow(self, port: int, source: str = "127.0.0.1") -> Flow:
        flow = Flow(port, source)
        self.lab.stack.callback(flow.close)
        return flow


@pytest.fixture
def bench(lab) -> Bench:
    return Bench(lab)


def tcp(name: str, *ports: int, **options: bool) -> Cluster:
    return Cluster(name, Layer.L4, tuple(Endpoint("127.0.0.1", port) for port in ports), **options)


def udp(name: str, *ports: int) -> Cluster:
    endpoints = tuple(Endpoint("127.0.0.1", port, Protocol.UDP) for port in ports)
    return Cluster(name, Layer.L4, endpoints, Protocol.UDP)


async def drained(bench: Bench) -> None:
    """Wait past Envoy's drain time (1 s here): what a change cuts is cut by then."""
    await bench.lab.until(bench.envoy.is_ready, "Envoy answers")
    await asyncio.sleep(2.5)


async def test_proxy_protocol_is_switched_under_live_connections(bench):
    """On and off: no connection is cut, each has the header or has not, and its whole life is one of the two."""
    app = await bench.backend("app")
    port = bench.lab.free_port()
    plain, headed = tcp("app/tcp", app.port), tcp("app/tcp-proxy", app.port, proxy_protocol=True)
    to_plain, to_headed = (L4Listener("lb", port, each.name) for each in (plain, headed))
    await bench.start([to_plain], [plain])
    async with talk(port) as before:
        assert await before.says_back("one")
        assert app.began[-1] == b"one\n"

        await bench.change([to_plain], [plain, headed])
        await bench.change([to_headed], [plain, headed])
        async with talk(port) as after:
            assert await after.says_back("two")
            assert client_of(app.began[-1]) == after.name
            await bench.change([to_headed], [headed])  # the old way leaves while its connection lives
            assert await before.says_back("three")

            await bench.change([to_headed], [plain, headed])
            await bench.change([to_plain], [plain])
            async with talk(port) as last:
                assert await last.says_back("four")
                assert app.began[-1] == b"four\n"
                await drained(bench)
                for number, each in enumerate((before, after, last)):
                    assert await each.says_back(f"end {number}"), ("before", "after", "last")[number]
    named = [client_of(each) for each in app.began if each.startswith(SIGNATURE)]
    assert named == [after.name], "a check connects and says nothing"


async def test_every_new_connection_meets_the_switched_configuration(bench):
    """Right after its acknowledgement nothing goes the old way, on any worker."""
    one, two = await bench.backend("one"), await bench.backend("two")
    port = bench.lab.free_port()
    clusters = [tcp("one", one.port), tcp("two", two.port)]
    await bench.start([L4Listener("lb", port, "one")], clusters, workers=2)
    seen = []
    for target in ("two", "one") * 5:
        await bench.change([L4Listener("lb", port, target)], clusters)
        for _ in range(8):
            async with talk(port) as each:
                seen.append((target, each.greeting))
    assert [greeting for _, greeting in seen] == [target for target, _ in seen]


async def test_envoy_asks_for_what_a_listener_names_before_it_acknowledges_the_listener(bench, monkeypatch):
    """`DeltaStream` counts on this order."""
    asked: list[tuple[str, bool, tuple[str, ...]]] = []
    decode = server_module.wire.decode

    def noting(data: bytes) -> Incoming:
        found = decode(data)
        asked.append((found.request.type_url, bool(found.request.nonce), found.request.subscribe))
        return found

    monkeypatch.setattr(server_module.wire, "decode", noting)
    app = await bench.backend("app")
    ports = [bench.lab.free_port() for _ in range(3)]
    cluster = tcp("app", app.port)
    await bench.start([L4Listener("lb0", ports[0], "app")], [cluster])
    for count in (2, 3):
        asked.clear()
        await bench.change([L4Listener(f"lb{i}", ports[i], "app") for i in range(count)], [cluster])
        subscribed = next(i for i, each in enumerate(asked) if each[0] == EXTENSIONS and each[2])
        acknowledged = next(i for i, each in enumerate(asked) if each[0] == LISTENER and each[1])
        assert asked[subscribed][2] == (f"lb{count - 1}",)
        assert subscribed < acknowledged


async def test_a_new_port_refuses_until_it_serves(bench):
    """Never accepted and closed again: the listener opens with its configuration."""
    app = await bench.backend("app")
    first, second = bench.lab.free_port(), bench.lab.free_port()
    cluster = tcp("app", app.port)
    one, two = L4Listener("one", first, "app"), L4Listener("two", second, "app")
    await bench.start([one], [cluster])
    greetings: list[str] = []
    done = asyncio.Event()

    async def knock() -> None:
        while not done.is_set():
            try:
                async with talk(second) as each:
                    greetings.append(each.greeting)
            except OSError:
                await asyncio.sleep(0)

    running = asyncio.ensure_future(knock())
    for _ in range(5):
        await bench.change([one, two], [cluster])
        count = len(greetings)
        await bench.lab.until(lambda c=count: len(greetings) > c, "it serves")
        await bench.change([one], [cluster])
    done.set()
    await running
    assert set(greetings) == {"app"}


async def test_a_refused_extension_is_told_and_harms_no_other(bench):
    app = await bench.backend("app")
    port, other = bench.lab.free_port(), bench.lab.free_port()
    good = tcp("app", app.port)
    await bench.start([L4Listener("lb", port, "app")], [good])
    # An extension without a cluster: nothing of ours makes one, so bytes are changed by hand.
    table = dict(bench.lab.generator.table(Fleet(bench.lab.FLEET, (), (L4Listener("lb", port, "app"),), (good,))))
    broken = table[EXTENSIONS]["lb"]
    bad = broken._replace(version="bad", body=broken.body.replace(b"TcpProxy", b"TcpPro_y"))
    bench.cache.publish(bench.lab.FLEET, table | {EXTENSIONS: {"lb": bad}})
    view = lambda: bench.cache.progress(bench.lab.FLEET).streams[0]  # noqa: E731
    await bench.lab.until(lambda: view().nacks, "refusal")
    assert [(each.type_url, each.names) for each in view().nacks] == [(EXTENSIONS, ("lb",))]
    async with talk(port) as still:
        assert still.greeting == "app"
    await bench.change([L4Listener("lb", port, "app"), L4Listener("next", other, "app")], [good])
    async with talk(other) as each:
        assert each.greeting == "app"


async def test_source_ranges_let_in_and_keep_out_and_change_under_live_connections(bench):
    app = await bench.backend("app")
    port = bench.lab.free_port()
    cluster = tcp("app", app.port)
    listener = L4Listener("lb", port, "app")
    some = replace(listener, source_ranges=("127.0.0.0/31", "2001:db8::/32"))
    others = replace(listener, source_ranges=("127.0.0.2/32",))
    await bench.start([listener], [cluster])
    async with talk(port, "127.0.0.1") as first, talk(port, "127.0.0.2") as second:
        assert (first.greeting, second.greeting) == ("app", "app")
        for allowed, expected in ((some, ("app", "")), (others, ("", "app")), (listener, ("app", "app"))):
            await bench.change([allowed], [cluster])
            seen = []
            for source in ("127.0.0.1", "127.0.0.2"):
                async with talk(port, source) as each:
                    seen.append(each.greeting)
            assert tuple(seen) == expected
        await drained(bench)
        assert await first.says_back("still")
        assert await second.says_back("here")
    assert len(app.began) == 2, "who is kept out is kept out before a byte reaches the application"


async def test_udp_beside_tcp_under_one_number(bench):
    app = await bench.backend("app")
    service, upstream = await bench.datagrams("dns")
    port = bench.lab.free_port()
    listeners = [L4Listener("t", port, "tcp"), L4Listener("u", port, "udp", Protocol.UDP)]
    await bench.start(listeners, [tcp("tcp", app.port), udp("udp", upstream)])
    async with talk(port) as each:
        assert each.greeting == "app"
    flow = bench.flow(port)
    assert await flow.ask(b"one") == b"dns one"
    assert await flow.ask(b"two") == b"dns two"
    assert len(set(service.peers)) == 1, "a client's datagrams are one session"
    large = b"x" * 20000
    assert await flow.ask(large) == b"dns " + large

    # More nodes, another TCP backend: the session goes on.
    _, second = await bench.datagrams("dns")
    await bench.change(listeners, [tcp("tcp", app.port), udp("udp", upstream, second)])
    assert await flow.ask(b"three") == b"dns three"
    assert len(set(service.peers)) == 1

    await bench.change(listeners[:1], [tcp("tcp", app.port)])
    assert await flow.ask(b"gone", 0.3) == b""


async def test_udp_moves_to_another_cluster_and_node(bench):
    _, one = await bench.datagrams("one")
    _, two = await bench.datagrams("two")
    port = bench.lab.free_port()
    listener = L4Listener("u", port, "a", Protocol.UDP)
    await bench.start([listener], [udp("a", one)])
    flow = bench.flow(port)
    assert await flow.ask(b"1") == b"one 1"
    await bench.change([listener], [udp("a", two)])
    assert await flow.ask(b"2") == b"two 2"
    await bench.change([replace(listener, cluster="b")], [udp("a", two), udp("b", one)])
    await bench.lab.until(lambda: _answers(flow, b"one 3", b"3"), "the flow follows")


async def _answers(flow: Flow, wanted: bytes, question: bytes) -> bool:
    return await flow.ask(question, 1) == wanted


async def test_udp_source_ranges(bench):
    _, upstream = await bench.datagrams("dns")
    port = bench.lab.free_port()
    listener = L4Listener("u", port, "a", Protocol.UDP, source_ranges=("127.0.0.2/32",))
    await bench.start([listener], [udp("a", upstream)])
    inside, outside = bench.flow(port, "127.0.0.2"), bench.flow(port)
    assert await inside.ask(b"1") == b"dns 1"
    assert await outside.ask(b"2", 0.5) == b""


async def test_affinity_is_switched_under_live_connections(bench):
    """One client meets one of four backends with affinity, all without; no connection is cut."""
    apps = [await bench.backend(f"app{i}") for i in range(4)]
    ports = [each.port for each in apps]
    port = bench.lab.free_port()
    plain, sticky = tcp("tcp", *ports), tcp("tcp-affinity", *ports, source_affinity=True)
    to_plain, to_sticky = (L4Listener("lb", port, each.name) for each in (plain, sticky))
    await bench.start([to_plain], [plain])

    async def met() -> set[str]:
        greetings = set()
        for _ in range(12):
            async with talk(port) as each:
                greetings.add(each.greeting)
        return greetings

    async with talk(port) as before:
        assert len(await met()) == 4
        await bench.change([to_plain], [plain, sticky])
        await bench.change([to_sticky], [plain, sticky])
        await bench.change([to_sticky], [sticky])
        assert len(await met()) == 1
        await bench.change([to_sticky], [plain, sticky])
        await bench.change([to_plain], [plain])
        assert len(await met()) == 4
        await drained(bench)
        assert await before.says_back("still here")


async def test_connections_of_a_node_that_left_go_on_and_new_ones_go_elsewhere(bench):
    one, two = await bench.backend("one"), await bench.backend("two")
    port = bench.lab.free_port()
    listener = L4Listener("lb", port, "a")
    await bench.start([listener], [tcp("a", one.port)])
    async with talk(port) as old:
        assert old.greeting == "one"
        await bench.change([listener], [tcp("a", one.port, two.port)])
        await bench.lab.until(lambda: _greeted(port, "two"), "the new node is used")
        await bench.change([listener], [tcp("a", two.port)])
        for _ in range(8):
            async with talk(port) as each:
                assert each.greeting == "two"
        await drained(bench)
        assert await old.says_back("still here")


async def _greeted(port: int, name: str) -> bool:
    async with talk(port) as each:
        return each.greeting == name


async def test_a_cluster_is_not_removed_before_the_extension_that_names_it(bench):
    one, two = await bench.backend("one"), await bench.backend("two")
    port = bench.lab.free_port()
    await bench.start([L4Listener("lb", port, "one")], [tcp("one", one.port)])
    # One step: what a careless caller would do. The order is the delivery's.
    bench.put([L4Listener("lb", port, "two")], [tcp("two", two.port)])
    view = lambda: bench.cache.progress(bench.lab.FLEET).streams[0]  # noqa: E731
    await bench.lab.until(lambda: not view().may_have_cluster("one"), "the old cluster goes")
    assert view().has(EXTENSIONS, "lb")
    assert view().has(CLUSTER, "two")


async def test_behind_a_proxy_the_client_is_who_its_header_names(bench):
    """For source ranges, and in the header that the backend gets."""
    app = await bench.backend("app")
    port = bench.lab.free_port()
    cluster = tcp("app", app.port, proxy_protocol=True)
    listener = L4Listener("lb", port, "app", source_ranges=("192.0.2.0/24",), behind_proxy=True)
    await bench.start([listener], [cluster])
    seen = []
    for client in ("192.0.2.7", "198.51.100.7"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"PROXY TCP4 {client} 203.0.113.1 4711 80\r\nhello\n".encode())
        async with asyncio.timeout(10):
            try:
                seen.append(await reader.read(100))
            except ConnectionError:
                seen.append(b"")
        writer.close()
    assert seen[0].startswith(b"app\n")
    assert seen[1] == b""
    assert client_of(app.began[-1]) == ("192.0.2.7", 4711)
