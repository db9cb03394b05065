"""Echo server: says who answered and what arrived, over HTTP, TCP and UDP. Standard library only, few imports.

Environment:
    HTTP_PORT    default 8080; 0 switches HTTP off
    TCP_PORT     default 9000; 0 switches TCP off
    UDP_PORT     default 9000; 0 switches UDP off
    POD_NAME     default HOSTNAME;  NAMESPACE, NODE_NAME: shown when set;  TEXT: added to every answer
    READY_AFTER  seconds after the start during which `/ready` answers 503, default 0
    DRAIN        seconds for which it goes on accepting after SIGTERM (`/ready` answers 503), default 0
    GRACE        seconds that requests get after that, default 20

HTTP: any path is answered with a JSON object (pod, namespace, node, method, path, host, client, headers, size of the
body). `/status/503` answers with that status, `/delay/0.5` after that time, `/bytes/1000` with that many bytes,
`/ready` and `/healthz` for probes, `/text` with the pod's name as plain text, `/exit/3` ends the process.
Query parameters `status`, `delay` do the same on any path.

TCP: the first line sent is the pod's name; whatever comes is sent back. A connection that begins with a PROXY
protocol header, version 2, is told so by a line `proxy ADDRESS PORT` with the client that the header names; the header
itself is not sent back.

UDP: each datagram is answered by the pod's name, a blank and what came.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import socket
import struct
import sys
import time
from urllib.parse import parse_qs, unquote

_MAX_HEAD = 65536
_REASONS = {200: "OK", 204: "No Content", 404: "Not Found", 503: "Service Unavailable"}
#: What a PROXY protocol header of version 2 begins with, and the length of its fixed part.
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16
_HOP = {"connection", "keep-alive", "transfer-encoding"}


class Echo:
    """State of the process: who it is, whether it is going down, what is being answered."""

    def __init__(self, env: dict[str, str]) -> None:
        self.pod = env.get("POD_NAME") or env.get("HOSTNAME") or "unknown"
        self.facts = {
            key: value
            for key, value in (
                ("pod", self.pod),
                ("namespace", env.get("NAMESPACE")),
                ("node", env.get("NODE_NAME")),
                ("text", env.get("TEXT")),
            )
            if value
        }
        self.ready_at = time.monotonic() + float(env.get("READY_AFTER") or 0)
        self.draining = False
        self.closing = False
        self.busy = 0
        self.idle: set[asyncio.StreamWriter] = set()

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, request by request."""
        try:
            while not self.closing:
                self.idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self.idle.discard(writer)
                self.busy += 1
                try:
                    if not await self._answer(head, reader, writer):
                        break
                finally:
                    self.busy -= 1
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass
        finally:
            self.idle.discard(writer)
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; returns whether the connection stays open."""
        request, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = request.split(" ", 2)
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
        known = {name.lower(): value for name, value in headers}
        if "100-continue" in known.get("expect", "").lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = await self._skip_body(known, reader)
        path, _, query = target.partition("?")
        status, delay, body = self._decide(path, query)
        if delay:
            await asyncio.sleep(delay)
        if body is None:
            peer = writer.get_extra_info("peername")
            body = json.dumps(
                {
                    **self.facts,
                    "method": method,
                    "path": target,
                    "host": known.get("host", ""),
                    "client": peer[0] if peer else "",
                    "headers": {name.lower(): value for name, value in headers},
                    "body": size,
                }
            ).encode()
            kind = "application/json"
        else:
            kind = "text/plain"
        keep = known.get("connection", "").lower() != "close" and version != "HTTP/1.0" and not self.draining
        answer = (
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nX-Pod: {self.pod}\r\n"
        )
        if not keep:
            answer += "Connection: close\r\n"
        bare = method == "HEAD" or status in {204, 304}
        writer.write(answer.encode() + b"\r\n" + (b"" if bare else body))
        await writer.drain()
        if path.startswith("/exit/"):
            sys.stdout.flush()
            os._exit(int(path.rpartition("/")[2]))
        return keep

    async def _skip_body(self, headers: dict[str, str], reader: asyncio.StreamReader) -> int:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            total = 0
            while size := int((await reader.readline()).split(b";")[0], 16):
                await reader.readexactly(size + 2)
                total += size
            while (await reader.readline()).strip():
                pass
            return total
        left = total = int(headers.get("content-length") or 0)
        while left:
            chunk = await reader.read(min(left, _MAX_HEAD))
            if not chunk:
                raise ConnectionError
            left -= len(chunk)
        return total

    def _decide(self, path: str, query: str) -> tuple[int, float, bytes | None]:
        """Return status, delay in seconds and body (None: the JSON answer) for a path."""
        asked = parse_qs(query)
        status, delay = int(asked.get("status", ["200"])[0]), float(asked.get("delay", ["0"])[0])
        word, _, rest = unquote(path).lstrip("/").partition("/")
        if word == "ready":
            ready = not self.draining and time.monotonic() >= self.ready_at
            return (200, 0, b"ready\n") if ready else (503, 0, b"not ready\n")
        if word == "healthz":
            return 200, 0, b"ok\n"
        if word == "text":
            return status, delay, self.pod.encode() + b"\n"
        with contextlib.suppress(ValueError):
            if word == "status":
                return int(rest), delay, None
            if word == "delay":
                return status, float(rest), None
            if word == "bytes":
                return status, delay, b"x" * int(rest)
        return status, delay, None

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say who we are, then send back what comes."""
        self.busy += 1
        try:
            writer.write(self.pod.encode() + b"\n")
            writer.write(await _after_header(reader))
            while data := await reader.read(_MAX_HEAD):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.busy -= 1
            writer.close()


