"""The host's side of a lab: starts it, forwards loopback ports into it, ends with it.

    127.0.0.1:<port>  ->  <folder>/dial.sock  ->  (lab) address:port

The lab has no network to the outside; a unix socket in its folder is the one way in. Lab and host
side hold each other: the lab's daemon ends when this process' pipe closes, and this process ends when
the lab does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

from kubelb_e2e.clusters.local import system, wire
from kubelb_e2e.clusters.local.running import Running, child_of
from kubelb_e2e.clusters.state import ProcessId
from kubelb_e2e.errors import LabError

_TARGET = re.compile(r"[0-9.]+:[0-9]{1,5}")
_FIRST_PROCESS_SECONDS = 20.0


class Forwarder:
    """Loopback listeners, one per target, opened on request and kept."""

    def __init__(self, dial: Path) -> None:
        self._dial = dial
        self._ports: dict[str, int] = {}
        self._servers: list[asyncio.Server] = []

    async def handle(self, message: wire.Message, send: wire.Send) -> None:
        """Answer one request: `forward` to a target `address:port` of the lab."""
        if message.get("op") != "forward":
            raise LabError(f"unknown request {message.get('op')!r}")
        port = await self.open(str(message["target"]))
        await send({"ok": True, "address": f"127.0.0.1:{port}"})

    async def open(self, target: str) -> int:
        """Return the loopback port that leads to `target`; raises LabError for what is no address and port."""
        if not _TARGET.fullmatch(target):
            raise LabError(f"{target!r}: expected an IPv4 address and a port, as in 10.99.200.1:80")
        if target not in self._ports:
            server = await asyncio.start_server(lambda r, w: self._connection(target, r, w), "127.0.0.1", 0)
            self._servers.append(server)
            self._ports[target] = server.sockets[0].getsockname()[1]
        return self._ports[target]

    async def _connection(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner = await asyncio.open_unix_connection(self._dial)
            inner[1].write(target.encode() + b"\n")
            answer = await inner[0].readline()
        except OSError:
            answer = b""
        if answer != b"ok\n":
            writer.transport.abort()
            return
        await wire.splice((reader, writer), inner)


async def run(directory: Path, mode: system.Mode) -> int:
    """Start the lab in `directory` and serve until it ends; return its exit code."""
    command = [*system.unshare_command(mode), sys.executable, "-m", "kubelb_e2e.clusters.local.init", str(directory)]
    lab = subprocess.Popen(  # noqa: ASYNC220  # its end is watched by a pidfd
        command, stdin=subprocess.PIPE, env=system.environment()
    )
    ended = _ended(lab)
    first = await _first_process(lab)
    host = ProcessId.of(os.getpid())
    if first and host:
        Running(host, first, mode).dump(directory)
    forwarder = Forwarder(directory / "dial.sock")
    await wire.serve(directory / "host.sock", forwarder.handle)
    await ended.wait()
    return lab.returncode


def _ended(lab: subprocess.Popen[bytes]) -> asyncio.Event:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(lab.pid)

    def gone() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        lab.wait()
        ended.set()

    loop.add_reader(descriptor, gone)
    return ended


async def _first_process(lab: subprocess.Popen[bytes]) -> ProcessId | None:
    """Return the child of `unshare`, which is pid 1 in the lab; None if the lab ended before."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_PROCESS_SECONDS):
            while lab.returncode is None:
                pid = child_of(lab.pid)
                if pid is not None:
                    return ProcessId.of(pid)
                await asyncio.sleep(0.02)
    return None


def main() -> int:
    """Run as `python -m kubelb_e2e.clusters.local.host FOLDER MODE`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return asyncio.run(run(Path(sys.argv[1]), cast("system.Mode", sys.argv[2])))


if __name__ == "__main__":
    sys.exit(main())
