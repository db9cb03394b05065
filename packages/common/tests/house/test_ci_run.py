"""`.ci/run` runs everything that needs no Docker, and kind exactly where Docker answers; what fails stops it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def ci(root: Path, tmp_path: Path):
    """Run a copy of `.ci/run` with a `make` that writes down its words, and a `docker` that answers or does not."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text((root / ".ci" / "run").read_text())
    programs = tmp_path / "bin"
    programs.mkdir()

    def act(*, docker: int, failing: str = "none", **variables: str) -> tuple[int, list[str], str]:
        calls = tmp_path / "calls"
        scripts = {
            "make": f'#!/bin/sh\necho "$*" >>"{calls}"\n[ "$1" != {failing} ]\n',
            "docker": f"#!/bin/sh\nexit {docker}\n",
        }
        for name, text in scripts.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        environment = {"PATH": f"{programs}:/usr/bin:/bin", **variables}
        command = ["bash", str(tmp_path / ".ci" / "run")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, calls.read_text().splitlines(), done.stdout

    return act


ALWAYS = ["test", "lint types imports", "e2e FAST=1"]


def test_without_docker_kind_is_left_out_and_that_is_said(ci) -> None:
    code, calls, said = ci(docker=1)
    assert (code, calls) == (0, ALWAYS)
    assert "Docker does not answer here, so the scenarios did not run on kind" in said
    assert said.splitlines()[-1] == "ci: all green"


def test_with_docker_the_same_scenarios_run_on_kind(ci) -> None:
    assert ci(docker=0)[1] == [*ALWAYS, "e2e FAST=1 PROVIDER=kind KIND_IMAGE="]
    assert ci(docker=0, KIND_IMAGE="my/node:1")[1][-1] == "e2e FAST=1 PROVIDER=kind KIND_IMAGE=my/node:1"


@pytest.mark.parametrize("failing", ["test", "lint", "e2e"])
def test_what_fails_fails_all(ci, failing: str) -> None:
    code, calls, said = ci(docker=0, failing=failing)
    assert code != 0
    assert calls[-1].split()[0] == failing
    assert "all green" not in said
