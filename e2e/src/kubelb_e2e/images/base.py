"""The image that the others are made from: which, and what it has."""

from __future__ import annotations

import json
from dataclasses import dataclass

from kubelb_e2e import docker
from kubelb_e2e.errors import LabError
from kubelb_e2e.images.target import Target
from kubelb_e2e.images.wheels import Say

#: What the Dockerfiles start from when they are told nothing else.
DEFAULT = "python:3.11-slim-bookworm"
#: What `make base-image` makes, without a registry.
OWN = "kubelb/base:bookworm"
_OLDEST = (3, 11)
_PULL_SECONDS = 600.0
_QUESTION = """
import json, platform, sys
print(json.dumps([sys.version_info[:2], platform.machine(), *platform.libc_ver()]))
"""


@dataclass(frozen=True, slots=True)
class Base:
    """An image that is here, and what wheels must be made for to run in it."""

    name: str
    target: Target


def choose(wanted: str | None, say: Say) -> Base:
    """Return the base image: the one wanted, else the usual one, else the one made here.

    Raises:
        LabError: it is not here and cannot be fetched, or nothing can be built from it.
    """
    name = wanted or DEFAULT
    if wanted is None and not _is_here(DEFAULT) and _is_here(OWN):
        say(f"{DEFAULT} is not here: building from {OWN}")
        name = OWN
    elif not _is_here(name):
        _pull(name, say)
    return Base(name, _ask(name))


def _is_here(name: str) -> bool:
    return docker.image_id(name) is not None


def _pull(name: str, say: Say) -> None:
    say(f"fetching {name}")
    try:
        docker.docker("pull", "--quiet", name, timeout=_PULL_SECONDS)
    except docker.DockerError as error:
        raise LabError(
            f"base image {name} is not here and cannot be fetched ({error}): "
            "`make base-image` makes one without a registry, and `make images` takes it"
        ) from error


def _ask(name: str) -> Target:
    """Run the base's Python and let it say what it is."""
    try:
        answer = docker.docker("run", "--rm", "--network=none", "--entrypoint=python3", name, "-I", "-c", _QUESTION)
    except docker.DockerError as error:
        raise LabError(f"base image {name}: its python3 does not run ({error}); choose another: --base") from error
    version, machine, library, release = json.loads(answer)
    if tuple(version) < _OLDEST:
        raise LabError(f"base image {name} has Python {version[0]}.{version[1]}; 3.11 or newer is needed: --base")
    if library != "glibc":
        raise LabError(f"base image {name} has {library or 'another C library than glibc'}; choose another: --base")
    return Target(python=(version[0], version[1]), machine=machine, glibc=int(release.split(".")[1]))
