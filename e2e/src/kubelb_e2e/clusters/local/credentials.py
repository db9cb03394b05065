"""Certificates and kubeconfigs of a cluster, written before its processes start.

Every process has its own user name, so that the audit log tells who wrote: `kubelb-lab` is the
harness, `system:node:<name>` a node, the components have the names that Kubernetes binds roles to.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from kubelb_common import pki
from kubelb_e2e.clusters.local.model import API_SERVICE_ADDRESS, ClusterSpec, NodeSpec
from kubelb_e2e.clusters.state import write_atomically

HARNESS_USER = "kubelb-lab"
_LIFETIME = timedelta(days=30)
_MASTERS = "system:masters"


def write(cluster: ClusterSpec) -> None:
    """Write all keys, certificates and kubeconfigs of `cluster`; existing ones are replaced."""
    now = datetime.now(UTC)
    ca = pki.create_ca(f"kubelb-lab {cluster.name}", now=now, lifetime=_LIFETIME)
    folder = cluster.directory / "pki"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(ca.cert_pem)
    serving = pki.issue(
        ca,
        "kube-apiserver",
        now=now,
        lifetime=_LIFETIME,
        usages=("server",),
        dns=_service_names(cluster),
        ips=(cluster.api_address, "127.0.0.1", API_SERVICE_ADDRESS),
    )
    _write_pair(folder, "apiserver", serving)
    _write_pair(folder, "kubelet-client", _client(ca, now, "kube-apiserver-kubelet-client", _MASTERS))
    private, public = pki.signing_key_pair("ec")
    _write_secret(folder / "service-accounts.key", private)
    (folder / "service-accounts.pub").write_bytes(public)
    for component in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        pair = _client(ca, now, f"system:{component}")
        write_kubeconfig(component_kubeconfig(cluster, component), cluster.name, cluster.api_server, ca.cert_pem, pair)
    write_kubeconfig(
        cluster.kubeconfig, cluster.name, cluster.api_server, ca.cert_pem, _client(ca, now, HARNESS_USER, _MASTERS)
    )
    for node in cluster.nodes:
        _write_node(cluster, node, ca, now)


def component_kubeconfig(cluster: ClusterSpec, component: str) -> Path:
    """Return the kubeconfig of a control-plane component or of kube-proxy."""
    return cluster.directory / f"{component}.kubeconfig"


def write_kubeconfig(path: Path, name: str, server: str, ca_pem: bytes, user: pki.KeyPair) -> None:
    """Write a kubeconfig with everything embedded, readable by its owner only."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": _base64(ca_pem)}}],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _base64(user.cert_pem),
                    "client-key-data": _base64(user.key_pem),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    write_atomically(path, yaml.safe_dump(document, sort_keys=False))


def _write_node(cluster: ClusterSpec, node: NodeSpec, ca: pki.KeyPair, now: datetime) -> None:
    node.directory.mkdir(parents=True, exist_ok=True)
    # In system:masters, because the lab has no node authorizer; the name is what the audit log needs.
    user = _client(ca, now, f"system:node:{node.name}", _MASTERS)
    write_kubeconfig(node.kubeconfig, cluster.name, cluster.api_server, ca.cert_pem, user)
    serving = pki.issue(
        ca,
        f"system:node:{node.name}",
        now=now,
        lifetime=_LIFETIME,
        usages=("server",),
        dns=(node.name,),
        ips=(node.address, "127.0.0.1"),
    )
    node.serving_certificate.write_bytes(serving.cert_pem)
    _write_secret(node.serving_key, serving.key_pem)
    node.dump(node.directory / "node.json")


def _client(ca: pki.KeyPair, now: datetime, user: str, *groups: str) -> pki.KeyPair:
    subject = pki.Subject(common_name=user, organizations=groups)
    return pki.issue(ca, subject, now=now, lifetime=_LIFETIME, usages=("client",))


def _service_names(cluster: ClusterSpec) -> tuple[str, ...]:
    service = "kubernetes.default.svc"
    return ("localhost", "kubernetes", "kubernetes.default", service, f"{service}.cluster.local", cluster.name)


def _write_pair(folder: Path, name: str, pair: pki.KeyPair) -> None:
    (folder / f"{name}.crt").write_bytes(pair.cert_pem)
    _write_secret(folder / f"{name}.key", pair.key_pem)


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
