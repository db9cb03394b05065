"""The door to Docker: what becomes of its answers and of its silence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from standins import programs, says
from standins.engine import Engine
from standins.stage import stage

from kubelb_e2e import docker
from kubelb_e2e.docker import DockerError
from kubelb_e2e.errors import Unavailable


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    with stage(tmp_path / "bin") as found:
        monkeypatch.setenv("PATH", f"{found.bin}{os.pathsep}{os.environ['PATH']}")
        yield found.engine


def printing(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int = 1) -> None:
    """Have a `docker` that prints this to standard error."""
    folder.mkdir(exist_ok=True)
    programs.script(folder / "docker", f"#!/bin/sh\ncat >&2 <<'END'\n{text}\nEND\nexit {code}\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_an_engine_that_answers_tells_its_version(engine: Engine) -> None:
    assert docker.check() == "28.5.2"


def test_a_machine_without_docker_is_told_what_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"no `docker` on this machine: .*--provider local"):
        docker.check()


@pytest.mark.parametrize("said", [says.NO_DOCKER, says.NO_DOCKER_NOW])
def test_an_engine_that_does_not_answer_is_told_in_one_line(engine: Engine, said: str) -> None:
    engine.no_docker = said
    engine.die()
    with pytest.raises(Unavailable, match=r"Docker does not answer .*: start it, or join the group") as caught:
        docker.check()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", [says.NO_DOCKER, says.NO_DOCKER_NOW])
@pytest.mark.parametrize("arguments", [("ps", "--all"), ("image", "inspect", "a"), ("network", "rm", "a")])
def test_an_engine_that_ends_half_way_is_told_with_the_cure(
    engine: Engine, said: str, arguments: tuple[str, ...]
) -> None:
    engine.no_docker = said
    engine.die()
    call = docker.inspect if arguments[1] == "inspect" else docker.docker
    words = ("image", "a") if arguments[1] == "inspect" else arguments
    with pytest.raises(
        DockerError, match=rf"^Docker stopped answering during `docker {' '.join(arguments[:2])}`: start"
    ):
        call(*words)


def test_what_is_absent_is_left_out_and_no_error(engine: Engine) -> None:
    engine.add_image("kubelb/a:1", "kubelb/b:1")
    assert [item["RepoTags"] for item in docker.inspect("image", "kubelb/a:1", "nope", "kubelb/b:1")] == [
        ["kubelb/a:1"],
        ["kubelb/b:1"],
    ]
    for kind in ("image", "container", "network"):
        assert docker.inspect(kind, "nope", "nor-this") == []
    assert docker.image_id("nope") is None
    assert docker.image_id("kubelb/a:1") == engine.images["kubelb/a:1"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Error response from daemon: network a not found\nexit status 1", "network a not found"),
        (
            "docker: Error response from daemon: No such container: a\n\nRun 'docker run --help' for more information",
            "No such container: a",
        ),
        ("docker: Error response from daemon: no luck.\nSee 'docker run --help'.", "no luck."),
        ("Unable to find image 'a' locally\ndocker: Error response from daemon: denied\n", "denied"),
        ("exit status 1", "exit status 1"),
        ("", "no message"),
    ],
)
def test_the_error_is_told_and_not_what_is_printed_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    printing(tmp_path / "bin", monkeypatch, said)
    with pytest.raises(DockerError) as caught:
        docker.docker("network", "rm", "a")
    assert str(caught.value).startswith("docker network rm: ")
    assert str(caught.value).endswith(told)


def test_an_error_that_is_not_absence_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Error response from daemon: No such image: a\nError response from daemon: i/o timeout"
    printing(tmp_path / "bin", monkeypatch, said)
    with pytest.raises(DockerError, match=r"docker image inspect: .*i/o timeout"):
        docker.inspect("image", "a", "b")


def test_docker_that_is_removed_half_way_is_no_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DockerError, match=r"docker image inspect: .*'docker'"):
        docker.inspect("image", "a")


def test_silence_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    programs.script(tmp_path / "bin" / "docker", "#!/bin/sh\nexec tail -f /dev/null\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(DockerError, match="docker ps --all: no answer within 0 s"):
        docker.docker("ps", "--all", timeout=0.2)


def test_input_reaches_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    programs.script(tmp_path / "bin" / "docker", "#!/bin/sh\nexec cat\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert docker.docker("load", text="archive") == "archive"
    assert docker.docker("load") == ""
