"""What a lab consists of: names, addresses, ranges and paths, all decided before anything starts.

The plan is a value. It is written to `lab.json` in the lab's folder, and every process of the lab
(daemon, node agents, commands) reads it from there; nothing is discovered at run time.

Addresses of the lab network 10.99.0.0/16:

    10.99.0.1            the lab itself: bridge, commands started by `run`
    10.99.0.(10+c)       API server of cluster c, port 6443 (c = 0 is the management cluster)
    10.99.1.(10+c)       DNS server of cluster c, port 53
    10.99.(10+c).(1+n)   node n of cluster c
    10.99.200.0/22       addresses of LoadBalancer Services (management cluster only)

Pod range 10.244.0.0/16 and Service range 10.96.0.0/16 are the same in all clusters on purpose: an
address that leaks from one cluster to another must not work by luck.

A dual-stack lab has beside these, in fd99::/64: fd99::1 the lab, fd99::(10+c):(1+n) node n of cluster c, and
fd99::c8:0/112 for LoadBalancer Services; pods are in fd99:244::/48, ClusterIPs in fd99:96::/112.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubelb_e2e.clusters.base import MANAGEMENT, tenant_cluster

NODE_NETWORK = "10.99.0.0/16"
LAB_ADDRESS = "10.99.0.1"
PREFIX = 16
CLUSTER_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
POOL = "10.99.200.0/22"
API_PORT = 6443
LAB_ZONE = "lab.test"
LAB_ADDRESS6 = "fd99::1"
PREFIX6 = 64
CLUSTER_CIDR6 = "fd99:244::/48"
SERVICE_CIDR6 = "fd99:96::/112"
#: As many as `POOL`; the host part counts from 1 in both.
POOL6 = "fd99::c8:0/118"
IP_FAMILIES = ("ipv4", "dual")
MAX_TENANTS = 100
MAX_NODES = 100


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node: a network namespace, a Node object, a kube-proxy and a node agent.

    Attributes:
        lab: name of the lab.
        cluster: name of its cluster, `management` or `tenant-<n>`.
        name: name of the Node object, unique in the whole lab.
        index: from 0, within the cluster.
        netns: name of its network namespace under /run/netns.
        address: InternalIP on the lab network.
        pod_cidr: addresses of its pods, a /24 of `cluster_cidr`.
        cluster_cidr: addresses of all pods of the cluster.
        service_cidr: ClusterIPs of the cluster.
        api_server: `https://<address>:<port>` of the cluster's API server.
        dns_address: where the cluster's DNS server answers on port 53.
        kubeconfig: file with the node's own credential (user `system:node:<name>`).
        ca: file with the cluster's CA, PEM; also signs clients of the node agent's port 10250.
        serving_certificate: PEM file for port 10250 (SANs: name and address).
        serving_key: its key.
        directory: the node agent's own folder (volumes, allocations).
        pod_logs: folder for `<namespace>_<pod>_<uid>/<container>/<restart count>.log`, shared by the cluster's nodes.
        images: the catalogue given to `up --images`, or None for the built-in one.
        address6: its IPv6 address; empty, as the following ones, in a lab of IPv4 alone.
        pod_cidr6: IPv6 addresses of its pods, a /64 of `cluster_cidr6`.
        cluster_cidr6: IPv6 addresses of all pods of the cluster.
        service_cidr6: IPv6 ClusterIPs of the cluster.
    """

    lab: str
    cluster: str
    name: str
    index: int
    netns: str
    address: str
    pod_cidr: str
    cluster_cidr: str
    service_cidr: str
    api_server: str
    dns_address: str
    kubeconfig: Path
    ca: Path
    serving_certificate: Path
    serving_key: Path
    directory: Path
    pod_logs: Path
    images: Path | None
    address6: str = ""
    pod_cidr6: str = ""
    cluster_cidr6: str = ""
    service_cidr6: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses on the lab network, IPv4 first."""
        return _given(self.address, self.address6)

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """Ranges of its pods, IPv4 first."""
        return _given(self.pod_cidr, self.pod_cidr6)

    @property
    def cluster_cidrs(self) -> tuple[str, ...]:
        """Ranges of the cluster's pods, IPv4 first."""
        return _given(self.cluster_cidr, self.cluster_cidr6)

    @property
    def service_cidrs(self) -> tuple[str, ...]:
        """Ranges of the cluster's ClusterIPs, IPv4 first."""
        return _given(self.service_cidr, self.service_cidr6)

    def dump(self, path: Path) -> None:
        """Write this plan as JSON to `path`."""
        path.write_text(json.dumps(_plain(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> NodeSpec:
        """Read what `dump` wrote; raises OSError, ValueError or TypeError if it is no such file."""
        return _node(json.loads(path.read_text()))


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """One cluster: etcd and control plane in a network namespace of their own, and its nodes.

    Attributes:
        name: `management` or `tenant-<n>`.
        index: 0 for management, n for `tenant-<n>`.
        netns: network namespace of the control plane.
        api_address: the API server's own address on the lab network.
        dns_address: where pods ask for names.
        directory: certificates, kubeconfigs, etcd's data.
        logs: folder of the logs of its processes.
        nodes: in order.
    """

    name: str
    index: int
    netns: str
    api_address: str
    dns_address: str
    directory: Path
    logs: Path
    nodes: tuple[NodeSpec, ...]

    @property
    def is_management(self) -> bool:
        """Whether the manager and the Envoys live here."""
        return self.index == 0

    @property
    def api_server(self) -> str:
        """URL of the API server on the lab network."""
        return f"https://{self.api_address}:{API_PORT}"

    @property
    def kubeconfig(self) -> Path:
        """Admin's kubeconfig for use inside the lab; credentials are embedded."""
        return self.directory / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: one JSON event per line, all writes with user and object."""
        return self.logs / "audit.log"


@dataclass(frozen=True, slots=True)
class LabSpec:
    """The whole lab.

    Attributes:
        name: the lab's name.
        directory: its state folder.
        clusters: the management cluster, then tenants in order.
        binaries: folder that holds etcd, kube-apiserver, ..., kubectl.
        project: the source tree, or None when the package was installed without one.
        without: parts of the product that are not deployed, of `ccm` and `manager`.
        images: catalogue file or None.
        kube_proxy_sync: kube-proxy's minimum time between two syncs, as a Go duration.
        ip_family: one of `IP_FAMILIES`.
    """

    name: str
    directory: Path
    clusters: tuple[ClusterSpec, ...]
    binaries: Path
    project: Path | None
    without: tuple[str, ...]
    images: Path | None
    kube_proxy_sync: str
    ip_family: str = "ipv4"

    @property
    def is_dual(self) -> bool:
        """Whether nodes, pods and Services have IPv6 addresses too."""
        return self.ip_family == "dual"

    @property
    def management(self) -> ClusterSpec:
        """The cluster of the manager."""
        return self.clusters[0]

    @property
    def tenants(self) -> tuple[ClusterSpec, ...]:
        """The tenants' clusters."""
        return self.clusters[1:]

    @property
    def control_socket(self) -> Path:
        """Unix socket where the daemon takes commands."""
        return self.directory / "control.sock"

    def cluster(self, name: str) -> ClusterSpec:
        """Return the cluster called `name`; raises KeyError."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise KeyError(name)

    def dump(self) -> None:
        """Write this plan to `lab.json` in the lab's folder."""
        (self.directory / "lab.json").write_text(json.dumps(_plain(self), indent=1))

    @classmethod
    def load(cls, directory: Path) -> LabSpec:
        """Read the plan of the lab in `directory`; raises OSError, ValueError, KeyError or TypeError."""
        raw = json.loads((directory / "lab.json").read_text())
        clusters = tuple(_cluster(item) for item in raw.pop("clusters"))
        without = tuple(raw.pop("without"))
        return cls(**_paths(raw, "directory", "binaries", "project", "images"), clusters=clusters, without=without)


def plan(
    name: str,
    directory: Path,
    *,
    tenants: int,
    nodes: int,
    binaries: Path,
    project: Path | None = None,
    without: tuple[str, ...] = (),
    images: Path | None = None,
    kube_proxy_sync: str = "1s",
    ip_family: str = "ipv4",
) -> LabSpec:
    """Return the plan of a lab with one management cluster and `tenants` tenants of `nodes` nodes each."""
    if not 0 <= tenants <= MAX_TENANTS or not 1 <= nodes <= MAX_NODES:
        raise ValueError(f"a lab has 0-{MAX_TENANTS} tenants and 1-{MAX_NODES} nodes per cluster")
    if ip_family not in IP_FAMILIES:
        raise ValueError(f"the IP family of a lab is one of {', '.join(IP_FAMILIES)}, not {ip_family!r}")
    cluster_names = [MANAGEMENT, *(tenant_cluster(number) for number in range(1, tenants + 1))]
    clusters = tuple(
        _plan_cluster(name, directory, cluster, index, nodes=nodes, images=images, dual=ip_family == "dual")
        for index, cluster in enumerate(cluster_names)
    )
    return LabSpec(
        name=name,
        directory=directory,
        clusters=clusters,
        binaries=binaries,
        project=project,
        without=without,
        images=images,
        kube_proxy_sync=kube_proxy_sync,
        ip_family=ip_family,
    )


def pool_addresses(pool: str = POOL) -> list[str]:
    """Return the addresses for LoadBalancer Services, in order of allocation."""
    return [str(address) for address in ipaddress.ip_network(pool).hosts()]


def _given(*items: str) -> tuple[str, ...]:
    return tuple(item for item in items if item)


def _plan_cluster(
    lab: str, root: Path, cluster: str, index: int, *, nodes: int, images: Path | None, dual: bool
) -> ClusterSpec:
    directory = root / "clusters" / cluster
    logs = root / "logs" / cluster
    api_address = f"10.99.0.{10 + index}"
    dns_address = f"10.99.1.{10 + index}"

    def node(number: int) -> NodeSpec:
        node_name = f"{cluster}-node-{number + 1}"
        own = directory / "nodes" / node_name
        return NodeSpec(
            lab=lab,
            cluster=cluster,
            name=node_name,
            index=number,
            netns=node_name,
            address=f"10.99.{10 + index}.{1 + number}",
            pod_cidr=f"10.244.{1 + number}.0/24",
            cluster_cidr=CLUSTER_CIDR,
            service_cidr=SERVICE_CIDR,
            api_server=f"https://{api_address}:{API_PORT}",
            dns_address=dns_address,
            kubeconfig=own / "node.kubeconfig",
            ca=directory / "pki" / "ca.crt",
            serving_certificate=own / "serving.crt",
            serving_key=own / "serving.key",
            directory=own,
            pod_logs=logs / "pods",
            images=images,
            address6=f"fd99::{10 + index:x}:{1 + number:x}" if dual else "",
            pod_cidr6=f"fd99:244:0:{1 + number:x}::/64" if dual else "",
            cluster_cidr6=CLUSTER_CIDR6 if dual else "",
            service_cidr6=SERVICE_CIDR6 if dual else "",
        )

    return ClusterSpec(
        name=cluster,
        index=index,
        netns=f"{cluster}-control",
        api_address=api_address,
        dns_address=dns_address,
        directory=directory,
        logs=logs,
        nodes=tuple(node(number) for number in range(nodes)),
    )


def _plain(value: Any) -> Any:
    def walk(item: Any) -> Any:
        if isinstance(item, Path):
            return str(item)
        if isinstance(item, dict):
            return {key: walk(entry) for key, entry in item.items()}
        if isinstance(item, (list, tuple)):
            return [walk(entry) for entry in item]
        return item

    return walk(dataclasses.asdict(value))


def _paths(raw: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: Path(value) if key in keys and value is not None else value for key, value in raw.items()}


def _node(raw: dict[str, Any]) -> NodeSpec:
    fields = ("kubeconfig", "ca", "serving_certificate", "serving_key", "directory", "pod_logs", "images")
    return NodeSpec(**_paths(raw, *fields))


def _cluster(raw: dict[str, Any]) -> ClusterSpec:
    nodes = tuple(_node(item) for item in raw.pop("nodes"))
    return ClusterSpec(**_paths(raw, "directory", "logs"), nodes=nodes)
