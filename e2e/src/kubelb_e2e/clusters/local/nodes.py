"""A cluster's nodes: Node objects that stay Ready, kube-proxy, and the node agent.

The heartbeat is the node's Lease in `kube-node-lease`, renewed every 10 s as a kubelet does; the
Node's status is written once. The node lifecycle controller takes a node whose Lease grows old for
dead, so a stopped heartbeat is how a scenario kills a node.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from kubelb_common.kube.errors import AlreadyExists, KubeError, NotFound
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import LEASES, NODES
from kubelb_e2e.clusters.local import credentials
from kubelb_e2e.clusters.local.model import ClusterSpec, LabSpec, NodeSpec
from kubelb_e2e.clusters.local.processes import Process, Processes

_LEASE_NAMESPACE = "kube-node-lease"
_RENEW_SECONDS = 10.0
_LEASE_SECONDS = 40
_KUBELET_PORT = 10250


def start_proxy(lab: LabSpec, cluster: ClusterSpec, node: NodeSpec, processes: Processes) -> Process:
    """Start the node's kube-proxy."""
    return processes.start(
        f"{node.name}/kube-proxy",
        [
            str(lab.binaries / "kube-proxy"),
            f"--kubeconfig={credentials.component_kubeconfig(cluster, 'kube-proxy')}",
            f"--hostname-override={node.name}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={','.join(node.cluster_cidrs)}",
            f"--iptables-min-sync-period={lab.kube_proxy_sync}",
            # The lab's user namespace owns no such settings.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
        log=cluster.logs / f"kube-proxy-{node.name}.log",
        namespace=node.netns,
    )


def start_agent(cluster: ClusterSpec, node: NodeSpec, processes: Processes) -> Process:
    """Start the node agent, which runs the pods that are bound to the node."""
    return processes.start(
        f"{node.name}/agent",
        [sys.executable, "-m", "kubelb_e2e.clusters.local.agent", "--spec", str(node.directory / "node.json")],
        log=cluster.logs / f"agent-{node.name}.log",
        namespace=node.netns,
    )


async def register(client: KubeClient, node: NodeSpec) -> None:
    """Create the Node and its Lease, and report the node Ready; what is there already stays."""
    body: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": {
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "unknown"),
            },
        },
        "spec": {"podCIDR": node.pod_cidr, "podCIDRs": list(node.pod_cidrs)},
    }
    with contextlib.suppress(AlreadyExists):
        await client.create(NODES, body)
    await renew(client, node)
    await client.patch(NODES, node.name, {"status": _status(node)}, subresource="status")


async def keep_ready(client: KubeClient, node: NodeSpec, say: Callable[[str], None]) -> None:
    """Renew the node's Lease for ever; an API server that does not answer is tried again."""
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        try:
            await renew(client, node)
        except KubeError as error:
            say(f"{node.name}: Lease not renewed: {error}")


async def renew(client: KubeClient, node: NodeSpec) -> None:
    """Renew the node's Lease now, creating it where missing."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": node.name, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": now}
    try:
        await client.patch(LEASES, node.name, {"spec": spec}, _LEASE_NAMESPACE)
    except NotFound:
        lease: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": node.name, "namespace": _LEASE_NAMESPACE},
            "spec": spec,
        }
        await client.create(LEASES, lease, _LEASE_NAMESPACE)


def is_usable(node: Object) -> bool:
    """Tell whether pods can be scheduled: Ready, and the taint of a new node is gone."""
    conditions = node.get("status", {}).get("conditions", [])
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
    return ready and not node.get("spec", {}).get("taints")


def _status(node: NodeSpec) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    resources = {"cpu": "64", "memory": "64Gi", "pods": "200", "ephemeral-storage": "100Gi"}

    def condition(kind: str, status: str, reason: str) -> Object:
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "a network namespace of the local testbed",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }

    return {
        "addresses": [
            *({"type": "InternalIP", "address": address} for address in node.addresses),
            {"type": "Hostname", "address": node.name},
        ],
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", "False", "LabHasSufficientMemory"),
            condition("DiskPressure", "False", "LabHasNoDiskPressure"),
            condition("PIDPressure", "False", "LabHasSufficientPID"),
            condition("Ready", "True", "LabNodeReady"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": _KUBELET_PORT}},
        "nodeInfo": {
            "machineID": node.name,
            "systemUUID": node.name,
            "bootID": node.name,
            "kernelVersion": platform.release(),
            "osImage": "KubeLB local testbed (no limits, one uid)",
            "containerRuntimeVersion": "lab://1",
            "kubeletVersion": "v1.36.3",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": platform.machine(),
        },
    }
