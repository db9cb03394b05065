"""A run of scenarios that cannot begin: one line and an exit code, never a skip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--provider", "kind"), 2, "no `docker` on this machine: install Docker; the local provider needs none"),
        (("--provider", "local", "--kubernetes", "1.36"), 4, "ERROR: --kubernetes: not for --provider local"),
    ],
    ids=["kind", "usage"],
)
def test_a_run_that_cannot_begin_says_why_once(tmp_path: Path, options: tuple[str, ...], code: int, told: str) -> None:
    mine = {"PATH": str(tmp_path), "KUBELB_LAB_DIR": str(tmp_path / "labs"), "KUBELB_ARTIFACTS": str(tmp_path / "out")}
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(("KUBELB_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "e2e/tests/layer4", *options]
    done = subprocess.run(command, cwd=ROOT, env={**theirs, **mine}, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert said.count(told) == 1, said
    assert "Traceback" not in said
    assert "skipped" not in said
    assert not (tmp_path / "labs").exists() or list((tmp_path / "labs").glob("[!.]*")) == []
