"""Traffic from inside the lab, counted: every check tells requests and failures (see `traffic_worker`)."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

_LIMIT = 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; status 0 and `error` if there was none."""

    status: int
    body: str
    headers: dict[str, str]
    error: str

    @property
    def pod(self) -> str:
        """The echo pod that answered, empty if none did."""
        return self.headers.get("x-pod", "")


@dataclass(slots=True)
class Tally:
    """What a load came to, filled when its block ends."""

    requests: int = 0
    failures: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    samples: list[str] = field(default_factory=list)
    bodies: dict[str, int] = field(default_factory=dict)
    slowest_ms: float = 0.0

    def __str__(self) -> str:
        bad = f"; first: {', '.join(self.samples[:5])}" if self.samples else ""
        return f"{self.requests} requests, {self.failures} failed, slowest {self.slowest_ms} ms{bad}"


class Traffic:
    """A worker inside the lab; made by `traffic`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())
        #: All requests of this worker's loads since `reset`, and their failures, for the report.
        self.total = Tally()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            future = self._waiting.pop(answer.pop("id"))
            if not future.done():  # whoever asked may have been cancelled
                future.set_result(answer)
        for future in self._waiting.values():
            future.set_exception(RuntimeError("the traffic worker has ended"))

    async def _call(self, op: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
        assert self._process.stdin is not None
        number = next(self._ids)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        return number, await future

    async def get(self, address: str, host: str, path: str = "/", *, port: int = 80, timeout: float = 5) -> Answer:
        """Send one GET."""
        _, found = await self._call("get", address=address, port=port, host=host, path=path, timeout=timeout)
        return Answer(found["status"], found["body"], found["headers"], found["error"])

    async def ask(self, address: str, port: int, protocol: str, *, timeout: float = 5) -> str:
        """Send one line to the echo application over tcp or udp; return what was met, nothing if nobody answered."""
        _, found = await self._call("get", address=address, port=port, protocol=protocol, timeout=timeout)
        return str(found["body"])

    async def until(
        self,
        address: str,
        host: str,
        path: str = "/",
        *,
        status: int = 200,
        port: int = 80,
        seconds: float = 30,
        interval: float = 0.005,
    ) -> dict[str, Any]:
        """Ask every `interval` seconds until `status`; return reached, ms, outcomes, body."""
        _, found = await self._call(
            "until", address=address, port=port, host=host, path=path, status=status, seconds=seconds, interval=interval
        )
        return found

    async def tcp(self, address: str, port: int, send: str = "hello\n", *, timeout: float = 5) -> dict[str, Any]:
        """Connect, send, read a line; return connected, error, text, ms."""
        _, found = await self._call("tcp", address=address, port=port, send=send, timeout=timeout)
        return found

    @asynccontextmanager
    async def load(
        self,
        address: str,
        host: str = "",
        path: str = "/",
        *,
        port: int = 80,
        protocol: str = "http",
        connections: int = 4,
        fresh: int = 2,
        rate: float = 200,
        good: Sequence[int] = (200,),
    ) -> AsyncIterator[Tally]:
        """Send requests all the time while the block runs; the tally is filled when it ends.

        `protocol` is http, or tcp or udp for lines to the echo application; then `bodies` counts the pods that were
        met, with ` proxy` after those that were sent a PROXY header.
        """
        tally = Tally()
        number, _ = await self._call(
            "load",
            address=address,
            port=port,
            protocol=protocol,
            host=host,
            path=path,
            connections=connections,
            fresh=fresh,
            rate=rate,
            good=list(good),
        )
        try:
            yield tally
        finally:
            await self._stop(number, tally)

    @asynccontextmanager
    async def talk(self, address: str, port: int, *, period: float = 0.1) -> AsyncIterator[Tally]:
        """Send lines over one TCP connection while the block runs; being cut is one failure."""
        tally = Tally()
        number, _ = await self._call("talk", address=address, port=port, period=period)
        try:
            yield tally
        finally:
            await self._stop(number, tally)

    async def _stop(self, number: int, tally: Tally) -> None:
        _, found = await self._call("stop", load=number)
        for key, value in found.items():
            setattr(tally, key, value)
        self.total.requests += tally.requests
        self.total.failures += tally.failures
        self.total.slowest_ms = max(self.total.slowest_ms, tally.slowest_ms)

    def reset(self) -> None:
        """Begin a new total, for the next scenario."""
        self.total = Tally()

    async def close(self) -> None:
        """End the worker."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        await self._reading


@asynccontextmanager
async def traffic(command_line: Sequence[str] | None = None) -> AsyncIterator[Traffic]:
    """Run a worker through `command_line` (how a provider enters its network), or here.

    `command_line` is completed with the interpreter and the module.
    """
    command = [*(command_line or []), sys.executable, "-m", "kubelb_e2e.traffic_worker"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LIMIT
    )
    worker = Traffic(process)
    try:
        yield worker
    finally:
        await worker.close()
