"""A real API server for tests: etcd and kube-apiserver on loopback, nothing else.

No controllers run: namespaces stay Terminating, nothing is garbage-collected, no endpoints appear.
RBAC is on. Both programs die with the process that started them (parent-death signal), whatever ends
it, and with `stop()`; their folder goes with them.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kubelb_common import pki
from kubelb_common.testing import binaries, ports

SERVICE_CIDR = "10.96.0.0/16"
START_TIMEOUT = 60.0  # seconds
_LIFETIME = timedelta(days=2)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class StartFailed(Exception):  # noqa: N818 - named for what it says
    """A program ended or was not ready in time; the text carries the end of its log."""


@dataclass(slots=True)
class RealApi:
    """A running API server.

    Attributes:
        url: `https://127.0.0.1:<port>`.
        folder: holds certificates, logs and kubeconfigs.
        kubeconfig: the admin's (group `system:masters`).
    """

    url: str
    folder: Path
    kubeconfig: Path
    ca: pki.KeyPair
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """Return a kubeconfig for a user without any right but what RBAC gives to the name or groups."""
        subject = pki.Subject(common_name=name, organizations=groups)
        leaf = pki.issue(self.ca, subject, now=datetime.now(UTC), lifetime=_LIFETIME, usages=["client"])
        stem = name.replace(":", "-").replace("/", "-")
        certificate, key = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        certificate.write_bytes(leaf.cert_pem)
        key.write_bytes(leaf.key_pem)
        return self._write_kubeconfig(stem, {"client-certificate": str(certificate), "client-key": str(key)})

    def with_token(self, name: str, token: str) -> Path:
        """Return a kubeconfig that carries a bearer token."""
        return self._write_kubeconfig(name, {"token": token})

    def stop(self) -> None:
        """End both programs and remove the folder."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_kubeconfig(self, name: str, user: dict[str, str]) -> Path:
        cluster = {"server": self.url, "certificate-authority": str(self.folder / "ca.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path


def start(folder: Path | None = None) -> RealApi:
    """Start both programs and return when the API server is ready (about 4 s).

    Raises:
        binaries.MissingPrograms: etcd or kube-apiserver is not on this machine.
        StartFailed: one of them ended, or was not ready in time.
    """
    programs = binaries.require(("etcd", "kube-apiserver"))
    folder = folder or Path(tempfile.mkdtemp(prefix="kubelb-api-"))
    client_port, peer_port, secure_port = ports.free(3)
    now = datetime.now(UTC)
    ca = pki.create_ca("kubelb-test", now=now, lifetime=_LIFETIME)
    _write_credentials(folder, ca, now)
    api = RealApi(f"https://127.0.0.1:{secure_port}", folder, folder / "admin.kubeconfig", ca)
    try:
        api.user("admin", ["system:masters"])
        etcd = f"http://127.0.0.1:{client_port}"
        api._processes.append(_spawn(folder, "etcd", _etcd(programs, folder, etcd, peer_port)))  # noqa: SLF001
        server = _api_server(programs, folder, etcd, secure_port)
        api._processes.append(_spawn(folder, "kube-apiserver", server))  # noqa: SLF001
        _wait_ready(api)
    except BaseException:
        api.stop()
        raise
    return api


def _etcd(programs: Path, folder: Path, url: str, peer_port: int) -> list[str]:
    peer = f"http://127.0.0.1:{peer_port}"
    return [
        str(programs / "etcd"),
        f"--data-dir={folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    ]


def _api_server(programs: Path, folder: Path, etcd: str, port: int) -> list[str]:
    return [
        str(programs / "kube-apiserver"),
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={folder / 'server.crt'}",
        f"--tls-private-key-file={folder / 'server.key'}",
        f"--client-ca-file={folder / 'ca.crt'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'sa.pub'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=RBAC",
        "--endpoint-reconciler-type=none",
        "--enable-priority-and-fairness=false",
        "--disable-admission-plugins=ServiceAccount",
    ]


def _write_credentials(folder: Path, ca: pki.KeyPair, now: datetime) -> None:
    server = pki.issue(
        ca, "kube-apiserver", now=now, lifetime=_LIFETIME, usages=["server"], dns=["localhost"], ips=["127.0.0.1"]
    )
    private, public = pki.signing_key_pair("ec")
    for name, content in {
        "ca.crt": ca.cert_pem,
        "server.crt": server.cert_pem,
        "server.key": server.key_pem,
        "sa.key": private,
        "sa.pub": public,
    }.items():
        (folder / name).write_bytes(content)


def _spawn(folder: Path, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own program with our own arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,  # a Ctrl-C on the terminal is for pytest alone
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no lock is taken
        )


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_ready(api: RealApi) -> None:
    context = ssl.create_default_context(cafile=str(api.folder / "ca.crt"))
    context.load_cert_chain(api.folder / "admin.crt", api.folder / "admin.key")
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        for process in api._processes:  # noqa: SLF001 - part of this module
            if process.poll() is not None:
                raise StartFailed(f"{_name(process)} ended with {process.returncode}:\n{_log_end(api.folder, process)}")
        try:
            with urllib.request.urlopen(f"{api.url}/readyz", context=context, timeout=5):  # noqa: S310 - our own https
                return
        except (urllib.error.URLError, OSError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if time.monotonic() > deadline:
                log = _log_end(api.folder, api._processes[-1])  # noqa: SLF001
                raise StartFailed(f"kube-apiserver not ready after {START_TIMEOUT:.0f} s ({error}):\n{log}") from error
        time.sleep(0.05)


def _name(process: subprocess.Popen[bytes]) -> str:
    assert isinstance(process.args, list)
    return Path(str(process.args[0])).name


def _log_end(folder: Path, process: subprocess.Popen[bytes]) -> str:
    return (folder / f"{_name(process)}.log").read_text(encoding="utf-8", errors="replace")[-2000:]
