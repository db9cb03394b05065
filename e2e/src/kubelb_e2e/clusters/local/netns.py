"""Network namespaces by name (under /run/netns), `ip` in batches, and calls inside a namespace.

`call` runs a function in a thread of its own that has joined the namespace and ends afterwards: the
calling process never changes its namespace, and a socket made in there stays there.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000
_ROOT = Path("/run/netns")


class NetworkError(Exception):
    """A change of the lab's network failed; the text says which command and why."""


def path(netns: str) -> Path:
    """Return the file that stands for the namespace `netns`."""
    return _ROOT / netns


def exists(netns: str) -> bool:
    """Tell whether there is a namespace of this name."""
    return path(netns).exists()


def names() -> list[str]:
    """Return the names of all namespaces."""
    return sorted(entry.name for entry in _ROOT.iterdir()) if _ROOT.is_dir() else []


def add(netns: str) -> None:
    """Create the namespace `netns` with its loopback up."""
    ip([f"netns add {netns}"])
    ip(["link set lo up"], netns)


def delete(netns: str) -> None:
    """Remove the name; the namespace ends with its last process. Nothing happens if it is not there."""
    if exists(netns):
        ip([f"netns del {netns}"])


def ip(lines: Iterable[str], netns: str | None = None, *, force: bool = False) -> None:
    """Run `ip` commands in one process, in `netns` or where the caller is.

    With `force` all lines are run and failures are ignored (for removal). Raises NetworkError.
    """
    text = "\n".join(lines) + "\n"
    command = ["ip", *(["-n", netns] if netns else []), *(["-force"] if force else []), "-batch", "-"]
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if done.returncode and not force:
        raise NetworkError(f"{' '.join(command)} in {netns or 'the lab'}: {done.stderr.strip()}; the commands: {text}")


def nft(rules: str, netns: str) -> None:
    """Load nftables rules in `netns`; raises NetworkError."""
    command = ["nsenter", f"--net={path(netns)}", "nft", "-f", "-"]
    done = subprocess.run(command, input=rules, text=True, capture_output=True, check=False)
    if done.returncode:
        raise NetworkError(f"nft -f - in {netns}: {done.stderr.strip()}")


def sysctl(values: dict[str, str], netns: str) -> None:
    """Set kernel parameters (`net/ipv4/ip_forward` -> value) of `netns`."""

    def write() -> None:
        for key, value in values.items():
            Path("/proc/sys", key).write_text(value)

    call(netns, write)


def call(netns: str, function: Callable[[], _T]) -> _T:
    """Return `function()`, run in a thread that has joined `netns`; its exception is raised here."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            _join(netns)
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=work, name=f"in-{netns}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _join(netns: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path(netns), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise NetworkError(f"cannot enter network namespace {netns}: {os.strerror(number)}")
    finally:
        os.close(descriptor)
