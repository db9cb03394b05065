"""Clusters that are reached from the host by kubeconfigs and kubectl: what such labs have in common.

Node and LoadBalancer addresses answer on the host itself, so a command "inside the network" is a
command on the host.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from kubelb_common.objects import view
from kubelb_e2e.clusters import kubectl, podlogs, state
from kubelb_e2e.clusters.base import MANAGEMENT, Capability, PodLog, PodPlace, credential_name, variables
from kubelb_e2e.clusters.kubeconfigs import server_of, with_server
from kubelb_e2e.clusters.podlogs import LogSource
from kubelb_e2e.errors import LabError

_ANSWER_SECONDS = 10.0
_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


class OutsideLab:
    """The half of a Lab that needs only kubeconfigs, kubectl and a folder; see Lab for what both words below mean."""

    provider: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]

    def __init__(
        self,
        name: str,
        directory: Path,
        kubeconfigs: Mapping[str, Path],
        kubectl: Path,
        without: tuple[str, ...] = (),
    ) -> None:
        """Prepare.

        Args:
            name: the lab's name.
            directory: the lab's folder.
            kubeconfigs: cluster -> kubeconfig that works on the host, `management` first, then tenants in order.
            kubectl: the program.
            without: parts of the product that are not deployed.
        """
        self._name = name
        self.directory = directory
        self._kubeconfigs = dict(kubeconfigs)
        self._kubectl = kubectl
        self._without = without

    @property
    def name(self) -> str:
        """The lab's name."""
        return self._name

    @property
    def cluster_names(self) -> tuple[str, ...]:
        """`management` first, then tenants in order."""
        return tuple(self._kubeconfigs)

    @property
    def kubectl(self) -> Path:
        """The program."""
        return self._kubectl

    @property
    def without(self) -> tuple[str, ...]:
        """Parts of the product that are not deployed."""
        return self._without

    def kubeconfig(self, name: str) -> Path:
        """Return a kubeconfig that works on the host; raises LabError."""
        if name in self._kubeconfigs:
            return self._kubeconfigs[name]
        path = self._credential(name)
        if name.startswith("ccm-") and path.exists():
            return path
        known = ", ".join((*self._kubeconfigs, *map(credential_name, self.cluster_names[1:])))
        raise LabError(
            f"no kubeconfig {name!r} in lab {self.name!r}; there are {known} "
            "(ccm-<n> once the product is deployed: kubelb-e2e up)"
        )

    def keep_credential(self, tenant: str, kubeconfig: str) -> None:
        """Keep the agent's kubeconfig, with the management API server's address as the host reaches it."""
        path = self._credential(credential_name(tenant))
        path.parent.mkdir(exist_ok=True)
        server = server_of(self._kubeconfigs[MANAGEMENT].read_text())
        state.write_atomically(path, with_server(kubeconfig, server))

    def node_addresses(self, cluster: str) -> tuple[str, ...]:
        """Return the InternalIPs of a cluster's nodes."""
        nodes = json.loads(self.call(cluster, "get", "nodes", "--output=json"))["items"]
        addresses = [item for node in nodes for item in view.objects(node, "status", "addresses")]
        return tuple(item["address"] for item in addresses if item["type"] == "InternalIP")

    def forward(self, target: str) -> str:
        """Return the target itself: it answers on the host."""
        return target

    def command_line(self, command: Sequence[str]) -> list[str]:
        """Return the command itself: the host is in the network."""
        return list(command)

    def environment(self, cluster: str = MANAGEMENT) -> dict[str, str]:
        """Return the variables of a command: kubeconfigs, and kubectl in PATH."""
        found = dict(self._kubeconfigs)
        for tenant in self.cluster_names[1:]:
            if (path := self._credential(credential_name(tenant))).exists():
                found[credential_name(tenant)] = path
        search = os.environ.get("PATH", os.defpath)
        return {
            **os.environ,
            **variables(found),
            "KUBECONFIG": str(self.kubeconfig(cluster)),
            "KUBECACHEDIR": str(self.directory / "kubectl-cache"),
            "PATH": f"{self._kubectl.parent}{os.pathsep}{search}",
        }

    def run(
        self, command: Sequence[str], *, cluster: str = MANAGEMENT, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the lab's variables and return its output; no exception for its exit code."""
        return subprocess.run(
            list(command),
            env={**self.environment(cluster), **(env or {})},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def call(self, cluster: str, *arguments: str, text: str = "") -> str:
        """Run kubectl in a cluster; see Lab."""
        kubeconfig, environment = self.kubeconfig(cluster), self.environment(cluster)
        return kubectl.run(self._kubectl, kubeconfig, *arguments, who=cluster, text=text, environment=environment)

    def addresses(self) -> dict[str, str]:
        """Return the LoadBalancer addresses of the management cluster: address -> `namespace/name`."""
        found = json.loads(self.call(MANAGEMENT, "get", "services", "--all-namespaces", "--output=json"))["items"]
        return {
            item["ip"]: f"{view.namespace(service)}/{view.name(service)}"
            for service in found
            for item in view.objects(service, "status", "loadBalancer", "ingress")
            if item.get("ip")
        }

    def logs(
        self, pod: str, *, cluster: str | None = None, container: str | None = None, all_runs: bool = False
    ) -> list[PodLog]:
        """Return logs of pods that are there, by kubectl; with `all_runs` also that of the run before."""
        asked = self.cluster_names if cluster is None else (cluster,)
        sources = [item for name in asked for item in self._log_sources(name, previous=all_runs)]
        return podlogs.choose(sources, pod, cluster=cluster, container=container, all_runs=all_runs)

    def audit_log(self, cluster: str) -> Path:
        """Raise LabError: these API servers write none that could be read here."""
        raise LabError(f"{cluster}: its audit log cannot be read from here")

    def export(self, folder: Path) -> None:
        """Write the logs of all pods into `folder`; raises LabError when those of a cluster cannot be had."""
        sources: list[LogSource] = []
        troubles = []
        for name in self.cluster_names:
            try:
                sources += self._log_sources(name, previous=True)
            except LabError as error:
                troubles.append(str(error))

        def write(source: LogSource) -> None:
            place = folder / source.cluster / "logs" / "pods" / f"{source.namespace}_{source.pod}"
            place.mkdir(parents=True, exist_ok=True)
            run = "" if source.run is None else f".{source.run}"
            (place / f"{source.container}{run}.log").write_text(source.read())

        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(write, sources))
        if troubles:
            raise LabError("; ".join(troubles))

    def pages(self, pod: PodPlace, port: int, paths: Sequence[str]) -> dict[str, str]:
        """Ask through kubectl port-forward; see Lab."""
        with self._forwarded(pod, port) as address:
            return {path: _get(f"http://{address}{path}") for path in paths}

    def _credential(self, name: str) -> Path:
        return self.directory / "credentials" / f"{name}.kubeconfig"

    def _log_sources(self, cluster: str, *, previous: bool) -> Iterator[LogSource]:
        pods = json.loads(self.call(cluster, "get", "pods", "--all-namespaces", "--output=json"))["items"]
        for pod in pods:
            for status in view.objects(pod, "status", "containerStatuses"):
                namespace, name, container = view.namespace(pod), view.name(pod), status["name"]
                runs = int(status.get("restartCount", 0))
                if previous and runs:
                    read = functools.partial(self._log, cluster, pod, container, "--previous")
                    yield LogSource(cluster, namespace, name, container, runs - 1, read)
                read = functools.partial(self._log, cluster, pod, container)
                yield LogSource(cluster, namespace, name, container, runs, read)

    def _log(self, cluster: str, pod: dict[str, Any], container: str, *more: str) -> str:
        namespace = f"--namespace={view.namespace(pod)}"
        try:
            return self.call(cluster, "logs", namespace, view.name(pod), f"--container={container}", *more)
        except LabError as error:
            return f"(no log: {error})\n"

    @contextlib.contextmanager
    def _forwarded(self, pod: PodPlace, port: int) -> Iterator[str]:
        """Give a loopback address that leads to a port of a pod's loopback."""
        # kubectl chooses the local port and prints it when it listens; pytest-kind's own port_forward waits ten
        # seconds each time and draws ports by chance.
        command = [str(self._kubectl), "port-forward", f"--namespace={pod.namespace}", f"pod/{pod.name}", f":{port}"]
        with subprocess.Popen(
            command,
            env=self.environment(pod.cluster),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                line = process.stdout.readline() if process.stdout else ""
                found = _FORWARDING.match(line)
                if found is None:
                    raise LabError(f"{pod.cluster}: kubectl port-forward {pod.name}: {line.strip() or 'it ended'}")
                yield f"127.0.0.1:{found[1]}"
            finally:
                process.terminate()


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310  # our own http address
            return str(answer.read().decode())
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"{url}: {error}") from error
