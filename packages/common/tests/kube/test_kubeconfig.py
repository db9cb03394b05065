from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubelb_common.kube import kubeconfig
from kubelb_common.kube.errors import ConfigError

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def write(folder: Path, *, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Path:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": "abc", **(user or {})}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "tenant-a"}}],
        "current-context": "x",
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return path


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_reads_inline_credentials(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        cluster={
            "certificate-authority-data": encoded(PEM),
            "tls-server-name": "kubernetes",
            "server": "https://[::1]:1/",
        },
        user={"client-certificate-data": encoded(PEM), "client-key-data": encoded(PEM)},
    )
    access = kubeconfig.load(path).read()
    assert (access.server, access.namespace, access.token) == ("https://[::1]:1", "tenant-a", "abc")
    assert (access.ca, access.client_certificate, access.client_key) == (PEM, PEM, PEM)
    assert access.tls_server_name == "kubernetes"
    assert access.files == {path}


def test_reads_files_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(PEM)
    (tmp_path / "token").write_text("from-file\n")
    path = write(tmp_path, cluster={"certificate-authority": "ca.crt"}, user={"tokenFile": str(tmp_path / "token")})
    access = kubeconfig.load(path).read()
    assert (access.ca, access.token) == (PEM, "from-file")
    assert access.files == {path, tmp_path / "ca.crt", tmp_path / "token"}


def test_another_reading_is_equal_exactly_if_nothing_changed(tmp_path: Path) -> None:
    source = kubeconfig.load(write(tmp_path))
    first = source.read()
    assert source.read() == first
    write(tmp_path, user={"token": "other"})
    assert source.read() != first


def test_secrets_are_not_in_the_representation(tmp_path: Path) -> None:
    text = repr(kubeconfig.load(write(tmp_path, user={"token": "hunter2"})).read())
    assert "hunter2" not in text
    assert "10.0.0.1" in text


@pytest.mark.parametrize(
    ("cluster", "user", "complaint"),
    [
        ({}, {"exec": {"command": "aws"}}, r"users\[u\].user.exec: exec plug-ins are not supported; use a token"),
        ({}, {"auth-provider": {"name": "gcp"}}, r"users\[u\].user.auth-provider: .*not supported"),
        ({}, {"username": "admin"}, r"users\[u\].user.username: passwords are not supported"),
        ({}, {"as": "root"}, r"users\[u\].user.as: impersonation is not supported"),
        ({}, {"client-certificate-data": encoded(PEM)}, r"users\[u\].user: client-certificate and client-key must be"),
        ({}, {"client-key": "missing.key"}, r"users\[u\].user.client-key: cannot read .*missing.key: No such file"),
        ({}, {"token": "two words"}, r"users\[u\].user.token: the token has characters"),
        ({}, {"token": 5}, r"users\[u\].user.token: must be a text"),
        ({"server": "10.0.0.1:6443"}, {}, r"clusters\[c\].cluster.server: is '10.0.0.1:6443'; expected a URL"),
        ({"server": ""}, {}, r"clusters\[c\].cluster.server: must be a text that is not empty"),
        ({"proxy-url": "socks5://p:1"}, {}, r"clusters\[c\].cluster.proxy-url: only http"),
        ({"certificate-authority-data": "!!"}, {}, r"clusters\[c\].cluster.certificate-authority-data: is not PEM"),
    ],
)
def test_what_cannot_be_honoured_is_named(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], complaint: str
) -> None:
    path = write(tmp_path, cluster=cluster, user=user)
    with pytest.raises(ConfigError, match=complaint) as caught:
        kubeconfig.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [", "line 1: not valid YAML"),
        ("", "is empty or no mapping"),
        ("clusters: []", "current-context: is not set"),
        (
            "current-context: y\ncontexts: [{name: x}]",
            r"current-context: names 'y', which is not in contexts \(there: x\)",
        ),
        ("current-context: x\ncontexts: [{name: x, context: {user: u}}]", r"contexts\[x\].context.cluster: must be"),
        ("current-context: x\ncontexts: 5", "contexts: must be a list"),
    ],
)
def test_a_malformed_file_is_explained(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        kubeconfig.load(path)


def test_a_missing_file_and_a_folder_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        kubeconfig.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="Is a directory"):
        kubeconfig.load(tmp_path)


def test_no_configuration_at_all_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="give --kubeconfig FILE"):
        kubeconfig.load()


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(write(tmp_path)))
    assert kubeconfig.load().read().namespace == "tenant-a"
    monkeypatch.setenv("KUBECONFIG", "a:b")
    with pytest.raises(ConfigError, match="names several files"):
        kubeconfig.load()


def test_reads_a_pods_credentials(tmp_path: Path) -> None:
    for name, text in {"token": "t\n", "ca.crt": PEM, "namespace": "kubelb"}.items():
        (tmp_path / name).write_text(text)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = kubeconfig.InCluster(tmp_path, environ).read()
    assert (access.server, access.namespace, access.token, access.ca) == ("https://[fd00::1]:443", "kubelb", "t", PEM)
    (tmp_path / "token").unlink()
    with pytest.raises(ConfigError, match="automountServiceAccountToken"):
        kubeconfig.InCluster(tmp_path, environ).read()
    with pytest.raises(ConfigError, match="KUBERNETES_SERVICE_HOST is not set"):
        kubeconfig.InCluster(tmp_path, {}).read()
