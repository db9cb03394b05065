"""Where the API server is and who we are: a kubeconfig file, or the credentials that a pod is given.

A `Source` can be read again at any time; it returns an `Access`, which holds the *contents* of every file involved,
so that two readings compare equal exactly if nothing changed. Everything that a kubeconfig may say is either
honoured or refused by name (exec plug-ins, auth providers, passwords, impersonation, SOCKS proxies): nothing is
silently ignored that changes who we are or whom we trust. Every error is a `ConfigError` that tells file, field and
what to do.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import yaml

from kubelb_common.kube.errors import ConfigError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_FILE = Path("~/.kube/config")


@dataclass(frozen=True, slots=True)
class Access:
    """Everything needed to talk to one API server.

    Attributes:
        origin: where this comes from, for messages.
        server: base URL without a final slash.
        namespace: of the context or of the pod; `default` where nothing says.
        files: every file that was read.
        ca: PEM of the accepted authorities; None: the system's.
        verify: False: any certificate is accepted.
        tls_server_name: the name expected in the server's certificate, if not the URL's.
        proxy: URL of an HTTP proxy.
        token: bearer token.
        client_certificate: PEM; given together with `client_key`.
        client_key: PEM.
    """

    origin: str
    server: str
    namespace: str
    files: frozenset[Path] = field(repr=False)
    ca: str | None = field(default=None, repr=False)
    verify: bool = True
    tls_server_name: str | None = None
    proxy: str | None = None
    token: str | None = field(default=None, repr=False)
    client_certificate: str | None = field(default=None, repr=False)
    client_key: str | None = field(default=None, repr=False)


class Source(Protocol):
    """Something that an `Access` is read from."""

    def read(self) -> Access:
        """Read everything anew; raises ConfigError."""


def load(path: str | Path | None = None, *, context: str | None = None) -> Source:
    """Return the source of credentials, after reading it once.

    Without a path: the file in $KUBECONFIG, else the pod's own credentials if this is a pod, else ~/.kube/config.

    Args:
        path: a kubeconfig file.
        context: a context of that file instead of its current one.

    Raises:
        ConfigError: it cannot be used; the text tells file, field and what to do.
    """
    source = _choose(path, context)
    source.read()
    return source


def _choose(path: str | Path | None, context: str | None) -> Source:
    if path:
        return KubeconfigFile(Path(path), context)
    if named := os.environ.get("KUBECONFIG"):
        if os.pathsep in named:
            raise ConfigError(f"KUBECONFIG names several files ({named}); name one, or give one with --kubeconfig")
        return KubeconfigFile(Path(named), context)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return InCluster()
    default = DEFAULT_FILE.expanduser()
    if default.exists():
        return KubeconfigFile(default, context)
    raise ConfigError(
        "no API server is configured: give --kubeconfig FILE, set KUBECONFIG, or run in a pod "
        f"({default} does not exist)"
    )


@dataclass(frozen=True, slots=True)
class InCluster:
    """The ServiceAccount credentials that the kubelet mounts into a pod and renews."""

    directory: Path = SERVICE_ACCOUNT
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def read(self) -> Access:
        """Read token, authorities and namespace; raises ConfigError."""
        host = self.environ.get("KUBERNETES_SERVICE_HOST", "")
        port = self.environ.get("KUBERNETES_SERVICE_PORT", "443") or "443"
        if not host:
            raise ConfigError("KUBERNETES_SERVICE_HOST is not set: this is no pod; give --kubeconfig FILE")
        token, ca, namespace = (self.directory / name for name in ("token", "ca.crt", "namespace"))
        what = "the pod's ServiceAccount volume"
        hint = "check automountServiceAccountToken of the pod and its ServiceAccount"
        return Access(
            origin=f"in-cluster credentials in {self.directory}",
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            namespace=_text(namespace, what, hint).strip() if namespace.exists() else "default",
            files=frozenset({token, ca}),
            ca=_text(ca, what, hint),
            token=_token(_text(token, what, hint), f"{token}"),
        )


@dataclass(frozen=True, slots=True)
class KubeconfigFile:
    """A kubeconfig file and one of its contexts."""

    path: Path
    context: str | None = None

    def read(self) -> Access:
        """Read the file and every file it names; raises ConfigError."""
        return _Reading(self.path.expanduser(), self.context).access()


_REFUSED_USER_FIELDS = {
    "exec": "exec plug-ins are not supported; use a token, tokenFile or client certificate",
    "auth-provider": "auth providers are not supported; use a token, tokenFile or client certificate",
    "username": "passwords are not supported (nor by API servers since 1.19); use a token or client certificate",
    "password": "passwords are not supported (nor by API servers since 1.19); use a token or client certificate",
    "as": "impersonation is not supported; use the credential of the account itself",
    "as-uid": "impersonation is not supported; use the credential of the account itself",
    "as-groups": "impersonation is not supported; use the credential of the account itself",
    "as-user-extra": "impersonation is not supported; use the credential of the account itself",
}


class _Reading:
    """One reading of a kubeconfig file; collects which files it led to."""

    def __init__(self, path: Path, context: str | None) -> None:
        self._path = path
        self._files = {path}
        self._config = self._parse(_text(path, "kubeconfig", "check the path and its permissions"))
        self._context = context or self._config.get("current-context") or ""

    def access(self) -> Access:
        if not self._context:
            raise self._error("current-context", "is not set; run `kubectl config use-context NAME`")
        context = self._named("contexts", "context", self._context, "current-context")
        where = f"contexts[{self._context}].context"
        cluster_name = self._string(context, "cluster", where, needed=True)
        user_name = self._string(context, "user", where)
        cluster = self._named("clusters", "cluster", cluster_name, f"{where}.cluster")
        user = self._named("users", "user", user_name, f"{where}.user") if user_name else {}
        return self._build(context, (cluster, f"clusters[{cluster_name}].cluster"), (user, f"users[{user_name}].user"))

    def _build(
        self, context: dict[str, Any], cluster: tuple[dict[str, Any], str], user: tuple[dict[str, Any], str]
    ) -> Access:
        for name, why in _REFUSED_USER_FIELDS.items():
            if user[0].get(name):
                raise self._error(f"{user[1]}.{name}", why)
        server = self._server(*cluster)
        certificate = self._data_or_file(*user, "client-certificate")
        key = self._data_or_file(*user, "client-key")
        if (certificate is None) != (key is None):
            raise self._error(user[1], "client-certificate and client-key must be given together")
        insecure = bool(cluster[0].get("insecure-skip-tls-verify"))
        return Access(
            origin=f"kubeconfig {self._path}, context {self._context!r}",
            server=server,
            namespace=self._string(context, "namespace", f"contexts[{self._context}].context") or "default",
            ca=None if insecure else self._data_or_file(*cluster, "certificate-authority"),
            verify=not insecure,
            tls_server_name=self._string(*_pair(cluster, "tls-server-name")) or None,
            proxy=self._proxy(*cluster),
            token=self._token(*user),
            client_certificate=certificate,
            client_key=key,
            files=frozenset(self._files),
        )

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or "it cannot be parsed"
            raise ConfigError(f"kubeconfig {self._path}{line}: not valid YAML ({problem}); correct the file") from error
        if not isinstance(config, dict):
            raise ConfigError(f"kubeconfig {self._path}: is empty or no mapping; expected kind: Config")
        return config

    def _named(self, section: str, inner: str, name: str, referrer: str) -> dict[str, Any]:
        entries = self._config.get(section) or []
        if not isinstance(entries, list):
            raise self._error(section, "must be a list")
        for entry in entries:
            if isinstance(entry, dict) and entry.get("name") == name:
                value = entry.get(inner) or {}
                if not isinstance(value, dict):
                    raise self._error(f"{section}[{name}].{inner}", "must be a mapping")
                return value
        known = ", ".join(str(entry.get("name")) for entry in entries if isinstance(entry, dict)) or "none"
        raise self._error(referrer, f"names {name!r}, which is not in {section} (there: {known})")

    def _string(self, holder: dict[str, Any], name: str, where: str, *, needed: bool = False) -> str:
        value = holder.get(name)
        if value is None and not needed:
            return ""
        if not isinstance(value, str) or (needed and not value):
            raise self._error(f"{where}.{name}", "must be a text that is not empty" if needed else "must be a text")
        return value

    def _server(self, cluster: dict[str, Any], where: str) -> str:
        server = self._string(cluster, "server", where, needed=True).rstrip("/")
        parts = urlsplit(server)
        try:
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise self._error(f"{where}.server", f"is {server!r}; expected a URL like https://HOST:6443")
        return server

    def _proxy(self, cluster: dict[str, Any], where: str) -> str | None:
        proxy = self._string(cluster, "proxy-url", where)
        if proxy and urlsplit(proxy).scheme not in ("http", "https"):
            raise self._error(f"{where}.proxy-url", "only http:// and https:// proxies are supported")
        return proxy or None

    def _token(self, user: dict[str, Any], where: str) -> str | None:
        file = self._string(user, "tokenFile", where)  # it wins over `token`, as in client-go
        if file:
            path = self._relative(file)
            return _token(_text(path, f"{self._path}: {where}.tokenFile", "check the path"), str(path))
        token = self._string(user, "token", where)
        return _token(token, f"kubeconfig {self._path}: {where}.token") if token else None

    def _data_or_file(self, holder: dict[str, Any], where: str, name: str) -> str | None:
        data = self._string(holder, f"{name}-data", where)
        if data:
            return self._pem(_decoded(data), f"{where}.{name}-data")
        file = self._string(holder, name, where)
        if not file:
            return None
        path = self._relative(file)
        text = _text(path, f"kubeconfig {self._path}: {where}.{name}", "check the path")
        return self._pem(text, f"{where}.{name} ({path})")

    def _pem(self, text: str | None, field_name: str) -> str:
        if text is None or "-----BEGIN" not in text:
            raise self._error(field_name, "is not PEM; write the certificate or key anew")
        return text

    def _relative(self, file: str) -> Path:
        path = self._path.absolute().parent / Path(file).expanduser()
        self._files.add(path)
        return path

    def _error(self, field_name: str, why: str) -> ConfigError:
        return ConfigError(f"kubeconfig {self._path}: {field_name}: {why}")


def _pair(holder: tuple[dict[str, Any], str], name: str) -> tuple[dict[str, Any], str, str]:
    return holder[0], name, holder[1]


def _decoded(data: str) -> str | None:
    try:
        return base64.b64decode(data, validate=False).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _token(text: str, where: str) -> str:
    token = text.strip()
    if not token:
        raise ConfigError(f"{where}: the token is empty; create a new one")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{where}: the token has characters that no bearer token has; create a new one")
    return token


def _text(path: Path, what: str, hint: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{what}: cannot read {path}: {error.strerror or error}; {hint}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: {path} is not text; {hint}") from error
