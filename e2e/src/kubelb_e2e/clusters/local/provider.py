"""The `local` provider as commands see it: start, find, enter and end a lab from the host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kubelb_e2e.clusters.base import Capability, LabError
from kubelb_e2e.clusters.local import model, state, system, wire
from kubelb_e2e.clusters.local.credentials import with_server
from kubelb_e2e.clusters.local.model import ClusterSpec, LabSpec
from kubelb_e2e.clusters.local.processes import tail
from kubelb_e2e.clusters.local.state import Running

Say = Callable[[str, float], None]
_START_SECONDS = 30.0
_DOWN_SECONDS = 10.0
#: Enter the folder of the caller where it exists, and end with the process that entered.
_SHIM = 'cd "$0" 2>/dev/null || cd /; exec setpriv --pdeathsig TERM -- "$@"'


@dataclass(frozen=True, slots=True)
class Wish:
    """What `up` was asked for; None means that any running lab will do, and the default for a new one."""

    tenants: int | None = None
    nodes: int | None = None
    without: tuple[str, ...] | None = None
    images: Path | None = None
    kube_proxy_sync: str | None = None

    def differs(self, lab: LabSpec) -> str:
        """Return in words where a running lab is not what is wished for, empty if it is."""
        pairs = {
            "--tenants": (self.tenants, len(lab.tenants)),
            "--nodes": (self.nodes, len(lab.management.nodes)),
            "--images": (self.images, lab.images),
            "--kube-proxy-sync": (self.kube_proxy_sync, lab.kube_proxy_sync),
        }
        return ", ".join(f"{flag} is {now}" for flag, (asked, now) in pairs.items() if asked not in (None, now))


class LocalLab:
    """A lab that runs (or did) in a folder of this user."""

    def __init__(self, spec: LabSpec, running: Running) -> None:
        self.spec = spec
        self._running = running

    @classmethod
    def find(cls, name: str) -> LocalLab:
        """Return the running lab `name`; raises LabError if there is none."""
        directory = state.lab_directory(name)
        running = Running.load(directory)
        if running is None or not running.lab.alive:
            others = ", ".join(other for other in state.labs() if other != name)
            hint = f"; other labs: {others}" if others else ""
            crashed = " (its folder is there: it crashed)" if directory.exists() else ""
            raise LabError(f"lab {name!r} does not run{crashed}; start it: kubelb-e2e up --name {name}{hint}")
        return cls(_read_plan(directory), running)

    @classmethod
    def up(cls, name: str, wish: Wish, *, binaries: Callable[[], Path], say: Say) -> LocalLab:
        """Start the lab `name`, or wait for the one that runs; returns when its clusters are ready.

        Raises LabError: something is missing on this machine, a step failed, or the running lab is not
        what was asked for.
        """
        directory = state.lab_directory(name)
        with state.locked(name):
            running = Running.load(directory)
            if running is None or not running.lab.alive:
                system.check_tools()
                mode = system.choose_mode()
                _clear(directory, running, say)
                _launch(_plan(name, directory, wish, binaries()), mode)
                running = _wait_running(directory)
        lab = cls(_read_plan(directory), running)
        different = wish.differs(lab.spec)
        if different:
            raise LabError(f"lab {name!r} runs already and {different}; end it first: kubelb-e2e down --name {name}")
        lab.follow(say)
        return lab

    def follow(self, say: Say) -> None:
        """Report progress until the lab is ready; raises LabError with the reason if it fails."""
        for answer in wire.ask(self.spec.control_socket, {"op": "follow"}, timeout=None):
            say(answer.get("progress") or answer["ok"], answer["seconds"])

    def status(self) -> wire.Message:
        """Return the daemon's view: phase, processes, LoadBalancer addresses."""
        return wire.ask_once(self.spec.control_socket, {"op": "status"})

    def command(self, cluster: str, action: str, **arguments: str) -> wire.Message:
        """Have the daemon do something in a cluster, for example stop a node's heartbeat."""
        return wire.ask_once(
            self.spec.control_socket, {"op": "cluster", "cluster": cluster, "action": action, **arguments}
        )

    def forward(self, target: str) -> str:
        """Return `127.0.0.1:port` on the host that leads to `address:port` of the lab until it ends."""
        answer = wire.ask_once(self.spec.directory / "host.sock", {"op": "forward", "target": target})
        return str(answer["address"])

    def inner_kubeconfig(self, name: str) -> Path:
        """Return the kubeconfig for use inside the lab: a cluster's name, or `ccm-<n>`; raises LabError."""
        if name.startswith("ccm-"):
            self._cluster("tenant-" + name.removeprefix("ccm-"), asked=name)
            return self.spec.directory / "kubeconfigs" / f"{name}.inside.kubeconfig"
        return self._cluster(name).kubeconfig

    def kubeconfig(self, name: str) -> Path:
        """Write and return a kubeconfig that works on the host; raises LabError."""
        inner = self.inner_kubeconfig(name)
        try:
            text = inner.read_text()
        except OSError as error:
            raise LabError(
                f"no kubeconfig {name!r} yet ({inner}: {error.strerror}); "
                f"is the product deployed? kubelb-e2e up --name {self.spec.name}"
            ) from error
        cluster = self.spec.management if name.startswith("ccm-") else self._cluster(name)
        address = self.forward(f"{cluster.api_address}:{model.API_PORT}")
        path = self.spec.directory / "kubeconfigs" / f"{name}.kubeconfig"
        path.parent.mkdir(exist_ok=True)
        state.write_atomically(path, with_server(text, f"https://{address}"))
        return path

    def environment(self, cluster: str = model.MANAGEMENT) -> dict[str, str]:
        """Return the variables of a command inside the lab: kubeconfigs, and kubectl in PATH."""
        variables = {"KUBECONFIG": str(self._cluster(cluster).kubeconfig)}
        for item in self.spec.clusters:
            variables[f"KUBECONFIG_{_variable(item.name)}"] = str(item.kubeconfig)
        for item in self.spec.tenants:
            name = item.name.replace("tenant-", "ccm-")
            if (path := self.inner_kubeconfig(name)).exists():
                variables[f"KUBECONFIG_{_variable(name)}"] = str(path)
        # Without it kubectl keeps its cache in HOME, or here if there is no HOME.
        variables["KUBECACHEDIR"] = str(self.spec.directory / "kubectl-cache")
        base = system.environment()
        return {**base, **variables, "PATH": f"{self.spec.binaries}{os.pathsep}{base['PATH']}"}

    def command_line(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` inside the lab from the host."""
        enter = system.enter_command(self._mode, self._running.lab.pid)
        return [*enter, "/bin/sh", "-c", _SHIM, str(Path.cwd()), *command]

    def replace_process(self, command: Sequence[str], cluster: str) -> NoReturn:
        """Become `command` inside the lab: same terminal, its exit code is ours."""
        os.execvpe("nsenter", self.command_line(command), self.environment(cluster))  # noqa: S606  # no shell is meant

    def run(
        self, command: Sequence[str], *, cluster: str = model.MANAGEMENT, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` inside the lab and return its output; no exception for its exit code."""
        return subprocess.run(
            self.command_line(command),
            env={**self.environment(cluster), **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.spec.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What a lab of namespaces can do; limits of pods are not enforced."""
        return frozenset({Capability.ENTER, Capability.AUDIT, Capability.NODE_FAULTS})

    @property
    def cluster_names(self) -> tuple[str, ...]:
        """`management` first, then tenants in order."""
        return tuple(cluster.name for cluster in self.spec.clusters)

    def node_addresses(self, cluster: str) -> tuple[str, ...]:
        """Return the InternalIPs of a cluster's nodes."""
        return tuple(node.address for node in self._cluster(cluster).nodes)

    @property
    def _mode(self) -> system.Mode:
        return "root" if self._running.mode == "root" else "user"

    def _cluster(self, name: str, *, asked: str | None = None) -> ClusterSpec:
        try:
            return self.spec.cluster(name)
        except KeyError:
            known = ", ".join(cluster.name for cluster in self.spec.clusters)
            raise LabError(f"no cluster {asked or name!r} in lab {self.spec.name!r}; there are {known}") from None


def down(name: str) -> bool:
    """End the lab `name` and remove its folder, also after a crash; return whether there was anything."""
    directory = state.lab_directory(name)
    with state.locked(name):
        if not directory.exists():
            return False
        running = Running.load(directory)
        if running is not None:
            _end(directory, running)
        state.remove(directory)
    return True


def _end(directory: Path, running: Running) -> None:
    if running.lab.alive:
        try:
            wire.ask_once(directory / "control.sock", {"op": "down"}, timeout=5)
        except LabError:
            running.lab.kill()
    deadline = time.monotonic() + _DOWN_SECONDS
    while running.lab.alive or running.host.alive:
        if time.monotonic() > deadline:
            running.lab.kill()
            running.host.kill()
        time.sleep(0.02)


def _clear(directory: Path, running: Running | None, say: Say) -> None:
    if not directory.exists():
        return
    if running is not None:
        _end(directory, running)
        say("removed what a lab that ended without `down` had left", 0.0)
    state.remove(directory)


def _plan(name: str, directory: Path, wish: Wish, binaries: Path) -> LabSpec:
    if wish.images is not None and not wish.images.is_file():
        raise LabError(f"--images {wish.images}: no such file")
    state.create(directory)
    lab = model.plan(
        name,
        directory,
        tenants=1 if wish.tenants is None else wish.tenants,
        nodes=wish.nodes or 2,
        binaries=binaries,
        project=_project(),
        without=wish.without or (),
        images=wish.images.absolute() if wish.images else None,
        kube_proxy_sync=wish.kube_proxy_sync or "1s",
    )
    lab.dump()
    return lab


def _project() -> Path | None:
    """Return the source tree that this package runs from, None if it was installed apart."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "packages" / "manager").is_dir():
            return folder
    return None


def _launch(lab: LabSpec, mode: system.Mode) -> None:
    """Start the host's side as nobody's child, so that it outlives this command and leaves no zombie."""
    host = [sys.executable, "-m", "kubelb_e2e.clusters.local.host", str(lab.directory), mode]
    with (lab.directory / "lab.log").open("ab") as log:
        subprocess.run(
            ["setsid", "--fork", *host],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=system.environment(),
            check=True,
        )


def _wait_running(directory: Path) -> Running:
    """Wait until the lab's first process runs and takes commands."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        running = Running.load(directory)
        if running is not None:
            if (directory / "control.sock").exists():
                return running
            if not running.lab.alive:
                break
        time.sleep(0.05)
    log = directory / "lab.log"
    raise LabError(f"the lab did not start; the end of {log}:\n{tail(log)}")


def _read_plan(directory: Path) -> LabSpec:
    try:
        return LabSpec.load(directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"{directory / 'lab.json'} is unreadable ({error}); end the lab: kubelb-e2e down") from error


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
