"""A run of scenarios that cannot begin: one line and an exit code, never a skip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_run_on_kind_without_docker_exits_with_2(tmp_path: Path) -> None:
    mine = {"PATH": str(tmp_path), "KUBELB_LAB_DIR": str(tmp_path / "labs"), "KUBELB_ARTIFACTS": str(tmp_path / "out")}
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("KUBELB_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "e2e/tests/layer4", "--provider", "kind"]
    done = subprocess.run(command, cwd=ROOT, env={**theirs, **mine}, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert said.count("no `docker` on this machine: install Docker; the local provider needs none") == 1, said
    assert "Traceback" not in said
    assert "skipped" not in said
    assert not (tmp_path / "labs").exists() or list((tmp_path / "labs").glob("[!.]*")) == []
