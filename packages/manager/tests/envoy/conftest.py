"""A real Envoy beside a real xDS server, on free loopback ports; every wait is bounded."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kubelb_common import pki
from kubelb_common.testing import ports
from kubelb_manager.bootstrap.render import BootstrapOptions, OverloadLimits, TlsFiles, files
from kubelb_manager.delivery import identity
from kubelb_manager.delivery.cache import Cache
from kubelb_manager.delivery.server import ServerTls, XdsServer
from kubelb_manager.ir.model import (
    Action,
    Cluster,
    Endpoint,
    Fleet,
    Host,
    HttpListener,
    L4Listener,
    Layer,
    Origin,
    PathKind,
    PathMatch,
    Respond,
    RouteRule,
    RouteTable,
)
from kubelb_manager.xds.generate import Generator

ROOT = Path(__file__).parents[4]
FLEET = "tenant-a/shared"
POD = "envoy-0"
ORIGIN = Origin("Route", "tenant-a", "r")
SECONDS = 30.0  # a wait ends when its condition holds; a busy machine takes long
NOT_FOUND = Respond(404)


def find_envoy() -> str | None:
    candidates = (os.environ.get("ENVOY"), str(ROOT / ".tools/envoy/envoy/_bin/envoy"), shutil.which("envoy"))
    return next((each for each in candidates if each and os.access(each, os.X_OK)), None)


def free_port() -> int:
    return ports.free()[0]


async def until(condition: Callable[[], object] | Callable[[], Awaitable[object]], what: str) -> None:
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                result = condition()
                if await result if asyncio.iscoroutine(result) else result:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


@dataclass
class Answer:
    status: int
    headers: str
    body: str


async def request(port: int, host: str, path: str = "/", *, extra: str = "") -> Answer:
    """Send one request with exactly this Host header; status 0 if the connection fails."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return Answer(0, "", "")
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{extra}Connection: close\r\n\r\n".encode())
        async with asyncio.timeout(SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            # To the end of the connection only where there is no length: Envoy waits 1 s for us to close first.
            length = re.search(r"content-length: (\d+)", head)
            data = await (reader.readexactly(int(length[1])) if length else reader.read())
    except (OSError, asyncio.IncompleteReadError):
        return Answer(0, "", "")
    finally:
        writer.close()
    return Answer(int(head.split(" ", 2)[1]), head, data.decode("latin-1"))


@dataclass
class Upstream:
    """An HTTP server with keep-alive that answers its name, the path and the Host it saw."""

    name: str
    port: int = 0
    server: asyncio.Server | None = None
    seen: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                text = head.decode("latin-1")
                self.seen.append(text)
                body = f"{self.name} {text.split(' ')[1]}"
                writer.write(f"HTTP/1.1 200 OK\r\nserver: mine\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@dataclass
class Envoy:
    process: asyncio.subprocess.Process
    log: Path
    ready_port: int
    stats_port: int
    admin_port: int

    async def is_ready(self) -> bool:
        return (await request(self.ready_port, "x", "/ready")).status == 200

    async def admin(self, path: str) -> str:
        return (await request(self.admin_port, "x", path)).body

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Lab:
    """What the tests of this folder start: upstreams, servers, Envoys. Everything ends with the test."""

    SECONDS = SECONDS
    FLEET = FLEET
    POD = POD
    request = staticmethod(request)
    until = staticmethod(until)
    free_port = staticmethod(free_port)

    def __init__(self, stack: AsyncExitStack, folder: Path, binary: str) -> None:
        self.stack = stack
        self.folder = folder
        self.binary = binary
        self.generator = Generator()

    async def upstream(self, name: str) -> Upstream:
        upstream = Upstream(name)
        upstream.server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        upstream.port = upstream.server.sockets[0].getsockname()[1]
        self.stack.callback(upstream.server.close)
        return upstream

    async def xds(self, cache: Cache, *, port: int = 0, tls: ServerTls | None = None) -> tuple[XdsServer, int]:
        authorize = identity.plaintext if tls is None else identity.refusal
        server = XdsServer(cache, host="127.0.0.1", port=port or free_port(), tls=tls, authorize=authorize)
        bound = await server.start()
        self.stack.push_async_callback(server.stop, 0.1)
        return server, bound

    async def envoy(
        self,
        xds_port: int,
        *,
        tls: TlsFiles | None = None,
        pod: str = POD,
        workers: int = 1,
        overload: OverloadLimits | None = None,
    ) -> Envoy:
        options = BootstrapOptions(
            xds_host="127.0.0.1",
            xds_port=xds_port,
            tls=tls,
            overload=overload,
            admin_port=free_port(),
            stats_port=free_port(),
            ready_port=free_port(),
        )
        folder = self.folder / pod if tls is None or tls.sds_directory is None else Path(tls.sds_directory)
        folder.mkdir(exist_ok=True)
        for name, text in files(options).items():
            (folder / name).write_text(text)
        log = folder / "envoy.log"
        log.touch()
        arguments = ["-c", str(folder / "envoy.json"), "--use-dynamic-base-id", "--concurrency", str(workers)]
        arguments += ["--service-node", f"{FLEET}/{pod}", "--service-cluster", FLEET, "--drain-time-s", "1"]
        arguments += ["--log-path", str(log), "-l", "info", "--file-flush-interval-msec", "50"]
        with (folder / "stdout.log").open("w") as out:
            process = await asyncio.create_subprocess_exec(self.binary, *arguments, stdout=out, stderr=out)
        envoy = Envoy(process, log, options.ready_port, options.stats_port, options.admin_port)
        self.stack.push_async_callback(envoy.stop)
        return envoy

    # IR in few words ---------------------------------------------------------------------------

    @staticmethod
    def cluster(name: str, *ports: int, layer: Layer = Layer.L7) -> Cluster:
        return Cluster(name, layer, tuple(Endpoint("127.0.0.1", port) for port in ports))

    @staticmethod
    def table(host: str, action: Action, *rules: tuple[str, str, Action], miss: Action = NOT_FOUND) -> RouteTable:
        """Rules are (kind, path, action); without any, everything goes to `action`."""
        given = rules or (("Prefix", "/", action),)
        made = tuple(RouteRule(PathMatch(PathKind(kind), path), then, ORIGIN) for kind, path, then in given)
        return RouteTable(Host(host), made, miss)

    @staticmethod
    def fleet(
        port: int,
        tables: list[RouteTable],
        clusters: list[Cluster],
        *,
        unknown: Action = NOT_FOUND,
        l4: tuple[L4Listener, ...] = (),
    ) -> Fleet:
        http = (HttpListener("http", port, tuple(tables), unknown),) if port else ()
        return Fleet(FLEET, http, l4, tuple(sorted(clusters, key=lambda c: c.name)))

    def publish(self, cache: Cache, fleet: Fleet) -> int:
        return cache.publish(FLEET, self.generator.table(fleet))

    async def routed(self, cache: Cache, generation: int) -> None:
        """Wait until every stream acknowledged everything of `generation`."""

        def settled() -> bool:
            streams = cache.progress(FLEET).streams
            return bool(streams) and all(min(each.acknowledged.values()) >= generation for each in streams)

        await until(settled, f"acknowledgement of generation {generation}")


@asynccontextmanager
async def open_lab(folder: Path) -> AsyncIterator[Lab]:
    binary = find_envoy()
    if binary is None:
        pytest.fail("no Envoy: set ENVOY or run `make setup`")
    async with AsyncExitStack() as stack:
        yield Lab(stack, folder, binary)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with open_lab(tmp_path) as made:
        yield made


@dataclass
class Pki:
    """A CA with the server's certificate, and client files as a mounted Secret has them."""

    ca: pki.KeyPair
    server: ServerTls

    def client_files(self, folder: Path, namespace: str, fleet: str) -> None:
        uri = identity.certificate_uri(namespace, fleet)
        leaf = pki.issue(
            self.ca, "envoy", now=datetime.now(UTC), lifetime=timedelta(hours=1), usages=("client",), uris=(uri,)
        )
        folder.mkdir(exist_ok=True)
        (folder / "tls.crt").write_bytes(leaf.cert_pem)
        (folder / "tls.key").write_bytes(leaf.key_pem)
        (folder / "ca.crt").write_bytes(self.ca.cert_pem)

    @staticmethod
    def make() -> Pki:
        now = datetime.now(UTC)
        ca = pki.create_ca("xds", now=now)
        names = ("envoycp.kubelb.svc",)
        leaf = pki.issue(ca, "xds", now=now, lifetime=timedelta(hours=1), usages=("server",), dns=names)
        return Pki(ca, ServerTls(leaf.cert_pem, leaf.key_pem, ca.cert_pem))


@pytest.fixture
def certificates() -> Pki:
    return Pki.make()
