"""What a container sees of the machine: the list of binds for its root file system. Reads the machine, changes nothing.

System folders, the Python environment and the tools are bound read-only; `/etc` is the container's own and holds only
pieces of the machine's. Home folders, the lab's own files and other pods' volumes are not visible.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/sys", "/nix/store")
_ETC = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "gai.conf",
    "group",
    "host.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "passwd",
    "pki",
    "protocols",
    "services",
    "ssl",
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind of `source` (a path of the machine) at `target` in the container, or a symbolic link to `source`."""

    source: str
    target: str
    read_only: bool = True
    kind: Literal["bind", "symlink"] = "bind"

    def to_dict(self) -> dict[str, Any]:
        """Return the launcher's form."""
        return asdict(self)


def system_mounts(extra: Iterable[Path]) -> tuple[Mount, ...]:
    """Return the binds that every container gets: the system, this interpreter's environment and `extra` folders."""
    mounts: list[Mount] = []
    for folder in map(Path, _SYSTEM):
        if folder.is_symlink():
            mounts.append(Mount(str(folder.readlink()), str(folder), kind="symlink"))
        elif folder.is_dir():
            mounts.append(Mount(str(folder), str(folder)))
    mounts += [Mount(f"/etc/{name}", f"/etc/{name}") for name in _ETC if Path("/etc", name).exists()]
    return (*mounts, *_outermost([*_python_folders(), *extra], [Path(mount.target) for mount in mounts]))


def _python_folders() -> list[Path]:
    """Return the folders this interpreter needs: its prefixes and the sources of packages installed editable.

    The first entry of the module path is where the program was started from, and none of a container's business.
    """
    prefixes = {Path(path).absolute() for path in (sys.prefix, sys.base_prefix)}
    executable = Path(sys.executable).resolve().parent
    imports = {Path(entry).absolute() for entry in sys.path[1:] if entry and Path(entry).is_dir()}
    return sorted({*prefixes, executable, *imports})


def _outermost(folders: Iterable[Path], covered: list[Path]) -> list[Mount]:
    """Drop what lies below another folder of the list or below `covered`, and what does not exist."""
    kept: list[Path] = []
    for folder in sorted(set(folders), key=lambda path: len(path.parts)):
        if folder.is_dir() and not any(folder.is_relative_to(other) for other in [*covered, *kept]):
            kept.append(folder)
    return [Mount(str(folder), str(folder)) for folder in kept]


def layered(system: Iterable[Mount], volumes: Iterable[Mount]) -> tuple[Mount, ...]:
    """Return all mounts of a container in order: the system, its volumes, and again what a volume would hide of ours.

    Volumes lie over the image, outer targets before inner ones. But where this interpreter and the tools are is an
    accident of the machine: a clone below /tmp must not vanish from a pod that has a volume there.
    """
    below = tuple(system)
    above = sorted(volumes, key=lambda mount: mount.target.rstrip("/").count("/"))
    hidden = [
        mount
        for mount in below
        if not mount.target.startswith("/etc/")
        and any(Path(mount.target).is_relative_to(volume.target) and mount.target != volume.target for volume in above)
    ]
    return (*below, *above, *hidden)
