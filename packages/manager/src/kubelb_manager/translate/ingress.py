"""What an accepted Ingress says, as values; what is not read here goes nowhere (the allow-list of fields)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.ir.model import ANY_HOST, Host, PathKind, PathMatch
from kubelb_manager.translate import acceptance


@dataclass(frozen=True, slots=True)
class ServiceBackend:
    """A port of a Service in the Ingress' namespace, by number or by name."""

    service: str
    port: int | str


class ResourceBackend:
    """A backend that is no Service; not served."""


Backend = ServiceBackend | ResourceBackend


@dataclass(frozen=True, slots=True)
class Path:
    """One path of a rule: as it is matched, and as it was written."""

    match: PathMatch
    backend: Backend
    value: str
    path_type: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; without paths it only names a host, whose requests go to the default backend."""

    host: Host
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Ingress:
    """An accepted Ingress."""

    namespace: str
    name: str
    rules: tuple[Rule, ...]
    default_backend: Backend | None
    has_tls: bool


def read(resource: Object) -> Ingress:
    """Return the values of an Ingress that `acceptance` has passed."""
    spec = untrusted.mapping(resource.get("spec"))
    default = spec.get("defaultBackend")
    return Ingress(
        namespace=resource["metadata"]["namespace"],
        name=resource["metadata"]["name"],
        rules=tuple(_rule(where, rule) for where, rule in acceptance.rules(resource)),
        default_backend=None if default is None else _backend(default),
        has_tls=bool(spec.get("tls")),
    )


def _rule(where: str, rule: Any) -> Rule:
    return Rule(
        host=Host(rule.get("host") or ANY_HOST),
        paths=tuple(_path(path) for _, path in acceptance.paths(where, rule)),
    )


def _path(path: Any) -> Path:
    value, path_type = untrusted.string(path.get("path")), path["pathType"]
    return Path(path_match(value, path_type), _backend(path["backend"]), value, path_type)


def path_match(value: str, path_type: str) -> PathMatch:
    """Return how a path is matched: ImplementationSpecific like Prefix, a missing one as the root."""
    if path_type == "Exact":
        return PathMatch(PathKind.EXACT, value)
    return PathMatch(PathKind.PREFIX, value.rstrip("/") or "/")


def _backend(backend: Any) -> Backend:
    service = untrusted.at(backend, "service")
    if service is None:
        return ResourceBackend()
    port = service["port"]
    return ServiceBackend(service["name"], port.get("number") or port.get("name"))


Rename = Callable[[str], str]


def unchanged(name: str) -> str:
    """Return the name of a Service as it is."""
    return name


def allowed_spec(ingress: Ingress, rename: Rename = unchanged) -> Object | None:
    """Return the spec that a copy may carry: hosts, paths and Service backends. None if nothing is left.

    `rename` gives the name of a backend's Service in the management cluster; a native copy's are never followed.
    """
    spec: Object = {}
    if isinstance(ingress.default_backend, ServiceBackend):
        spec["defaultBackend"] = _spoken(ingress.default_backend, rename)
    rules = [_allowed_rule(rule, rename) for rule in ingress.rules]
    if rules:
        spec["rules"] = rules
    return spec or None


def _allowed_rule(rule: Rule, rename: Rename) -> Object:
    out: Object = {} if rule.host == ANY_HOST else {"host": rule.host}
    paths = [
        {
            "backend": _spoken(path.backend, rename),
            "pathType": path.path_type,
            **({"path": path.value} if path.value else {}),
        }
        for path in rule.paths
        if isinstance(path.backend, ServiceBackend)
    ]
    if paths:
        out["http"] = {"paths": paths}
    return out


def _spoken(backend: ServiceBackend, rename: Rename) -> Object:
    port = {"number": backend.port} if isinstance(backend.port, int) else {"name": backend.port}
    return {"service": {"name": rename(backend.service), "port": port}}
