from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.local.running import Running
from kubelb_e2e.clusters.state import ProcessId
from kubelb_e2e.errors import LabError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBELB_LAB_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "../x", "a" * 33, "a/b"])
def test_a_name_that_is_no_folder_of_ours_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="lab name"):
        state.lab_directory(name)


def test_a_folder_too_long_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELB_LAB_DIR", "/" + "x" * 90)
    with pytest.raises(LabError, match="KUBELB_LAB_DIR"):
        state.lab_directory("default")


def test_without_a_home_the_temporary_folder_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBELB_LAB_DIR")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    (tmp_path / "home").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert state.state_root().name == f"kubelb-lab-{os.getuid()}"


def test_a_process_is_known_by_pid_and_start_time() -> None:
    child = subprocess.Popen(["sleep", "60"])
    running = ProcessId.of(child.pid)
    assert running is not None
    assert running.alive
    assert not ProcessId(child.pid, running.started - 1).alive, "another process of this pid is not ours"
    ProcessId(child.pid, running.started - 1).kill()
    assert child.poll() is None, "a stranger's process is not killed"
    running.kill()
    child.wait()
    assert not running.alive


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["sleep", "60"])
    running = ProcessId.of(child.pid)
    assert running is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not running.alive
    child.wait()


def test_running_survives_the_file_and_a_torn_one_is_none(root: Path) -> None:
    running = Running(ProcessId(1, 2), ProcessId(3, 4), "user")
    running.dump(root)
    assert Running.load(root) == running
    (root / "running.json").write_text("{")
    assert Running.load(root) is None


def test_remove_takes_read_only_folders(root: Path) -> None:
    folder = root / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "file").write_text("x")
    folder.chmod(0o500)
    state.remove(root / "a")
    assert not (root / "a").exists()


def test_the_lock_of_a_name_is_held_by_one(root: Path) -> None:
    with state.locked("a"), state.locked("b"), pytest.raises(LabError, match="another"), state.locked("a", timeout=0):
        pass


def test_a_claim_is_there_before_the_lab_and_after_its_holder(root: Path) -> None:
    folder = root / "shop"
    assert state.claimed_by(folder) is None
    state.claim(folder)
    held = state.claimed_by(folder)
    assert held is not None
    assert held.alive
    assert held.pid == os.getpid()
    state.create(folder, "kind")
    state.remove(folder)
    assert state.claimed_by(folder) == held, "it outlives the folder"
    state.release(folder)
    assert state.claimed_by(folder) is None
    assert list(root.iterdir()) == []


def test_labs_are_known_with_their_providers(root: Path) -> None:
    state.create(root / "b", "kind")
    state.create(root / "a", "local")
    (root / "stray").mkdir()
    assert state.labs() == {"a": "local", "b": "kind"}
    assert state.provider_of(root / "b") == "kind"
    assert state.provider_of(root / "stray") is None
