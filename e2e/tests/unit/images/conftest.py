"""Each image and its Dockerfile, the scripts of the build stage as modules, and a `docker` that answers as told."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import dockerfiles
import pytest
from dockerfiles import CATALOGUE, Dockerfile

from kubelb_e2e.catalogue import PROJECT

SCRIPTS = PROJECT / "hack" / "images"


@pytest.fixture(params=sorted(CATALOGUE))
def image(request: pytest.FixtureRequest) -> str:
    """Each image of the catalogue."""
    return str(request.param)


@pytest.fixture
def dockerfile(image: str) -> Dockerfile:
    return dockerfiles.of(image)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a script of the build stage by its name, as its neighbours do."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module
    for path in SCRIPTS.glob("*.py"):
        sys.modules.pop(path.stem, None)


class Docker:
    """A `docker` that knows the images it is told of, and says what it is told to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        program = folder / "docker"
        program.write_text(
            "#!/bin/sh\n"
            f'cd {folder}; echo "$@" >>calls\n'
            'case "$1" in\n'
            "image) shift 2; status=0; comma=; printf '['\n"
            "       for name; do\n"
            '         if grep -qxF "$name" images; then\n'
            '           printf \'%s{"Id": "sha256:1", "Size": 5, "Config": {}, "RepoTags": ["%s"]}\' "$comma" "$name"; comma=,\n'
            '         else echo "Error: No such image: $name" >&2; status=1; fi\n'
            "       done; echo ']'; exit $status ;;\n"
            "pull) cat pull >&2; exit 1 ;;\n"
            "run) cat run; exit ;;\n"
            "build) cat build >&2; exit 1 ;;\n"
            "esac\n"
        )
        program.chmod(0o755)
        self.has()

    def has(self, *images: str) -> None:
        (self._folder / "images").write_text("".join(f"{name}\n" for name in images))

    def answers(self, command: str, text: str) -> None:
        (self._folder / command).write_text(text)

    @property
    def calls(self) -> list[str]:
        """The command lines it got."""
        calls = self._folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Docker(folder)