class Datagrams(asyncio.DatagramProtocol):
    """Answers each datagram."""

    def __init__(self, pod: str) -> None:
        self.pod = pod.encode()
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send the answer where the question came from."""
        if self.transport is not None:
            self.transport.sendto(self.pod + b" " + data, addr)


async def _after_header(reader: asyncio.StreamReader) -> bytes:
    """Return what is to be sent first: the client that a PROXY header names, or what came instead of one."""
    data = b""
    while len(data) < _FIXED and _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
        more = await reader.read(_FIXED - len(data))
        if not more:
            return data
        data += more
    if not data.startswith(_SIGNATURE):
        return data
    (length,) = struct.unpack("!H", data[14:16])
    body = await reader.readexactly(length)
    size = {1: 4, 2: 16}.get(data[13] >> 4)
    if data[12] & 15 == 0 or size is None:
        return b"proxy local 0\n"
    address = ipaddress.ip_address(body[:size])
    (port,) = struct.unpack("!H", body[2 * size : 2 * size + 2])
    return f"proxy {address} {port}\n".encode()


def udp_sockets(port: int) -> list[socket.socket]:
    """Return a bound socket for each IP family that this machine has."""
    found = []
    for family, every in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        with contextlib.suppress(OSError):
            one = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((every, port))
            one.settimeout(0)
            found.append(one)
    return found


async def main() -> None:
    """Serve until SIGTERM, drain, end."""
    env = dict(os.environ)
    echo = Echo(env)
    term = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, term.set)
    servers = []
    for handler, key, default in ((echo.http, "HTTP_PORT", "8080"), (echo.tcp, "TCP_PORT", "9000")):
        port = int(env.get(key) or default)
        if port:
            servers.append(await asyncio.start_server(handler, None, port, limit=_MAX_HEAD, backlog=1024))
    if udp_port := int(env.get("UDP_PORT") or "9000"):
        for sock in udp_sockets(udp_port):
            await loop.create_datagram_endpoint(lambda: Datagrams(echo.pod), sock=sock)
    print(f"{echo.pod} listens", flush=True)
    await term.wait()
    print(f"{echo.pod} drains", flush=True)
    echo.draining = True
    await asyncio.sleep(float(env.get("DRAIN") or 0))
    for server in servers:
        server.close()
    echo.closing = True
    for writer in list(echo.idle):
        writer.close()
    deadline = time.monotonic() + float(env.get("GRACE") or 20)
    while echo.busy and time.monotonic() < deadline:  # noqa: ASYNC110 - once, while ending
        await asyncio.sleep(0.02)
    print(f"{echo.pod} ends", flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
