"""Loopback ports for programs that must be told their port before they start.

A port that the kernel gave a moment ago may be any connection's next source port, so the program that was told it
sometimes cannot bind it. These ports are outside the range from which the kernel picks, and each worker of
pytest-xdist has its own: nobody else takes one between the answer and the program's start.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator

FIRST, END = 10_000, 30_000  # below it the well-known ones, above it node ports and the kernel's own
BLOCK = 1_000


def free(count: int = 1) -> list[int]:
    """Return ports on which nothing listens, each a different one for as long as a block lasts."""
    return list(itertools.islice((port for port in _ours if _is_free(port)), count))


def block(worker: str) -> range:
    """Return the ports of a worker of pytest-xdist (`gw0`, `gw1` and so on; empty without workers)."""
    digits = worker.removeprefix("gw")
    number = int(digits) if digits.isdecimal() else 0
    first = FIRST + number * BLOCK % (END - FIRST)
    return range(first, first + BLOCK)


def _round_and_round(ports: range) -> Iterator[int]:
    """Yield the ports for ever, from any of them on: another run on this machine begins elsewhere."""
    start = random.randrange(len(ports))  # noqa: S311 - no secret
    return itertools.cycle([*ports[start:], *ports[:start]])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_ours = _round_and_round(block(os.environ.get("PYTEST_XDIST_WORKER", "")))
