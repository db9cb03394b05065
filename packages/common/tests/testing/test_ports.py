"""Ports for programs under test: free, different, and nobody else's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from itertools import pairwise

from kubelb_common.testing import ports


def test_ports_are_free_and_all_different() -> None:
    found = ports.free(20)
    assert len(set(found)) == 20
    for port in found:
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_a_port_that_is_in_use_is_left_out() -> None:
    with socket.socket() as used:
        (port,) = ports.free()
        used.bind(("127.0.0.1", port))
        assert port not in ports.free(ports.BLOCK)
    assert port in ports.free(ports.BLOCK)


def test_workers_have_ports_of_their_own_outside_the_kernels() -> None:
    blocks = [ports.block(f"gw{number}") for number in range(16)]
    assert all(first.stop <= second.start for first, second in pairwise(blocks))
    assert blocks[0].start >= 1024
    assert blocks[-1].stop <= 30_000  # node ports begin here, the kernel's own later
    assert ports.block("") == blocks[0]


def test_a_worker_takes_from_its_own() -> None:
    command = [sys.executable, "-c", "from kubelb_common.testing import ports; print(*ports.free(3))"]
    environment = {**os.environ, "PYTEST_XDIST_WORKER": "gw7"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert {int(word) for word in answer.stdout.split()} <= set(ports.block("gw7"))
