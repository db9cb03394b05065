"""Starts etcd, API server, controller manager and scheduler of one cluster and waits for them.

Order: etcd and API server together (the API server waits for etcd), then, as soon as `/readyz`
answers, controller manager and scheduler. A process that ends meanwhile is an error with the tail
of its log.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

import aiohttp
import yaml

from kubelb_e2e.clusters.local import credentials
from kubelb_e2e.clusters.local.model import API_PORT, ClusterSpec, LabSpec
from kubelb_e2e.clusters.local.processes import Process, Processes, tail
from kubelb_e2e.errors import LabError

READY_SECONDS = 180.0
_POLL_SECONDS = 0.1

#: All writes with their user and object, no reads: the idle test (ruling 35) reads this log.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "verbs": ["get", "list", "watch"]}, {"level": "Metadata"}],
}

#: Nothing in the lab has volumes, cloud routes or certificates to approve.
_UNUSED_CONTROLLERS = (
    "node-ipam-controller",
    "node-route-controller",
    "service-lb-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-expander-controller",
    "ephemeral-volume-controller",
    "certificatesigningrequest-signing-controller",
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-cleaner-controller",
    "horizontal-pod-autoscaler-controller",
)


async def start(lab: LabSpec, cluster: ClusterSpec, processes: Processes) -> None:
    """Start the control plane of `cluster`; returns when its API server is ready. Raises LabError."""
    policy = cluster.directory / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(_AUDIT_POLICY))

    def run(program: str, *flags: str) -> Process:
        return processes.start(
            f"{cluster.name}/{program}",
            [str(lab.binaries / program), *flags],
            log=cluster.logs / f"{program}.log",
            namespace=cluster.netns,
        )

    etcd = run("etcd", *_etcd_flags(cluster))
    api = run("kube-apiserver", *_api_flags(cluster, policy))
    await _wait_ready(cluster, (etcd, api))
    run("kube-controller-manager", *_controller_manager_flags(cluster))
    run("kube-scheduler", *_scheduler_flags(cluster))


def _etcd_flags(cluster: ClusterSpec) -> list[str]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return [
        f"--data-dir={cluster.directory / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    ]


def _api_flags(cluster: ClusterSpec, policy: Path) -> list[str]:
    pki = cluster.directory / "pki"
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        f"--secure-port={API_PORT}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={cluster.api_address}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={','.join(cluster.nodes[0].service_cidrs)}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        "--enable-aggregator-routing=true",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={cluster.audit_log}",
        "--profiling=false",
    ]


def _controller_manager_flags(cluster: ClusterSpec) -> list[str]:
    pki = cluster.directory / "pki"
    return [
        f"--kubeconfig={credentials.component_kubeconfig(cluster, 'kube-controller-manager')}",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        "--controllers=*," + ",".join(f"-{name}" for name in _UNUSED_CONTROLLERS),
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
    ]


def _scheduler_flags(cluster: ClusterSpec) -> list[str]:
    return [
        f"--kubeconfig={credentials.component_kubeconfig(cluster, 'kube-scheduler')}",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
    ]


async def _wait_ready(cluster: ClusterSpec, needed: tuple[Process, ...]) -> None:
    """Poll `/readyz` until it is fine."""
    context = _tls(cluster)
    deadline = time.monotonic() + READY_SECONDS
    answer = "no answer"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while time.monotonic() < deadline:
            for process in needed:
                process.check()
            try:
                async with session.get(f"{cluster.api_server}/readyz?verbose", ssl=context) as response:
                    if response.status == 200:
                        return
                    answer = _failing_checks(await response.text())
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                answer = str(error) or type(error).__name__
            await asyncio.sleep(_POLL_SECONDS)
    log = needed[-1].log
    raise LabError(
        f"{cluster.name}: the API server is not ready after {READY_SECONDS:.0f} s: {answer}; "
        f"the end of {log}:\n{tail(log)}"
    )


def _failing_checks(text: str) -> str:
    failing = [line for line in text.splitlines() if line.startswith("[-]")]
    return "; ".join(failing) or text[:200]


def _tls(cluster: ClusterSpec) -> ssl.SSLContext:
    folder = cluster.directory / "pki"
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "kubelet-client.crt", folder / "kubelet-client.key")
    return context
