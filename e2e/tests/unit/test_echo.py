"""The echo application and the traffic worker over real sockets: lines, datagrams, PROXY headers."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import kubelb_e2e
from kubelb_common.testing import ports
from kubelb_e2e.traffic import Traffic, traffic

ECHO = Path(kubelb_e2e.__file__).parent / "apps" / "echo.py"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """An echo application on this port, TCP and UDP."""
    number = str(ports.free()[0])
    env = {**os.environ, "HTTP_PORT": "0", "TCP_PORT": number, "UDP_PORT": number, "POD_NAME": "pod-1"}
    command = [sys.executable, "-I", "-S", str(ECHO)]
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert b"listens" in await process.stdout.readline()
    yield int(number)
    process.kill()
    await process.wait()


@pytest.fixture
async def worker() -> AsyncIterator[Traffic]:
    async with traffic() as running:
        yield running


async def converse(port: int, sent: bytes, lines: int) -> bytes:
    """Return the first lines that a connection beginning with `sent` is told."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(30):
            return b"".join([await reader.readline() for _ in range(lines)])
    finally:
        writer.close()


def header(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + struct.pack("!HH", 4711, 80)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") * 2 + struct.pack("!HH", 4712, 80)


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"hello\n", b"hello\n"),
        (header(1, 0x11, V4) + b"hello\n", b"proxy 192.0.2.1 4711\nhello\n"),
        (header(1, 0x21, V6) + b"hello\n", b"proxy 2001:db8::1 4712\nhello\n"),
        (header(0, 0, b"") + b"hello\n", b"proxy local 0\nhello\n"),
        (b"\r\n\r\nx\n", b"\r\n\r\nx\n"),
        (b"\r\n", b""),
    ],
    ids=["plain", "v4", "v6", "local", "alike", "short"],
)
async def test_a_proxy_header_is_told_and_nothing_else_is_taken_for_one(port: int, sent: bytes, told: bytes) -> None:
    lines = 1 + told.count(b"\n")
    assert await converse(port, sent, lines) == b"pod-1\n" + told


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_a_load_of_lines_is_counted(port: int, worker: Traffic, protocol: str) -> None:
    assert await worker.ask("127.0.0.1", port, protocol) == "pod-1"
    async with worker.load("127.0.0.1", port=port, protocol=protocol, rate=500) as tally:
        for _ in range(20):
            await worker.ask("127.0.0.1", port, protocol)
    assert tally.requests > 0
    assert tally.failures == 0, str(tally)
    assert tally.bodies == {"pod-1": tally.requests}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_a_closed_port_is_counted_as_failures(worker: Traffic, protocol: str) -> None:
    closed = ports.free()[0]
    assert await worker.ask("127.0.0.1", closed, protocol, timeout=1) == ""
    async with worker.load("127.0.0.1", port=closed, protocol=protocol) as tally:
        await worker.ask("127.0.0.1", closed, protocol, timeout=1)
    assert tally.requests == tally.failures > 0
