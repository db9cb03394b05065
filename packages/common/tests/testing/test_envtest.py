"""The real API server's processes: found, ended, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kubelb_common.testing import binaries
from kubelb_common.testing.envtest import RealApi

_CHILD = """
import sys, time
from pathlib import Path
from kubelb_common.testing import envtest
api = envtest.start(Path(sys.argv[1]))
print(*(process.pid for process in api._processes), flush=True)
time.sleep(600)
"""


def test_missing_programs_say_what_to_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(binaries, "_candidates", lambda: iter([tmp_path]))
    assert binaries.find() is None
    with pytest.raises(binaries.MissingPrograms, match="make setup"):
        binaries.require()


def test_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBELB_CACHE", str(tmp_path))
    folder = binaries.cache_folder()
    assert folder.parent == tmp_path
    folder.mkdir()
    for name in binaries.PROGRAMS:
        (folder / name).touch(mode=0o755)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    assert binaries.find() == folder


def test_version_is_ours(real_api: RealApi) -> None:
    kubectl = binaries.require(["kubectl"]) / "kubectl"
    command = [str(kubectl), "--kubeconfig", str(real_api.kubeconfig), "get", "--raw", "/version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert binaries.KUBERNETES in answer.stdout


@pytest.mark.real_api
def test_processes_die_with_their_parent(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
