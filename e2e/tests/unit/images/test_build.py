"""Which base is taken, what is built, and how each thing that can be missing is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from kubelb_e2e import docker
from kubelb_e2e.catalogue import PROJECT
from kubelb_e2e.docker import DockerError
from kubelb_e2e.errors import LabError, Unavailable
from kubelb_e2e.images import base, build
from kubelb_e2e.images.target import Target
from kubelb_e2e.images.wheels import DEFAULT


class Docker(Protocol):
    calls: list[str]

    def has(self, *images: str) -> None: ...

    def answers(self, command: str, text: str) -> None: ...


BOOKWORM = json.dumps([[3, 11], "x86_64", "glibc", "2.36"])


@pytest.fixture
def said() -> list[str]:
    return []


def test_the_usual_base_comes_first(engine: Docker, said: list[str]) -> None:
    engine.has(base.DEFAULT, base.OWN)
    engine.answers("run", BOOKWORM)
    found = base.choose(None, said.append)
    assert found == base.Base(base.DEFAULT, Target(python=(3, 11), machine="x86_64", glibc=36))
    assert said == []


def test_the_one_made_here_is_taken_when_the_usual_one_is_not_there(engine: Docker, said: list[str]) -> None:
    engine.has(base.OWN)
    engine.answers("run", BOOKWORM)
    assert base.choose(None, said.append).name == base.OWN
    assert said == [f"{base.DEFAULT} is not here: building from {base.OWN}"]
    assert [call for call in engine.calls if call.startswith("pull")] == []


@pytest.mark.parametrize(("wanted", "name"), [(None, base.DEFAULT), ("python:3.13-slim", "python:3.13-slim")])
def test_a_base_that_cannot_be_had_is_told_with_the_cure(
    engine: Docker, said: list[str], wanted: str | None, name: str
) -> None:
    engine.has(*([base.OWN] if wanted else []))
    engine.answers("pull", "Error response from daemon: no such host")
    with pytest.raises(
        LabError, match=rf"^base image {name} is not here .*no such host\): `make base-image`"
    ) as caught:
        base.choose(wanted, said.append)
    assert "\n" not in str(caught.value)
    assert said == [f"fetching {name}"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([[3, 10], "x86_64", "glibc", "2.35"], "has Python 3.10; 3.11 or newer is needed"),
        ([[3, 12], "x86_64", "", ""], "another C library than glibc"),
    ],
)
def test_a_base_that_cannot_serve_is_told(engine: Docker, answer: list[object], told: str) -> None:
    engine.has("some:1")
    engine.answers("run", json.dumps(answer))
    with pytest.raises(LabError, match=rf"^base image some:1 .*{told}"):
        base.choose("some:1", print)


def test_the_names_of_bases_are_those_of_the_scripts() -> None:
    script = (PROJECT / "hack/images/base.sh").read_text()
    (suite,) = re.findall(r"^suite=\$\{1:-(\w+)\}$", script, re.MULTILINE)
    assert "image=kubelb/base:$suite\n" in script
    assert f"kubelb/base:{suite}" == base.OWN
    assert f"python:{DEFAULT.version}-slim-{suite}" == base.DEFAULT, "`make wheels` fetches for the Dockerfiles' base"


def test_names_may_leave_the_tag_out(engine: Docker) -> None:
    engine.has("kubelb/ccm:0.1.0")
    assert build.missing(["kubelb/echo", "kubelb/ccm"]) == ("kubelb/echo:0.1.0",)
    assert build.missing(["kubelb/ccm:0.1.0"]) == ()
    assert set(build.missing()) == set(build.names()) - {"kubelb/ccm:0.1.0"}
    assert [image.name for image in build.built()] == ["kubelb/ccm:0.1.0"]
    assert build.built()[0].user == "root", "an image that names no user"


@pytest.mark.parametrize("call", [build.missing, build.built, lambda names: build.build(names, say=print)])
def test_an_unknown_name_is_told_with_those_that_are(engine: Docker, call: Callable[[list[str]], object]) -> None:
    with pytest.raises(LabError, match=r"^no image nginx in e2e/images\.yaml; it has kubelb/manager:0\.1\.0, "):
        call(["kubelb/echo", "nginx"])
    assert engine.calls == []


def test_without_docker_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no `docker` on this machine"):
        build.build(["kubelb/echo"], say=print)


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        (
            "Step 1/9\n\x1b[91mlayer wheels: no wheels in /wheels: run it\n\x1b[0mThe command '/bin/sh' returned 1",
            "no wheels in /wheels: run it",
        ),
        ("#8 0.4 layer check: a requires b\n#8 ERROR: exit code: 1\n------\nERROR: failed to solve", "a requires b"),
        ("Sending context\nCOPY failed: no source files were specified", "COPY failed: no source files were specified"),
    ],
)
def test_a_failed_step_is_told_by_what_it_said(engine: Docker, printed: str, told: str) -> None:
    engine.answers("build", printed)
    with pytest.raises(DockerError) as caught:
        docker.build(Path("some/Dockerfile"), PROJECT, tag="kubelb/x:1", arguments={"BASE": "some:1"})
    text = str(caught.value)
    assert text.startswith(f"image kubelb/x:1: {told}; to see all of it: docker build --network=none ")
    assert "\n" not in text
    assert "\x1b" not in text


def test_the_command_answers_by_its_exit_code(tmp_path: Path) -> None:
    def run(*arguments: str, path: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kubelb_e2e.images", *arguments]
        return subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)

    absent = run("kubelb/echo", path=str(tmp_path))
    assert absent.returncode == 2
    assert absent.stderr.startswith("images: no `docker` on this machine")
    unknown = run("nginx", path=os.environ["PATH"])
    assert unknown.returncode == 1
    assert unknown.stderr.count("\n") == 1
    taught = run("--help", path=str(tmp_path))
    assert taught.returncode == 0
    assert "make base-image" in taught.stdout
    assert "  python -m kubelb_e2e.images kubelb/manager kubelb/ccm" in taught.stdout
