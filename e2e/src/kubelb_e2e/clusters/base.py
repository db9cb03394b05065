"""What a scenario may expect of a lab, whoever provides its clusters.

A provider makes labs: one management cluster and its tenants. Everything above this file (deployment,
scenarios, dumps, commands) knows a lab by `Lab` alone. A provider that lacks something says so by
`capabilities`; a scenario that needs it is skipped with that reason, never silently.
"""

from __future__ import annotations

import enum
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MANAGEMENT = "management"
_TENANT = "tenant-"
#: Tells a person how a long step gets on: a text, and seconds since its beginning.
Say = Callable[[str, float], None]


class Capability(enum.Enum):
    """What not every provider can do."""

    #: Run a command inside the clusters' network.
    ENTER = "run commands inside the clusters' network"
    #: Load in which no request may be lost, also while agents are killed.
    LOAD = "load and faults"
    #: Read the API servers' audit logs.
    AUDIT = "read the audit log"
    #: Stop nodes' heartbeats and processes.
    NODE_FAULTS = "stop parts of nodes"
    #: Nodes, pods and Services with IPv6 addresses beside IPv4.
    DUAL_STACK = "have IPv6 beside IPv4"
    #: Enforce limits, users and sysctls of pods.
    LIMITS = "enforce limits of pods"
    #: See the processes of pods from where the harness runs.
    POD_PROCESSES = "see the processes of pods"
    #: Read the logs of pods that are gone.
    KEPT_LOGS = "keep the logs of pods that are gone"
    #: Hand a changed ConfigMap to running pods within seconds; a kubelet takes up to two minutes.
    QUICK_VOLUMES = "change mounted ConfigMaps within seconds"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a lab is asked to be; None means that any running lab will do, and the default for a new one.

    Attributes:
        tenants: tenant clusters.
        nodes: nodes of each cluster.
        without: parts of the product that are not deployed, of `ccm` and `manager`.
        images: local: catalogue of further images.
        kube_proxy_sync: local: kube-proxy's least time between two syncs, as a Go duration.
        ip_family: local: `ipv4`, or `dual` for IPv6 beside it.
        kubernetes: kind: a Kubernetes minor of `e2e/config.yaml`, for its node image.
        node_image: kind: the node image itself.
        kind: kind: path of that program.
        kubectl: kind and existing: path of that program.
        api_port: kind: host port of the management cluster's API server, the tenants' follow; None lets kind choose.
        fresh: kind: remove what an earlier run left instead of using it, even if it is complete.
        reuse: kind: keep what an interrupted run left and make only what is missing.
    """

    tenants: int | None = None
    nodes: int | None = None
    without: tuple[str, ...] | None = None
    images: Path | None = None
    kube_proxy_sync: str | None = None
    ip_family: str | None = None
    kubernetes: str | None = None
    node_image: str | None = None
    kind: Path | None = None
    kubectl: Path | None = None
    api_port: int | None = None
    fresh: bool = False
    reuse: bool = False


#: Which provider knows which of the fields above that not all know, and the option that sets it.
SPECIAL: Mapping[str, tuple[str, frozenset[str]]] = {
    "tenants": ("--tenants", frozenset({"local", "kind"})),
    "nodes": ("--nodes", frozenset({"local", "kind"})),
    "images": ("--images", frozenset({"local"})),
    "kube_proxy_sync": ("--kube-proxy-sync", frozenset({"local"})),
    "ip_family": ("--ip-family", frozenset({"local"})),
    "kubernetes": ("--kubernetes", frozenset({"kind"})),
    "node_image": ("--kind-image", frozenset({"kind"})),
    "kind": ("--kind-bin", frozenset({"kind"})),
    "kubectl": ("--kubectl", frozenset({"kind", "existing"})),
    "api_port": ("--api-port", frozenset({"kind"})),
    "fresh": ("--fresh", frozenset({"kind"})),
    "reuse": ("--reuse", frozenset({"kind"})),
}


def not_for(provider: str, wish: Wish) -> list[str]:
    """Return the options that `wish` sets and `provider` does not know."""
    return [
        option
        for field, (option, known) in SPECIAL.items()
        if getattr(wish, field) not in (None, False) and provider not in known
    ]


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` shows.

    Attributes:
        headline: one line: phase, age, folder.
        columns: headers of `rows`.
        rows: parts of the lab, in order.
        addresses: LoadBalancer address -> `namespace/name` of its Service.
        notes: what one should know, a line each.
        healthy: whether everything that belongs to the lab runs.
    """

    headline: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    addresses: Mapping[str, str]
    notes: tuple[str, ...] = ()
    healthy: bool = True


@dataclass(frozen=True, slots=True)
class PodLog:
    """What one container printed: `run` counts its restarts, None where only the last run is known."""

    cluster: str
    namespace: str
    pod: str
    container: str
    run: int | None
    text: str

    @property
    def title(self) -> str:
        """Which log this is, for people."""
        head = f"{self.cluster}: {self.namespace}/{self.pod}, container {self.container}"
        return head if self.run is None else f"{head}, run {self.run}"


