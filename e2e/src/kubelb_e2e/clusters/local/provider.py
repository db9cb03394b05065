"""The `local` provider as commands see it: start, find, enter and end a lab from the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kubelb_e2e.clusters import detached, kubectl, podlogs, state
from kubelb_e2e.clusters.base import (
    MANAGEMENT,
    Capability,
    Facts,
    PodLog,
    PodPlace,
    Say,
    Status,
    Wish,
    credential_name,
    project,
    variables,
)
from kubelb_e2e.clusters.kubeconfigs import with_server
from kubelb_e2e.clusters.local import model, network, system, wire
from kubelb_e2e.clusters.local import podlogs as logfiles
from kubelb_e2e.clusters.local.model import ClusterSpec, LabSpec
from kubelb_e2e.clusters.local.processes import tail
from kubelb_e2e.clusters.local.running import Running
from kubelb_e2e.errors import LabError

_START_SECONDS = 30.0
_DOWN_SECONDS = 10.0
#: Enter the folder of the caller where it exists, and end with the process that entered.
_SHIM = 'cd "$0" 2>/dev/null || cd /; exec setpriv --pdeathsig TERM -- "$@"'


CAPABILITIES = frozenset(
    {
        Capability.ENTER,
        Capability.LOAD,
        Capability.AUDIT,
        Capability.DUAL_STACK,
        Capability.NODE_FAULTS,
        Capability.POD_PROCESSES,
        Capability.KEPT_LOGS,
        Capability.QUICK_VOLUMES,
    }
)
NAME = "local"


#: Prints what an address answers.
_FETCH = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=5).read().decode())"


class LocalLab:
    """A lab that runs (or did) in a folder of this user."""

    def __init__(self, spec: LabSpec, running: Running) -> None:
        self.spec = spec
        self._running = running

    def follow(self, say: Say) -> None:
        """Report progress until the lab is ready; raises LabError with the reason if it fails."""
        for answer in wire.ask(self.spec.control_socket, {"op": "follow"}, timeout=None):
            say(answer.get("progress") or answer["ok"], answer["seconds"])

    def status(self) -> Status:
        """Return the daemon's view: phase, processes, LoadBalancer addresses."""
        now = wire.ask_once(self.spec.control_socket, {"op": "status"})
        processes = now["processes"]
        rows = [
            (
                item["name"],
                str(item["pid"]),
                "runs" if item["exit_code"] is None else f"ended with {item['exit_code']}",
            )
            for item in processes
        ]
        return Status(
            headline=f"lab {self.name}: {now['phase']} for {now['seconds']:.0f} s, folder {self.spec.directory}",
            columns=("process", "pid in the lab", "state"),
            rows=tuple(rows),
            addresses=dict(sorted(now["addresses"].items())),
            notes=("Limits, fsGroup, runAsUser and sysctls of pods are accepted and not enforced here.",),
            healthy=now["phase"] == "ready" and all(item["exit_code"] is None for item in processes),
        )

    def facts(self) -> Facts:
        """Return nothing: its nodes say all there is."""
        return Facts()

    def logs(
        self, pod: str, *, cluster: str | None = None, container: str | None = None, all_runs: bool = False
    ) -> list[PodLog]:
        """Return logs, also of pods that are gone; see Lab."""
        sources = logfiles.sources(self.spec)
        return podlogs.choose(sources, pod, cluster=cluster, container=container, all_runs=all_runs)

    def audit_log(self, cluster: str) -> Path:
        """Return the API server's audit log."""
        return self._cluster(cluster).audit_log

    def export(self, folder: Path) -> None:
        """Copy the lab's log, and of each cluster the logs of control plane, nodes, audit and pods."""
        shutil.copy2(self.spec.directory / "lab.log", folder / "lab.log")
        for cluster in self.spec.clusters:
            shutil.copytree(cluster.logs, folder / cluster.name / "logs", dirs_exist_ok=True)

    def pages(self, pod: PodPlace, port: int, paths: Sequence[str]) -> dict[str, str]:
        """Ask from inside the pod's network namespace; see Lab."""
        inside = ["nsenter", f"--net=/run/netns/{network.pod_netns(pod.uid)}", "--"]
        found = {}
        for path in paths:
            done = self.run([*inside, sys.executable, "-c", _FETCH, f"http://127.0.0.1:{port}{path}"])
            if done.returncode:
                raise LabError(f"{path}: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
            found[path] = done.stdout
        return found

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

    def keep_credential(self, tenant: str, kubeconfig: str) -> None:
        """Keep the agent's kubeconfig of a tenant."""
        path = self.inner_kubeconfig(credential_name(tenant))
        path.parent.mkdir(exist_ok=True)
        state.write_atomically(path, kubeconfig)

    def environment(self, cluster: str = MANAGEMENT) -> dict[str, str]:
        """Return the variables of a command inside the lab: kubeconfigs, and kubectl in PATH."""
        found = {item.name: item.kubeconfig for item in self.spec.clusters}
        for item in self.spec.tenants:
            name = credential_name(item.name)
            if (path := self.inner_kubeconfig(name)).exists():
                found[name] = path
        base = system.environment()
        return {
            **base,
            **variables(found),
            "KUBECONFIG": str(self._cluster(cluster).kubeconfig),
            # Without it kubectl keeps its cache in HOME, or here if there is no HOME.
            "KUBECACHEDIR": str(self.spec.directory / "kubectl-cache"),
            "PATH": f"{self.spec.binaries}{os.pathsep}{base['PATH']}",
        }

    def command_line(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` inside the lab from the host."""
        enter = system.enter_command(self._mode, self._running.lab.pid)
        return [*enter, "/bin/sh", "-c", _SHIM, str(Path.cwd()), *command]

    def run(
        self, command: Sequence[str], *, cluster: str = MANAGEMENT, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` inside the lab and return its output; no exception for its exit code."""
        return subprocess.run(
            self.command_line(command),
            env={**self.environment(cluster), **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    def call(self, cluster: str, *arguments: str, text: str = "") -> str:
        """Run kubectl in a cluster; see Lab."""
        kubeconfig, environment = self.kubeconfig(cluster), self.environment(cluster)
        return kubectl.run(self.kubectl, kubeconfig, *arguments, who=cluster, text=text, environment=environment)

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.spec.name

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return NAME

    @property
    def without(self) -> tuple[str, ...]:
        """Parts of the product that are not deployed."""
        return self.spec.without

    @property
    def kubectl(self) -> Path:
        """That of the control plane's version."""
        return self.spec.binaries / "kubectl"

    def check(self) -> None:
        """Nothing: this lab is made for it."""

    def image(self, name: str) -> str:
        """Return the catalogue's own name: it is the registry."""
        return name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What a lab of namespaces can do; limits of pods are not enforced."""
        return CAPABILITIES

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


class LocalProvider:
    """Labs of processes and network namespaces; `binaries` finds or names the control plane's programs."""

    name = NAME
    capabilities = CAPABILITIES
    keeps_clusters = False

    def __init__(self, binaries: Callable[[], Path]) -> None:
        self._binaries = binaries

    def up(self, name: str, wish: Wish, *, say: Say) -> LocalLab:
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
                _launch(_plan(name, directory, wish, self._binaries()), mode)
                running = _wait_running(directory)
        lab = LocalLab(_read_plan(directory), running)
        different = _differs(wish, lab.spec)
        if different:
            raise LabError(f"lab {name!r} runs already and {different}; end it first: kubelb-e2e down --name {name}")
        lab.follow(say)
        return lab

    def find(self, name: str) -> LocalLab:
        """Return the running lab `name`; raises LabError if there is none."""
        directory = state.lab_directory(name)
        running = Running.load(directory)
        if running is None or not running.lab.alive:
            others = ", ".join(other for other in state.labs() if other != name)
            hint = f"; other labs: {others}" if others else ""
            crashed = " (its folder is there: it crashed)" if directory.exists() else ""
            raise LabError(f"lab {name!r} does not run{crashed}; start it: kubelb-e2e up --name {name}{hint}")
        return LocalLab(_read_plan(directory), running)

    def down(self, name: str, *, say: Say) -> bool:
        """End the lab `name` and remove its folder, also after a crash; return whether there was anything."""
        del say  # it is quick
        directory = state.lab_directory(name)
        with state.locked(name):
            if not directory.exists():
                return False
            running = Running.load(directory)
            if running is not None:
                _end(directory, running)
            state.remove(directory)
        return True


def _differs(wish: Wish, lab: LabSpec) -> str:
    """Return in words where a running lab is not what is wished for, empty if it is."""
    pairs = {
        "--tenants": (wish.tenants, len(lab.tenants)),
        "--nodes": (wish.nodes, len(lab.management.nodes)),
        "--images": (wish.images, lab.images),
        "--ip-family": (wish.ip_family, lab.ip_family),
        "--kube-proxy-sync": (wish.kube_proxy_sync, lab.kube_proxy_sync),
    }
    return ", ".join(f"{flag} is {now}" for flag, (asked, now) in pairs.items() if asked not in (None, now))


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
    state.create(directory, NAME)
    lab = model.plan(
        name,
        directory,
        tenants=1 if wish.tenants is None else wish.tenants,
        nodes=wish.nodes or 2,
        binaries=binaries,
        project=project(),
        without=wish.without or (),
        images=wish.images.absolute() if wish.images else None,
        kube_proxy_sync=wish.kube_proxy_sync or "1s",
        ip_family=wish.ip_family or "ipv4",
    )
    lab.dump()
    return lab


def _launch(lab: LabSpec, mode: system.Mode) -> None:
    """Start the host's side, which outlives this command."""
    host = [sys.executable, "-m", "kubelb_e2e.clusters.local.host", str(lab.directory), mode]
    detached.start(host, lab.directory / "lab.log", environment=system.environment())


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
