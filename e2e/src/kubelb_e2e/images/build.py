"""Builds the catalogue's images, and says which are there.

Nothing is fetched while an image is built: its parts are brought into folders before. Docker's cache makes a build of
what has not changed quick.
"""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubelb_e2e import catalogue, docker
from kubelb_e2e.catalogue import PROJECT, TOOLS
from kubelb_e2e.errors import LabError
from kubelb_e2e.images import base as bases
from kubelb_e2e.images import wheels
from kubelb_e2e.images.wheels import Say

_COPY = re.compile(r"^COPY (?!--from)(.+) \S+$", re.MULTILINE)
_ENVOY = ".tools/envoy/"
_WHEELS = (".tools/wheels/", "dist/")


@dataclass(frozen=True, slots=True)
class Built:
    """An image that is here: name, id, size in bytes, and the user it runs as."""

    name: str
    id: str
    size: int
    user: str


def names() -> tuple[str, ...]:
    """Return the names of all images that have a Dockerfile, in the catalogue's order."""
    return tuple(name for name, image in catalogue.load().items() if image.build is not None)


def build(wanted: Iterable[str] | None = None, *, base: str | None = None, say: Say) -> None:
    """Build images, with all that goes into them.

    Args:
        wanted: names as in the catalogue, or without the tag; None: all.
        base: the image to build from; None: the Dockerfiles' own if it is here, else that of `make base-image`.
        say: told of each step, in one line.

    Raises:
        Unavailable: there is no Docker.
        LabError: a name is not in the catalogue, there is no base image, or a step failed.
    """
    chosen = _choose(wanted)
    docker.check()
    with _alone(say):
        foundation = bases.choose(base, say)
        parts = {part for path in chosen.values() for part in sources(PROJECT / path)}
        if any(part.startswith(_WHEELS) for part in parts):
            wheels.ours()
            wheels.dependencies(foundation.target, say)
        if any(part.startswith(_ENVOY) for part in parts):
            _envoy()
        for name, path in chosen.items():
            started, before = time.monotonic(), docker.image_id(name)
            docker.build(path, PROJECT, tag=name, arguments={"BASE": foundation.name})
            how = "as it was" if docker.image_id(name) == before else f"built in {time.monotonic() - started:.0f} s"
            say(f"{name}: {how}")


def missing(wanted: Iterable[str] | None = None) -> tuple[str, ...]:
    """Return which of these images are not here; raises LabError for a name that is not in the catalogue."""
    chosen = _choose(wanted)
    here = {tag for item in docker.inspect("image", *chosen) for tag in item.get("RepoTags") or ()}
    return tuple(name for name in chosen if name not in here)


def built(wanted: Iterable[str] | None = None) -> list[Built]:
    """Return what Docker has of these images; raises LabError for a name that is not in the catalogue."""
    return [
        Built(name, str(found["Id"]), int(found["Size"]), str(found["Config"].get("User") or "root"))
        for name in _choose(wanted)
        for found in docker.inspect("image", name)
    ]


def sources(dockerfile: Path) -> list[str]:
    """Return what a Dockerfile copies from the build context, as it says it."""
    text = re.sub(r"\\\n\s*", "", dockerfile.read_text())
    return [word for line in _COPY.findall(text) for word in line.split()]


def _choose(wanted: Iterable[str] | None) -> dict[str, Path]:
    """Return the Dockerfiles of the images, by full name."""
    known = {name: image.build for name, image in catalogue.load().items() if image.build is not None}
    if wanted is None:
        return known
    short = {name.rpartition(":")[0]: name for name in known}
    full = [short.get(name, name) for name in wanted]
    if unknown := sorted(set(full) - set(known)):
        raise LabError(f"no image {', '.join(unknown)} in e2e/images.yaml; it has {', '.join(known)}")
    return {name: known[name] for name in full}


def _envoy() -> None:
    """Bring Envoy's binary, if it is not there."""
    done = subprocess.run([sys.executable, str(PROJECT / "hack" / "toolchain.py"), "envoy"], check=False)
    if done.returncode:
        raise LabError("Envoy's binary could not be brought, see above: make envoy")


@contextmanager
def _alone(say: Say) -> Iterator[None]:
    """Let one build of this work tree run at a time: they share folders."""
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "images.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is under way: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