@dataclass(frozen=True, slots=True)
class PodPlace:
    """A pod by what is needed to reach it."""

    cluster: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the report's page says of a lab, apart from what its Node objects say.

    Attributes:
        lines: (what, value), as ("Docker", "27.1").
        node_image: image of the nodes, where they are containers.
        memory: cluster -> bytes that its nodes have in use, as far as it is known.
    """

    lines: tuple[tuple[str, str], ...] = ()
    node_image: str = ""
    memory: Mapping[str, int] | None = None


class Lab(Protocol):
    """Running clusters: `management`, `tenant-1`, ..."""

    @property
    def name(self) -> str:
        """The lab's name."""

    @property
    def provider(self) -> str:
        """Name of the provider that made it."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this provider can do."""

    @property
    def cluster_names(self) -> tuple[str, ...]:
        """`management` first, then tenants in order."""

    @property
    def without(self) -> tuple[str, ...]:
        """Parts of the product that are not deployed here, of `ccm` and `manager`."""

    @property
    def kubectl(self) -> Path:
        """The program that fits these clusters."""

    def check(self) -> None:
        """Raise LabError unless the product may be put into these clusters, and taken out again."""

    def image(self, name: str) -> str:
        """Return under which name nodes find an image of the catalogue."""

    def kubeconfig(self, name: str) -> Path:
        """Return a kubeconfig that works on the host: a cluster's name, or `ccm-<n>`; raises LabError."""

    def keep_credential(self, tenant: str, kubeconfig: str) -> None:
        """Keep the kubeconfig that the manager generated for the cluster `tenant`, to be found as `ccm-<n>`."""

    def node_addresses(self, cluster: str) -> tuple[str, ...]:
        """Return the InternalIPs of a cluster's nodes."""

    def forward(self, target: str) -> str:
        """Return an `address:port` that leads from the host to `address:port` of the lab."""

    def command_line(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` inside the lab's network from the host."""

    def environment(self, cluster: str = MANAGEMENT) -> dict[str, str]:
        """Return the variables of such a command: KUBECONFIG of `cluster`, of the others, kubectl in PATH."""

    def run(
        self, command: Sequence[str], *, cluster: str = MANAGEMENT, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the lab's network and return its output; no exception for its exit code."""

    def call(self, cluster: str, *arguments: str, text: str = "") -> str:
        """Run kubectl from the host in a cluster and return its output; raises LabError."""

    def status(self) -> Status:
        """Look at every part of the lab."""

    def facts(self) -> Facts:
        """Return what the report's page shows."""

    def logs(
        self, pod: str, *, cluster: str | None = None, container: str | None = None, all_runs: bool = False
    ) -> list[PodLog]:
        """Return the logs of the pods whose name is, or else begins with, `pod` (`[namespace/]name`).

        Raises LabError if there is none; the text names the pods that have logs.
        """

    def audit_log(self, cluster: str) -> Path:
        """Return the API server's audit log, one JSON event a line; needs Capability.AUDIT, else LabError."""

    def export(self, folder: Path) -> None:
        """Write the lab's own files into `folder`: logs of clusters, nodes and pods; raises LabError, OSError."""

    def pages(self, pod: PodPlace, port: int, paths: Sequence[str]) -> dict[str, str]:
        """GET `paths` from `port` on a pod's loopback; return path -> body. Raises LabError."""


class Provider(Protocol):
    """Makes, finds and ends labs of one kind."""

    @property
    def name(self) -> str:
        """The word for `--provider`."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What its labs can do."""

    @property
    def keeps_clusters(self) -> bool:
        """Whether clusters outlive the lab, so that the product must be taken out of them."""

    def up(self, name: str, wish: Wish, *, say: Say) -> Lab:
        """Start the lab `name`, or complete the one that runs; returns when its clusters are ready.

        Raises:
            Unavailable: it cannot work on this machine.
            LabError: a step failed, and what was created is removed, or the running lab is not what is wished for.
        """

    def find(self, name: str) -> Lab:
        """Return the running lab `name`; raises LabError if there is none."""

    def down(self, name: str, *, say: Say) -> bool:
        """End the lab `name`, also after a crash; return whether there was anything."""


def tenant_cluster(number: int) -> str:
    """Return the name of the tenant cluster `number`, from 1."""
    return f"{_TENANT}{number}"


def tenants(lab: Lab) -> tuple[str, ...]:
    """Return the names of a lab's tenant clusters in order."""
    return lab.cluster_names[1:]


def tenant_name(cluster: str) -> str:
    """Return the name of the Tenant object for the cluster `tenant-<n>`: `lab-<n>`.

    Not the cluster's own name, because a Tenant whose name begins with `tenant-` shares its namespace
    with one that does not.
    """
    return "lab-" + cluster.removeprefix(_TENANT)


def credential_name(cluster: str) -> str:
    """Return by which name the agent's kubeconfig for the cluster `tenant-<n>` is found: `ccm-<n>`."""
    return "ccm-" + cluster.removeprefix(_TENANT)


def variables(kubeconfigs: Mapping[str, Path]) -> dict[str, str]:
    """Return the environment that names each kubeconfig: `KUBECONFIG_TENANT_1` and so on."""
    return {f"KUBECONFIG_{name.upper().replace('-', '_')}": str(path) for name, path in kubeconfigs.items()}


def project() -> Path | None:
    """Return the source tree that this package runs from, None if it was installed apart."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "packages" / "manager").is_dir():
            return folder
    return None
