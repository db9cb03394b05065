"""Write a volume's files so that a reader never sees half a change.

As with a kubelet, a volume holds `..data`, a symbolic link to a folder with the files, and one symbolic link
`NAME -> ..data/NAME` for each top name. An update writes a new folder and swaps `..data` by one rename.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_DATA = "..data"


class File(NamedTuple):
    """Content and permission bits of one file."""

    data: bytes
    mode: int


def write(folder: Path, files: Mapping[str, File]) -> bool:
    """Make `folder` hold exactly `files` (relative path -> file); return whether anything changed."""
    folder.mkdir(parents=True, exist_ok=True)
    if _current(folder) == dict(files):
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    fresh.chmod(0o755)
    for name, file in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        path.chmod(file.mode)
    old = folder / (folder / _DATA).readlink() if (folder / _DATA).is_symlink() else None
    _swap_link(folder, _DATA, fresh.name)
    tops = {name.partition("/")[0] for name in files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"{_DATA}/{top}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old)
    return True


def _swap_link(folder: Path, name: str, target: str) -> None:
    temporary = folder / f"{name}_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(folder / name)


def _current(folder: Path) -> dict[str, File] | None:
    data = folder / _DATA
    if not data.is_symlink():
        return None
    root = data.resolve()
    return {
        str(path.relative_to(root)): File(path.read_bytes(), path.stat().st_mode & 0o7777)
        for path in root.rglob("*")
        if path.is_file()
    }
