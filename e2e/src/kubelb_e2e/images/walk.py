"""Which wheels a wheel depends on, on another Python than this one.

pip cannot tell: it reads environment markers as its own interpreter would, even when it is told another one. The lock
makes the question easy: each name has one version, so there is nothing to resolve, only names to follow.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from kubelb_e2e.errors import LabError
from kubelb_e2e.images.target import Target

_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")


def pins(lock: Path) -> dict[str, str]:
    """Return the versions of a constraints file by canonical name."""
    found = (_PIN.fullmatch(line.strip()) for line in lock.read_text().splitlines())
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def requirements(wheel: Path) -> list[Requirement]:
    """Return what a wheel asks for, each with its marker."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (item for item in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", item))
        headers = HeaderParser().parsestr(archive.read(name).decode())
    return [Requirement(text) for text in headers.get_all("Requires-Dist", [])]


def by_name(*folders: Path) -> dict[str, Path]:
    """Return the wheels of some folders by canonical name."""
    return {parse_wheel_filename(path.name)[0]: path for folder in folders for path in sorted(folder.glob("*.whl"))}


def closure(
    root: str, wheels: Callable[[], Mapping[str, Path]], target: Target, fetch: Callable[[list[str]], None]
) -> set[str]:
    """Return the canonical names of all that `root` depends on for `target`, itself included.

    Args:
        root: canonical name of a wheel that is there.
        wheels: the wheels that are there, by canonical name.
        target: for which markers are read.
        fetch: brings wheels of these names; called once for each step of the way, with what is not there yet.
    """
    seen: set[tuple[str, str]] = set()
    step: set[tuple[str, str]] = {(root, "")}
    while step:
        if absent := sorted({name for name, _ in step} - set(wheels())):
            fetch(absent)
        seen |= step
        there = wheels()
        step = {
            wanted
            for name, extra in step
            for item in requirements(_at(there, name))
            if item.marker is None or item.marker.evaluate({**target.markers(), "extra": extra})
            for wanted in ((str(canonicalize_name(item.name)), word) for word in ("", *item.extras))
        } - seen
    return {name for name, _ in seen}


def _at(wheels: Mapping[str, Path], name: str) -> Path:
    if name not in wheels:
        raise LabError(f"no wheel of {name} came, though it was asked for")
    return wheels[name]
