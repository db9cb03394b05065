"""The lab's folder on the host and who is alive: paths, process identities, claims.

A lab of any provider has one folder of its name. Processes are known by pid *and* start time, since a
pid alone is soon somebody else's. A test run claims its lab: a lab whose claim is held by nobody alive
is what a killed run left, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kubelb_e2e.errors import LabError

#: sockaddr_un holds 108 bytes with the final zero; the longest socket name is added to the folder.
_SOCKET_PATH_MAX = 107
_LONGEST_SOCKET = "/control.sock"
_PROVIDER = "provider"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process in the host's numbering, safe against reuse of its pid."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Return the identity of the running process `pid`, None if there is none."""
        found = stat_fields(pid)
        return cls(pid, int(found[19])) if found else None

    @classmethod
    def read(cls, path: Path) -> ProcessId | None:
        """Return the process that a file names (`write`) if it is alive, else None."""
        try:
            found = cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.alive else None

    def write(self, path: Path) -> None:
        """Write it to a file, whole or not at all."""
        write_atomically(path, json.dumps(asdict(self)))

    def end(self, patience: float = 5.0) -> None:
        """Ask it to end, and end it at once if it has not after `patience` seconds."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + patience
        while self.alive:
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.02)

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        found = stat_fields(self.pid)
        return found is not None and found[0] != "Z" and int(found[19]) == self.started

    def kill(self) -> None:
        """End it at once if it is still the same process."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def state_root() -> Path:
    """Return the folder of all labs of this user: KUBELB_LAB_DIR, ~/.local/state, else the temporary folder."""
    chosen = os.environ.get("KUBELB_LAB_DIR")
    if chosen:
        return Path(chosen).absolute()
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    candidate = Path(home, "kubelb-lab")
    fits = len(str(candidate)) + 1 + 32 + len(_LONGEST_SOCKET) <= _SOCKET_PATH_MAX
    if candidate.is_absolute() and fits and _can_create(candidate):
        return candidate
    return Path(tempfile.gettempdir(), f"kubelb-lab-{os.getuid()}")


def lab_directory(name: str) -> Path:
    """Return the folder of the lab `name`; raises LabError for a name that cannot be one."""
    if not _NAME.fullmatch(name):
        raise LabError(f"lab name {name!r}: 1-32 lower-case letters, digits and '-', not at the ends")
    directory = state_root() / name
    if len(str(directory) + _LONGEST_SOCKET) > _SOCKET_PATH_MAX:
        raise LabError(f"{directory}: too long for unix sockets; set KUBELB_LAB_DIR to a shorter folder")
    return directory


def labs() -> dict[str, str]:
    """Return all labs of this user that have a folder: name -> provider, sorted by name."""
    root = state_root()
    found = sorted(root.iterdir()) if root.is_dir() else []
    return {entry.name: provider for entry in found if (provider := provider_of(entry))}


def provider_of(directory: Path) -> str | None:
    """Return the provider whose lab has this folder, None if there is no lab in it."""
    try:
        return (directory / _PROVIDER).read_text().strip()
    except OSError:
        return None


def _claim(directory: Path) -> Path:
    """Return the claim's place: beside the folder, so that it is there before the lab is and until it is gone."""
    return directory.parent / f".{directory.name}.claim"


def create(directory: Path, provider: str) -> None:
    """Create the folder of a lab of `provider`, for this user alone; raises LabError."""
    root = directory.parent
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = root.stat().st_uid
        directory.mkdir(mode=0o700)
    except OSError as error:
        raise LabError(f"cannot create the lab's folder {directory}: {error.strerror}; set KUBELB_LAB_DIR") from error
    if owner != os.getuid():
        raise LabError(f"{root} belongs to another user; set KUBELB_LAB_DIR to a folder of your own")
    write_atomically(directory / _PROVIDER, provider + "\n")


def claim(directory: Path) -> None:
    """Say that this process makes the lab of this folder, there already or not, and will end it."""
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (own := ProcessId.of(os.getpid())) is not None:
        own.write(_claim(directory))


def release(directory: Path) -> None:
    """Take the claim back: the lab is gone, or stays and belongs to nobody."""
    _claim(directory).unlink(missing_ok=True)


def claimed_by(directory: Path) -> ProcessId | None:
    """Return who claimed the lab, alive or not; None if nobody did."""
    try:
        return ProcessId(**json.loads(_claim(directory).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def remove(directory: Path) -> None:
    """Remove a lab's folder with all that is in it, read-only folders too."""

    def make_writable(function: Callable[..., Any], name: str, _: object) -> None:
        with contextlib.suppress(OSError):
            Path(name).parent.chmod(stat.S_IRWXU)
            if not Path(name).is_symlink() and Path(name).is_dir():
                Path(name).chmod(stat.S_IRWXU)
            function(name)

    shutil.rmtree(directory, onerror=make_writable)


@contextlib.contextmanager
def locked(name: str, timeout: float = 600.0) -> Iterator[None]:
    """Hold the lock of a lab's name while it is started or ended; raises LabError if another keeps it."""
    root = state_root()
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (root / f".{name}.lock").open("w")
    except OSError as error:
        raise LabError(f"cannot use the labs' folder {root}: {error.strerror}; set KUBELB_LAB_DIR") from error
    with lock as handle:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabError(f"lab {name}: another `up` or `down` holds {handle.name}") from None
                time.sleep(0.1)
        yield


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader sees all of it or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.replace(path)


def stat_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the command's name: state, ppid, ..., start time at 19."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _can_create(path: Path) -> bool:
    for folder in (path, *path.parents):
        if folder.exists():
            return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return False
