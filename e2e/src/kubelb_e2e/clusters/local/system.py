"""What the host must offer: iproute2, nftables, util-linux, and namespaces; checked before anything starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Literal

from kubelb_e2e.errors import LabError

Mode = Literal["user", "root"]

_TOOLS = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}
_SPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_USER = ("--user", "--map-root-user")
#: sbin is not in everybody's PATH, but that is where distributions put `ip` and `nft`.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/bin", "/bin"])


def check_tools() -> None:
    """Raise LabError with one line that names what is missing and how to get it."""
    missing = {tool: package for tool, package in _TOOLS.items() if shutil.which(tool, path=SEARCH_PATH) is None}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise LabError(f"not found on this machine: {', '.join(missing)}; install them: apt-get install -y {packages}")


def choose_mode() -> Mode:
    """Return how namespaces can be made here: in a user namespace, or as root without one. Raises LabError."""
    refused = _try((*_USER, *_SPACES))
    if refused is None:
        return "user"
    if os.getuid() == 0 and _try(_SPACES) is None:
        return "root"
    raise LabError(
        f"this system lets user {os.getuid()} create no namespaces ({refused}); run as root, or allow it: "
        "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 "
        "kernel.apparmor_restrict_unprivileged_userns=0 (those that exist)"
    )


def unshare_command(mode: Mode) -> list[str]:
    """Return the command that starts a program as pid 1 of new namespaces."""
    return ["unshare", *(_USER if mode == "user" else ()), *_SPACES, "--"]


def enter_command(mode: Mode, pid: int) -> list[str]:
    """Return the command that starts a program in the namespaces of the lab's first process."""
    user = ["--user", "--preserve-credentials"] if mode == "user" else []
    return ["nsenter", f"--target={pid}", *user, "--net", "--mount", "--pid", "--"]


def environment() -> dict[str, str]:
    """Return this process' environment with a PATH that has the system tools."""
    return {**os.environ, "PATH": SEARCH_PATH}


def _try(flags: tuple[str, ...]) -> str | None:
    """Return None if namespaces with `flags` work, mounts included, else the reason."""
    command = ["unshare", *flags, "--", "mount", "-t", "tmpfs", "tmpfs", "/run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
