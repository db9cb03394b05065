from __future__ import annotations

import ctypes
import dataclasses
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubelb_e2e import config
from kubelb_e2e.clusters.kind import plan, preflight
from kubelb_e2e.clusters.kind.plan import LabPlan
from kubelb_e2e.clusters.kind.preflight import Machine
from kubelb_e2e.errors import Unavailable

SETTINGS = dataclasses.replace(config.kind(), node_mebibytes=900, worker_mebibytes=350)
ROOMY = Machine(memory=100_000, instances=1024, used=0)


def lab(tenants: int, nodes: int) -> LabPlan:
    given = {"node_image": "kindest/node:v1", "kind": Path("/kind"), "kubectl": Path("/kubectl")}
    return plan.plan("shop", Path("/labs/shop"), tenants=tenants, nodes=nodes, **given)


def check(machine: Machine, tenants: int = 2, nodes: int = 1) -> None:
    preflight.check_room(lab(tenants, nodes).clusters, SETTINGS, machine)


def test_a_roomy_machine_is_good_enough() -> None:
    check(ROOMY, tenants=2, nodes=3)


def test_memory_counts_for_control_planes_and_workers() -> None:
    needed = 3 * 900 + 6 * 350
    check(dataclasses.replace(ROOMY, memory=needed), nodes=3)
    with pytest.raises(Unavailable) as caught:
        check(dataclasses.replace(ROOMY, memory=needed - 1), nodes=3)
    assert str(caught.value) == (
        "3 clusters with 9 nodes need about 4800 MiB and 4799 MiB are free: end other programs, or ask for less "
        "(--tenants, --nodes); e2e/config.yaml says how much is counted for a node"
    )


def test_too_few_inotify_instances_are_told_with_the_sysctl() -> None:
    needed = 3 * preflight.INOTIFY_PER_CLUSTER
    check(dataclasses.replace(ROOMY, instances=needed + 40, used=40))
    with pytest.raises(
        Unavailable, match=r"need about 84 inotify instances, 40 are in use and the limit is 123"
    ) as caught:
        check(dataclasses.replace(ROOMY, instances=needed + 39, used=40))
    assert "nodes would never become Ready" in str(caught.value)
    assert "sysctl -w fs.inotify.max_user_instances=1024 (`make sysctls` does)" in str(caught.value)


def test_workers_need_inotify_instances_too() -> None:
    few = dataclasses.replace(ROOMY, instances=3 * preflight.INOTIFY_PER_CLUSTER)
    check(few)
    with pytest.raises(Unavailable, match="inotify"):
        check(few, nodes=2)


def test_this_machine_can_be_looked_at() -> None:
    found = Machine.read()
    assert 0 < found.memory < 2**24
    assert found.instances > 0
    assert found.used >= 0


def test_what_this_process_has_of_inotify_is_counted(tmp_path: Path) -> None:
    libc, user = ctypes.CDLL(None), os.getuid()
    descriptors = [libc.inotify_init() for _ in range(5)]
    try:
        assert all(item >= 0 for item in descriptors)
        counted = preflight._inotify_in_use(user)
        others = preflight._inotify_in_use(user + 1)
    finally:
        for item in descriptors:
            os.close(item)
    assert counted >= 5
    assert others < counted, "those of another user are not its"


@pytest.mark.parametrize(
    ("memory", "tenants", "nodes", "width"),
    [
        (100_000, 2, 1, 3),
        (3 * 2 * 900, 2, 1, 3),
        (3 * 2 * 900 - 1, 2, 1, 2),
        (2 * 900, 5, 1, 1),
        (100, 2, 1, 1),
        (2 * (900 + 2 * 350) * 2, 2, 3, 2),
        (100_000, 0, 1, 1),
    ],
)
def test_clusters_are_made_side_by_side_as_half_the_memory_allows(
    memory: int, tenants: int, nodes: int, width: int
) -> None:
    assert preflight.side_by_side(lab(tenants, nodes), SETTINGS, dataclasses.replace(ROOMY, memory=memory)) == width


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that a process of this host listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_told(taken: int) -> None:
    with pytest.raises(Unavailable, match=rf"port {taken} of this host is taken; choose another --api-port"):
        preflight.check_ports([taken])


def test_free_ports_are_free_afterwards(taken: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    preflight.check_ports([free])
    preflight.check_ports([free])
    with pytest.raises(Unavailable, match=f"port {taken} "):
        preflight.check_ports([free, taken])


def test_a_connection_that_just_ended_does_not_count_as_taken() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            served, _ = listener.accept()
            served.close()
    preflight.check_ports([port])
