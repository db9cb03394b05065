"""Start, watch, signal and enter container processes. The only place that starts the launcher.

Order of a start: the launcher is started and given its instructions; it prints the container's process id and exits;
it is reaped, which makes the container's first process our child; one byte lets that process go on; end of file on
the answer pipe tells that the command runs. The exchange blocks for some tens of milliseconds and runs in a thread.

An exit is seen through a pidfd, so no signal handler and no thread is needed, and an id is never confused with a
process that got the same number later.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubelb_e2e.clusters.local.agent.rootfs import Mount

_LAUNCHER = Path(__file__).with_name("launch.py")
_PR_SET_CHILD_SUBREAPER = 36
_OUTPUT_MAX = 10_000
_BLOCK = 65536


class StartError(Exception):
    """The container could not be started; the text says what failed."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: words, environment and working directory inside the container."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = "/"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where to run it: network namespace (a path, or None for the node's own), host name, file system and log file."""

    netns: str | None
    hostname: str
    root: Path
    mounts: tuple[Mount, ...]
    log: Path
    read_only_root: bool = False


class Output:
    """Copies what a container writes into its log file.

    A pipe and not the file itself, because programs open `/proc/1/fd/1` for writing, which would cut a file off.
    """

    def __init__(self, log: Path) -> None:
        self._read, self.write = os.pipe()
        os.set_blocking(self._read, False)
        self._file = log.open("ab", buffering=0)
        self._open = True
        asyncio.get_running_loop().add_reader(self._read, self._copy)

    def started(self) -> None:
        """Give up our end for writing: the container has its own."""
        os.close(self.write)

    def end(self) -> None:
        """Copy what is left and close."""
        while self._open and self._copy():
            pass
        self._close()

    def _copy(self) -> bool:
        """Copy one block; returns whether there may be more at once."""
        try:
            block = os.read(self._read, _BLOCK)
        except BlockingIOError:
            return False
        if not block:
            self._close()
            return False
        self._file.write(block)
        return True

    def _close(self) -> None:
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._read)
            os.close(self._read)
            self._file.close()


@dataclass(slots=True)
class Process:
    """A running container. `exited` resolves to its exit code, 128 + signal number for a killed one."""

    pid: int
    command: Command
    exited: asyncio.Future[int]
    _pidfd: int = field(repr=False)
    _output: Output | None = None

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process; nothing happens if it is gone."""
        if not self.exited.done():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _on_exit(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        if self._output is not None:
            self._output.end()
        try:
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:  # reaped by somebody else: the code is unknown
            code = 255
        if not self.exited.done():
            self.exited.set_result(code if code >= 0 else 128 - code)


def become_subreaper() -> None:
    """Let containers become children of this process when their launcher exits."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a child subreaper")


def _instructions(command: Command, **more: Any) -> bytes:
    spec = {"argv": list(command.argv), "env": command.env, "cwd": command.cwd, **more}
    return json.dumps(spec).encode() + b"\n"


def _launch(line: bytes, output: int) -> int:
    """Run the exchange with the launcher; blocks. Returns the container's process id."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        pass_fds=[output],
    ) as launcher:
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        pid = 0
        try:
            launcher.stdin.write(line)
            answer = json.loads(_line(launcher.stdout.fileno()) or b'{"error": "the launcher died"}')
            pid = answer.get("pid", 0)
            launcher.wait()
            if "error" not in answer:
                launcher.stdin.write(b"G")
                answer = json.loads(_line(launcher.stdout.fileno()) or b"{}")
        except BrokenPipeError:
            answer = {"error": "the launcher died"}
    if "error" in answer:
        if pid:
            os.waitpid(pid, 0)
        raise StartError(str(answer["error"]))
    return int(pid)


def _line(descriptor: int) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = os.read(descriptor, 65536)
        if not chunk:
            break
        data += chunk
    return bytes(data)


async def start(command: Command, sandbox: Sandbox) -> Process:
    """Start a container; raises StartError with the reason if its command could not be executed."""
    sandbox.log.parent.mkdir(parents=True, exist_ok=True)
    sandbox.root.mkdir(parents=True, exist_ok=True)
    output = Output(sandbox.log)
    line = _instructions(
        command,
        mode="start",
        netns=sandbox.netns,
        hostname=sandbox.hostname,
        root=str(sandbox.root),
        output=output.write,
        read_only_root=sandbox.read_only_root,
        mounts=[mount.to_dict() for mount in sandbox.mounts],
    )
    launching = asyncio.ensure_future(asyncio.to_thread(_launch, line, output.write))
    launching.add_done_callback(lambda _: output.started())
    try:
        pid = await asyncio.shield(launching)
    except asyncio.CancelledError:
        launching.add_done_callback(_kill_orphan)
        launching.add_done_callback(lambda _: output.end())
        raise
    except StartError:
        output.end()
        raise
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(pid)
    process = Process(pid, command, loop.create_future(), pidfd, output)
    loop.add_reader(pidfd, process._on_exit)  # noqa: SLF001 - the class is this module's own
    return process


def _kill_orphan(launching: asyncio.Future[int]) -> None:
    """A start whose waiter was cancelled: nobody would ever end this container."""
    if not launching.cancelled() and launching.exception() is None:
        os.kill(launching.result(), signal.SIGKILL)
        os.waitpid(launching.result(), 0)


async def enter(process: Process, argv: list[str], *, limit: float) -> tuple[int, str]:
    """Run a command inside a running container for at most `limit` seconds.

    Returns:
        The exit code and the beginning of its output; a command that took too long is killed and raises TimeoutError.
    """
    helper = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(_LAUNCHER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    command = Command(tuple(argv), process.command.env, process.command.cwd)
    try:
        async with asyncio.timeout(limit):
            output, _ = await helper.communicate(_instructions(command, mode="enter", pid=process.pid))
    finally:
        if helper.returncode is None:
            helper.terminate()  # not SIGKILL: it has to reap its child, see the launcher
            await helper.wait()
    return helper.returncode or 0, output.decode(errors="replace")[:_OUTPUT_MAX]
