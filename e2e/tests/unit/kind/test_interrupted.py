"""Starts that are interrupted or killed, and what the next one makes of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from standins.command import environment

from kubelb_e2e.clusters.kind.plan import LabPlan
from kubelb_e2e.errors import LabError

MANAGEMENT, TENANT, LAST = (f"kubelb-shop-{name}" for name in ("management", "tenant-1", "tenant-2"))


@contextlib.contextmanager
def starting(machine, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run `kubelb-e2e up` in a process group of its own, as a terminal does."""
    own = ["--name", "shop", "--provider", "kind", "--kind-bin", str(machine.stage.bin / "kind")]
    own += ["--kind-image", "kindest/node:v1.36.4", "--kubectl", str(machine.kubectl), "--tenants", "2"]
    # As from a terminal, where Ctrl-C is heard; what runs these tests in the background may have it ignored.
    command = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-m",
        "standins.command",
        str(machine.here.parent),
        "up",
        *own,
        *words,
    ]
    with subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        yield process


def killed(machine) -> None:
    """Have a lab whose start was killed when the second cluster was half made."""
    machine.kind.hold(TENANT)
    with starting(machine) as process:
        machine.stage.reached(TENANT)
        machine.created(MANAGEMENT)
        os.killpg(process.pid, signal.SIGKILL)
    machine.stage.do(machine.stage.quiet())
    machine.kind.held.clear()
    machine.engine.calls.clear()


def kept(machine) -> set[str]:
    """Return the clusters that were not made since the calls were forgotten."""
    made = {call[3].removeprefix("--name=") for call in machine.engine.made("kind", "create")}
    return {name for name in machine.kind.apis if name not in made}


def test_what_a_killed_start_left_is_removed_by_the_next(machine) -> None:
    killed(machine)
    assert f"{TENANT}-control-plane" in machine.engine.containers
    machine.up(tenants=2)
    assert kept(machine) == set()
    assert machine.said[0].startswith("removing what is left of lab shop: ")
    assert MANAGEMENT in machine.said[0]
    machine.down()
    assert machine.is_clean()


def test_reuse_keeps_the_clusters_that_work_and_makes_the_others(machine) -> None:
    killed(machine)
    url = machine.api(MANAGEMENT).url
    lab = machine.up(tenants=2, reuse=True)
    assert MANAGEMENT in kept(machine)
    assert TENANT not in kept(machine)
    assert machine.api(MANAGEMENT).url == url
    assert "management: still there, 1 nodes ready" in machine.said
    assert "tenant-1: not whole, removing it" in machine.said
    assert lab.status().healthy


@pytest.fixture
def halfway(machine):
    """A lab whose start was killed at the very end."""
    machine.up()
    machine.process().kill()
    (machine.directory / "ready").unlink()
    machine.engine.calls.clear()
    return machine


def test_reuse_replaces_a_cluster_with_a_stopped_node(halfway) -> None:
    halfway.engine.containers[f"{TENANT}-control-plane"].running = False
    halfway.up(reuse=True)
    assert kept(halfway) == {MANAGEMENT}


def test_reuse_replaces_a_cluster_that_lacks_a_node(machine) -> None:
    machine.up(tenants=0, nodes=2)
    del machine.engine.containers[f"{MANAGEMENT}-worker"]
    machine.engine.calls.clear()
    machine.up(tenants=0, nodes=2, reuse=True)
    assert len(machine.engine.made("kind", "create")) == 1
    assert machine.nodes() == [f"{MANAGEMENT}-control-plane", f"{MANAGEMENT}-worker"]


@pytest.mark.parametrize(
    "wishes",
    [{"tenants": 0}, {"nodes": 2}, {"node_image": "kindest/node:v1.35.8"}],
    ids=["tenants", "nodes", "image"],
)
def test_reuse_keeps_nothing_of_a_lab_that_was_to_be_another(halfway, wishes: dict[str, object]) -> None:
    halfway.engine.add_image("kindest/node:v1.35.8")
    halfway.up(reuse=True, **wishes)
    assert kept(halfway) == set()


def test_reuse_keeps_nothing_if_the_plan_is_lost(halfway) -> None:
    (halfway.directory / "lab.json").write_text("{")
    halfway.up(reuse=True)
    assert kept(halfway) == set()


def test_reuse_asks_for_room_only_for_what_is_made(halfway, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(f"MemAvailable: {1000 * 1024} kB\n")
    halfway.engine.containers[f"{TENANT}-control-plane"].running = False
    halfway.up(reuse=True)
    with pytest.raises(LabError, match="2 clusters with 2 nodes need about 1800 MiB"):
        halfway.up(fresh=True)


def test_a_failure_while_reusing_removes_all(halfway) -> None:
    halfway.engine.containers[f"{TENANT}-control-plane"].running = False
    halfway.kind.troubles[TENANT] = lambda _: "ERROR: stop here"
    with pytest.raises(LabError, match="stop here"):
        halfway.up(reuse=True)
    assert halfway.is_clean()


def test_leftovers_without_a_folder_are_found_by_the_network(machine) -> None:
    machine.up(tenants=0)
    machine.process().kill()
    for path in sorted(machine.directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    machine.directory.rmdir()
    machine.up(tenants=0)
    assert f"removing what is left of lab shop: {MANAGEMENT}" in machine.said
    assert LabPlan.load(machine.directory) is not None


def test_a_folder_without_clusters_is_replaced(machine) -> None:
    machine.up(tenants=0)
    machine.engine.containers.clear()
    machine.engine.networks.clear()
    machine.up(tenants=0)
    assert machine.nodes() == [f"{MANAGEMENT}-control-plane"]


def test_ctrl_c_removes_all_that_was_created(machine) -> None:
    machine.kind.hold(TENANT)
    with starting(machine) as process:
        machine.stage.reached(TENANT)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1] == "Aborted!"
    assert machine.is_clean()


def test_another_up_of_the_same_lab_waits_for_its_turn(machine) -> None:
    machine.kind.hold(MANAGEMENT)

    def second() -> None:
        machine.stage.reached(MANAGEMENT)
        machine.stage.release(MANAGEMENT)
        machine.up(tenants=0)

    with machine.meanwhile(second):
        machine.up(tenants=0)
    assert len(machine.engine.made("kind", "create")) == 1
