"""Makes requests from inside a lab's network; a program of its own that speaks JSON lines.

Started by `traffic.Traffic` through the provider's way into the lab. Each input line is a command with
an `id`; each output line answers one. Standard library only, so that it starts in a moment:

    {"id": 1, "op": "get", "address": "10.99.200.1", "port": 80, "host": "a.example.com", "path": "/"}
    {"id": 2, "op": "load", ...the same..., "connections": 4, "fresh": 2, "rate": 200}   starts; answers at once
    {"id": 3, "op": "stop", "load": 2}                                    answers what was counted
    {"id": 4, "op": "until", ...as get..., "status": 200, "interval": 0.005, "seconds": 30}
    {"id": 5, "op": "tcp", "address": ..., "port": ..., "send": "text"}

A load speaks HTTP, or with `"protocol": "tcp"` or `"udp"` lines with the echo application: a request is a line that has
to come back. On TCP, a connection that is kept and is cut is a failure; what a request met is the pod's name, followed
by ` proxy` if the application was sent a PROXY header.

Every load is bounded by MAX_SECONDS and MAX_REQUESTS. Whatever is not an expected answer is a failure, a cut or
refused connection included.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MAX_SECONDS = 120.0
MAX_REQUESTS = 500_000
TIMEOUT = 5.0
_SHOWN = 20

Message = dict[str, Any]


class Connection:
    """One HTTP/1.1 connection that is used again while the server allows it."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, host: str, path: str, *, keep: bool) -> tuple[int, str, dict[str, str]]:
        """Send a GET; return status, body and headers. Raises OSError or EOFError when it is cut."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._address, self._port)
        reader, writer = self._streams
        closing = "keep-alive" if keep else "close"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {closing}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
        body = await _body(reader, headers)
        if not keep or headers.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split(" ", 2)[1]), body.decode("utf-8", "replace"), headers

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Lines:
    """One TCP connection with the echo application."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._met = ""
        self._count = 0

    async def request(self, _host: str, _path: str, *, keep: bool) -> tuple[int, str, dict[str, str]]:
        """Send a line and read it back; return 200 and what was met. Raises OSError or EOFError when it is cut."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._address, self._port)
            self._met = (await _line(self._streams[0])).strip()
        reader, writer = self._streams
        self._count += 1
        sent = f"ping {self._count}"
        writer.write(sent.encode() + b"\n")
        while (line := await _line(reader)) != sent:
            if not line.startswith("proxy "):
                raise ValueError(line)
            self._met += " proxy"
        if not keep:
            self.close()
        return 200, self._met, {}

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _line(reader: asyncio.StreamReader) -> str:
    data = await reader.readline()
    if not data.endswith(b"\n"):
        raise EOFError
    return data[:-1].decode("utf-8", "replace")


class Datagrams(asyncio.DatagramProtocol):
    """One UDP socket that asks the echo application; late answers to earlier questions are passed over."""

    def __init__(self, address: str, port: int) -> None:
        self._peer = (address, port)
        self._transport: asyncio.DatagramTransport | None = None
        self._answer: asyncio.Future[str] | None = None
        self._sent = ""
        self._count = 0

    def datagram_received(self, data: bytes, _addr: object) -> None:
        """Take an answer, `<pod> <what was sent>`."""
        pod, _, text = data.decode("utf-8", "replace").partition(" ")
        if text == self._sent and self._answer is not None and not self._answer.done():
            self._answer.set_result(pod)

    def error_received(self, exc: Exception) -> None:
        """Pass on that the port is closed."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc)

    async def request(self, _host: str, _path: str, *, keep: bool) -> tuple[int, str, dict[str, str]]:
        """Ask and wait for the answer; return 200 and the pod's name."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._peer)
        self._count += 1
        self._sent, self._answer = f"ping {self._count}", loop.create_future()
        self._transport.sendto(self._sent.encode())
        pod = await self._answer
        if not keep:
            self.close()
        return 200, pod, {}

    def close(self) -> None:
        """End the flow."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None


Dialogue = Connection | Lines | Datagrams


