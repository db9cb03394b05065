"""Processes of the lab: started in a network namespace, output into a log file, ends noticed.

The lab's end needs no care here: everything dies with the pid namespace.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kubelb_e2e.clusters.local import netns
from kubelb_e2e.errors import LabError

_TAIL_BYTES = 6000
_TAIL_LINES = 15


@dataclass(slots=True)
class Process:
    """One running program; `ended` is set when it is gone."""

    name: str
    log: Path
    popen: subprocess.Popen[bytes]
    started: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self.ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self.popen.returncode

    def check(self) -> None:
        """Raise LabError with the tail of its log if it has ended."""
        if not self.running:
            raise LabError(f"{self.name} ended with code {self.exit_code}; the end of {self.log}:\n{tail(self.log)}")

    async def stop(self, grace: float = 10.0) -> None:
        """End it: SIGTERM, and SIGKILL after `grace` seconds."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, None)):
            if self.running:
                self.popen.send_signal(number)
            try:
                await asyncio.wait_for(self.ended.wait(), patience)
            except TimeoutError:
                continue
            return


class Processes:
    """Starts processes and remembers them by name."""

    def __init__(self) -> None:
        self._all: dict[str, Process] = {}

    def all(self) -> list[Process]:
        """Return every process that was started and not replaced."""
        return list(self._all.values())

    def get(self, name: str) -> Process | None:
        """Return the process called `name`."""
        return self._all.get(name)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        namespace: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start `command` in the network namespace `namespace`; must be called in the running loop."""
        log.parent.mkdir(parents=True, exist_ok=True)
        inside = ["nsenter", f"--net={netns.path(namespace)}", "--"] if namespace else []
        with log.open("ab") as output:
            try:
                popen = subprocess.Popen(
                    [*inside, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,
                )
            except OSError as error:
                raise LabError(f"cannot start {name}: {command[0]}: {error.strerror}") from error
        process = Process(name, log, popen, time.monotonic())
        self._notice_end(process)
        self._all[name] = process
        return process

    def _notice_end(self, process: Process) -> None:
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(process.popen.pid)

        def gone() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            process.popen.wait()
            process.ended.set()

        loop.add_reader(descriptor, gone)


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a log file, a note if it cannot be read."""
    try:
        with log.open("rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - _TAIL_BYTES))
            text = handle.read().decode(errors="replace")
    except OSError as error:
        return f"(unreadable: {error.strerror})"
    return "\n".join("  " + line[:400] for line in text.splitlines()[-lines:])
