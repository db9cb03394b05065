"""Runs of scenarios that need no lab: what cannot begin is one line and an exit code, what is not for a provider a skip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a machine without Docker."""
    mine = {"PATH": str(tmp_path), "KUBELB_LAB_DIR": str(tmp_path / "labs"), "KUBELB_ARTIFACTS": str(tmp_path / "out")}
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("KUBELB_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=ROOT, env={**theirs, **mine}, capture_output=True, text=True, check=False)


def test_a_run_on_kind_without_docker_exits_with_2(tmp_path: Path) -> None:
    done = run(tmp_path, "e2e/tests/layer7/test_ingress.py", "--provider", "kind")
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert said.count("no `docker` on this machine: install Docker; the local provider needs none") == 1, said
    assert "Traceback" not in said
    assert "skipped" not in said
    assert not (tmp_path / "labs").exists() or list((tmp_path / "labs").glob("[!.]*")) == []


@pytest.mark.parametrize("provider", ["kind", "existing"])
def test_load_and_faults_belong_to_local(tmp_path: Path, provider: str) -> None:
    done = run(tmp_path, "e2e/tests/failure", "--provider", provider)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"needs load and faults: not on {provider}" in done.stdout
    assert re.search(r"^\d+ skipped in", done.stdout, re.MULTILINE), "all of them, and before a lab is asked for"
