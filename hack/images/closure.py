"""Copies files into an image layer together with every library they link to, and with the symbolic links on the way.

A layer is a folder that becomes part of an image's root. Layers lie on each other: what a lower one has is not copied
again. Runs in the build stage of a Dockerfile, with the standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_ELF = b"\x7fELF"
#: Opened by name at run time, so that no ELF file says it: glibc ends threads with it.
_ON_DEMAND = "libgcc_s.so.1"
#: As many links as Linux follows in one path.
_LINKS = 40


class BuildError(Exception):
    """The layer cannot be made; the text says which file or option is wrong, and what to do."""


def place(path: Path, layer: Path, below: Sequence[Path] = ()) -> None:
    """Copy one file of this system to the same place in `layer`, with each symbolic link that leads to it.

    Raises:
        BuildError: there is no such file.
    """
    done, left, links = Path("/"), list(path.parts[1:]), 0
    while left and links <= _LINKS:
        step = done / left.pop(0)
        if step.is_symlink():
            links += 1
            target = step.readlink()
            _link(step, target, layer, below)
            done = Path("/") if target.is_absolute() else done
            left = [part for part in target.parts if part != "/"] + left
        elif step.name == "..":
            _into(layer, done).mkdir(parents=True, exist_ok=True)  # whoever follows the link goes through it
            done = done.parent
        else:
            done = step
    if left or not done.is_file():
        raise BuildError(f"{path}: no such file in the base image; choose another: --build-arg BASE=...")
    if not _present(done, (layer, *below)):
        copy = _into(layer, done)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(done, copy)


def complete(layer: Path, below: Sequence[Path] = ()) -> None:
    """Add to `layer` the libraries that its ELF files link to.

    Raises:
        BuildError: a library is not in this system.
    """
    for library in sorted(_libraries(_elf_files(layer))):
        if not library.is_relative_to(layer):
            place(library, layer, below)


def library(name: str) -> Path | None:
    """Return where the loader finds a library of this name, None if it does not."""
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    found = (line.rpartition(" => ")[2] for line in listed.splitlines() if line.split(" ")[0].strip() == name)
    return next((Path(path) for path in found), None)


def on_demand() -> Iterator[Path]:
    """Yield the libraries that programs open at run time."""
    if (found := library(_ON_DEMAND)) is not None:
        yield found


def _elf_files(layer: Path) -> list[Path]:
    found = []
    for path in sorted(layer.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == _ELF:
                    found.append(path)
    return found


def _libraries(files: Iterable[Path]) -> set[Path]:
    """Return what the loader would load for these files, as `ldd` says: `name => path (address)`, `path (address)`."""
    names = [str(path) for path in files]
    if not names:
        return set()
    listed = subprocess.run(["ldd", *names], capture_output=True, text=True, check=False).stdout
    found, asking = set(), names[0]
    for line in listed.splitlines():
        if not line.startswith("\t"):
            asking = line.rstrip(":")
            continue
        name, arrow, rest = line.strip().partition(" => ")
        if rest.startswith("not found"):
            raise BuildError(f"{asking} needs {name}, which the base image lacks; choose another: --build-arg BASE=...")
        where = (rest if arrow else name).split(" (")[0]
        if where.startswith("/"):
            found.add(Path(where))
    return found


def _link(link: Path, target: Path, layer: Path, below: Sequence[Path]) -> None:
    if not _present(link, (layer, *below)):
        made = _into(layer, link)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.symlink_to(target)


def _present(path: Path, layers: Iterable[Path]) -> bool:
    return any(os.path.lexists(_into(layer, path)) for layer in layers)


def _into(layer: Path, path: Path) -> Path:
    return layer / path.relative_to("/")
