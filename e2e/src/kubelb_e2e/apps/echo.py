"""Echo: HTTP on 8080 and TCP on 9000, both say which pod answers.

HTTP answers text, first line `<pod> <method> <path>`, then one line per request header.

    /status/503      that status
    /delay/0.5       after so many seconds (10 at most)
    /bytes/1000      a body of that many bytes (10 MB at most)

TCP sends `<pod> <what it received>` for each line. On SIGTERM both stop listening, finish what is under way, and
the process ends. The ports can be set by HTTP_PORT and TCP_PORT, the pod's name by POD_NAME or HOSTNAME.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import Coroutine

_POD = os.environ.get("POD_NAME") or socket.gethostname()
_COMMAND = re.compile(r"/(status|delay|bytes)/([0-9.]+)")
_GRACE = 4.0


class Connections:
    """Open connections, and whether the server is ending."""

    def __init__(self) -> None:
        self.ending = False
        self.idle: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        await self._guard(self._http(reader, writer), writer)

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Echo the lines of one connection."""
        await self._guard(self._tcp(reader, writer), writer)

    async def _guard(self, work: Coroutine[None, None, None], writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await work
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self.tasks.discard(task)
            self.idle.discard(writer)
            writer.close()

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.idle.add(writer)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.idle.discard(writer)
            lines = head.split("\r\n")
            method, path, version = lines[0].split(" ", 2)
            headers = {
                key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])
            }
            length = int(headers.get("content-length", "0"))
            if length:
                await reader.readexactly(length)
            status, body = await self._answer(method, path, lines[1:])
            keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close" and not self.ending
            closing = "keep-alive" if keep else "close"
            reply = f"HTTP/1.1 {status} -\r\ncontent-type: text/plain\r\nx-pod: {_POD}\r\n"
            writer.write(f"{reply}content-length: {len(body)}\r\nconnection: {closing}\r\n\r\n".encode() + body)
            await writer.drain()
            if not keep:
                return

    @staticmethod
    async def _answer(method: str, path: str, headers: list[str]) -> tuple[int, bytes]:
        match = _COMMAND.match(path)
        if match is not None and match[1] == "status":
            return int(match[2]), f"{_POD} {method} {path}\n".encode()
        if match is not None and match[1] == "delay":
            await asyncio.sleep(min(float(match[2]), 10.0))
        if match is not None and match[1] == "bytes":
            return 200, b"x" * min(int(match[2]), 10_000_000)
        return 200, "\n".join([f"{_POD} {method} {path}", *filter(None, headers), ""]).encode()

    async def _tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(f"{_POD} ".encode() + line)
            await writer.drain()


async def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    open_ = Connections()
    http = await asyncio.start_server(open_.http, None, int(os.environ.get("HTTP_PORT", "8080")), backlog=1024)
    tcp = await asyncio.start_server(open_.tcp, None, int(os.environ.get("TCP_PORT", "9000")), backlog=1024)
    print(f"{_POD} serves", flush=True)
    await stop.wait()
    open_.ending = True
    http.close()
    tcp.close()
    for writer in tuple(open_.idle):
        writer.close()
    if open_.tasks:
        await asyncio.wait(open_.tasks, timeout=_GRACE)


if __name__ == "__main__":
    asyncio.run(main())