def dialogue(command: Message) -> Dialogue:
    """Return a connection of the command's protocol, not open yet."""
    address, port = command["address"], int(command["port"])
    match command.get("protocol", "http"):
        case "tcp":
            return Lines(address, port)
        case "udp":
            return Datagrams(address, port)
        case _:
            return Connection(address, port)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", "0")))


@dataclass
class Tally:
    """What a load saw."""

    requests: int = 0
    failures: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)
    bodies: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def count(self, outcome: str, *, good: bool, seconds: float, body: str = "") -> None:
        """Add one request."""
        self.requests += 1
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, seconds)
        if good:
            self.bodies[body[:80].splitlines()[0] if body else ""] += 1
            return
        self.failures += 1
        if len(self.samples) < _SHOWN:
            self.samples.append(f"request {self.requests}: {outcome}")

    def answer(self) -> Message:
        """Return it as JSON."""
        return {
            "requests": self.requests,
            "failures": self.failures,
            "outcomes": dict(self.outcomes),
            "samples": self.samples,
            "bodies": dict(self.bodies),
            "slowest_ms": round(self.slowest * 1000, 1),
        }


@dataclass
class Load:
    """Connections that send requests until stopped: some kept alive, some fresh for each request."""

    tally: Tally
    tasks: list[asyncio.Task[None]]
    stopping: asyncio.Event

    @classmethod
    def start(cls, command: Message) -> Load:
        """Begin."""
        load = cls(Tally(), [], asyncio.Event())
        kept, fresh = int(command.get("connections", 4)), int(command.get("fresh", 2))
        pause = (kept + fresh) / float(command.get("rate", 200))
        for number in range(kept + fresh):
            load.tasks.append(asyncio.create_task(load.send(command, keep=number < kept, pause=pause)))
        return load

    async def send(self, command: Message, *, keep: bool, pause: float) -> None:
        """Send one request after the other."""
        connection = dialogue(command)
        good = set(command.get("good", [200]))
        ends = time.monotonic() + MAX_SECONDS
        while not self.stopping.is_set() and time.monotonic() < ends and self.tally.requests < MAX_REQUESTS:
            started = time.monotonic()
            outcome, body = await ask(connection, command, keep=keep)
            seconds = time.monotonic() - started
            self.tally.count(outcome, good=outcome.isdigit() and int(outcome) in good, seconds=seconds, body=body)
            try:
                async with asyncio.timeout(max(pause - seconds, 0.0)):
                    await self.stopping.wait()
            except TimeoutError:
                continue
        connection.close()

    async def stop(self) -> Message:
        """End after the requests under way; return the tally."""
        self.stopping.set()
        await asyncio.gather(*self.tasks)
        return self.tally.answer()


async def ask(connection: Dialogue, command: Message, *, keep: bool) -> tuple[str, str]:
    """Send one request; return the status or the name of what went wrong, and the body."""
    try:
        async with asyncio.timeout(float(command.get("timeout", TIMEOUT))):
            status, body, _ = await connection.request(command.get("host", ""), command.get("path", "/"), keep=keep)
    except TimeoutError:
        connection.close()
        return "timeout", ""
    except (OSError, EOFError, ValueError) as error:
        connection.close()
        return type(error).__name__, ""
    return str(status), body


async def get(command: Message) -> Message:
    """One request on its own connection."""
    connection = dialogue(command)
    try:
        async with asyncio.timeout(float(command.get("timeout", TIMEOUT))):
            status, body, headers = await connection.request(
                command.get("host", ""), command.get("path", "/"), keep=False
            )
    except TimeoutError:
        return {"status": 0, "error": "timeout", "body": "", "headers": {}}
    except (OSError, EOFError, ValueError) as error:
        return {"status": 0, "error": f"{type(error).__name__}: {error}", "body": "", "headers": {}}
    finally:
        connection.close()
    return {"status": status, "error": "", "body": body, "headers": headers}


async def until(command: Message) -> Message:
    """Ask until a status is seen; return the time it took and every outcome on the way."""
    started = time.monotonic()
    seen: Counter[str] = Counter()
    wanted, interval = str(command.get("status", 200)), float(command.get("interval", 0.005))
    connection = Connection(command["address"], int(command["port"]))
    body = ""
    while time.monotonic() - started < float(command.get("seconds", 30)):
        outcome, body = await ask(connection, command, keep=bool(command.get("keep", True)))
        seen[outcome] += 1
        if outcome == wanted:
            break
        await asyncio.sleep(interval)
    connection.close()
    reached = seen.get(wanted, 0) > 0
    now = time.monotonic()
    return {"reached": reached, "ms": (now - started) * 1000, "at": now, "outcomes": dict(seen), "body": body}


async def tcp(command: Message) -> Message:
    """Connect, send a line, read what comes back until a line or the end."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(float(command.get("timeout", TIMEOUT))):
            reader, writer = await asyncio.open_connection(command["address"], int(command["port"]))
    except (OSError, TimeoutError) as error:
        return {"connected": False, "error": type(error).__name__, "text": "", "ms": 0.0}
    text = b""
    error_name = ""
    try:
        async with asyncio.timeout(float(command.get("timeout", TIMEOUT))):
            writer.write(command.get("send", "").encode())
            text = await reader.readline()
    except (OSError, TimeoutError) as error:
        error_name = type(error).__name__
    finally:
        writer.close()
    if not text and not error_name:
        error_name = "closed"
    ms = (time.monotonic() - started) * 1000
    return {"connected": True, "error": error_name, "text": text.decode("utf-8", "replace"), "ms": ms}


@dataclass
class Talk:
    """One TCP connection on which a line is sent again and again, each of which must come back."""

    tally: Tally
    task: asyncio.Task[None]
    stopping: asyncio.Event

    @classmethod
    def start(cls, command: Message) -> Talk:
        """Begin."""
        stopping, tally = asyncio.Event(), Tally()
        return cls(tally, asyncio.create_task(_talk(command, tally, stopping)), stopping)

    async def stop(self) -> Message:
        """End after the line under way; return the tally."""
        self.stopping.set()
        await self.task
        return self.tally.answer()


async def _talk(command: Message, tally: Tally, stopping: asyncio.Event) -> None:
    """Talk until stopped, or cut: one failure then."""
    began = time.monotonic()
    writer = None
    try:
        reader, writer = await asyncio.open_connection(command["address"], int(command["port"]))
        async with asyncio.timeout(MAX_SECONDS):
            await reader.readline()  # who is there
            while not stopping.is_set():
                began = time.monotonic()
                writer.write(b"ping\n")
                async with asyncio.timeout(TIMEOUT):
                    line = await reader.readexactly(5)
                tally.count(line.decode().strip(), good=line == b"ping\n", seconds=time.monotonic() - began)
                await asyncio.sleep(float(command.get("period", 0.1)))
    except (OSError, EOFError, TimeoutError) as error:
        tally.count(type(error).__name__, good=False, seconds=time.monotonic() - began)
    finally:
        if writer is not None:
            writer.close()


async def serve() -> None:
    """Answer commands until the input ends."""
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    loads: dict[int, Load | Talk] = {}
    running: set[asyncio.Task[None]] = set()

    async def handle(command: Message) -> None:
        match command["op"]:
            case "load":
                loads[command["id"]] = Load.start(command)
                answer: Message = {}
            case "talk":
                loads[command["id"]] = Talk.start(command)
                answer = {}
            case "stop":
                answer = await loads.pop(command["load"]).stop()
            case "until":
                answer = await until(command)
            case "tcp":
                answer = await tcp(command)
            case "time":
                answer = {"at": time.monotonic()}
            case _:
                answer = await get(command)
        sys.stdout.write(json.dumps({"id": command["id"], **answer}) + "\n")
        sys.stdout.flush()

    while line := await reader.readline():
        task = asyncio.create_task(handle(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    for load in loads.values():
        load.stopping.set()


if __name__ == "__main__":
    asyncio.run(serve())
