"""May this object be translated at all? An ordered chain of small checks, each with its reason.

The embedded object of a Route was validated by no API server on this side (ruling 1), so what the
Kubernetes API would have refused is refused here, as a whole: an agent that copies a real Ingress
never meets these refusals, apart from `HostNotAllowed`, `InvalidPath` for regular expressions, and
the limits. What the checks pass, `ingress.read` may rely on.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from kubelb_manager import untrusted
from kubelb_manager.ir.model import Host
from kubelb_manager.settings.globs import host_allowed
from kubelb_manager.settings.merged import Settings
from kubelb_manager.translate.result import Problem, Reason

INGRESS = ("networking.k8s.io/v1", "Ingress")
SUPPORTED_KINDS = (INGRESS,)

#: Limits on one object; beyond them it is refused with TooLarge.
MAX_RULES = 1000
MAX_PATHS = 4000
MAX_SERVICES = 4000
MAX_PATH_LENGTH = 4096

PATH_TYPES = ("Exact", "Prefix", "ImplementationSpecific")
_PATH_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]|%0[0-9A-Fa-f]|%1[0-9A-Fa-f]|%7[Ff]")
_PATH_CONFUSING = re.compile(r"//|/\.\.?(?:/|$)|%2[Ff]", re.ASCII)
#: What a regular expression is made of; an ImplementationSpecific path with these was meant as one.
_PATH_REGEX = re.compile(r"[\^$*+()\[\]{}|\\]")

Located = tuple[str, Any]
Check = Callable[[Any, Settings], Problem | None]


def first_refusal(resource: Any, settings: Settings) -> Problem | None:
    """Return why the object embedded in a Route is refused, or None; never raises."""
    for check in _CHAIN:
        problem = check(resource, settings)
        if problem is not None:
            return problem
    return None


def _kind(resource: Any, _settings: Settings) -> Problem | None:
    if not isinstance(resource, dict):
        return Problem(Reason.UNSUPPORTED_KIND, "The Route embeds no Kubernetes object.")
    kind = (resource.get("apiVersion"), resource.get("kind"))
    if kind in SUPPORTED_KINDS:
        return None
    said = untrusted.quoted(f"{untrusted.string(kind[1])} of {untrusted.string(kind[0])}")
    return Problem(Reason.UNSUPPORTED_KIND, f"The kind {said} is not supported; supported: Ingress of {INGRESS[0]}.")


def _disabled(_resource: Any, settings: Settings) -> Problem | None:
    if settings.ingress_disabled:
        return Problem(Reason.DISABLED, "The administrator has disabled Ingress for this tenant.")
    return None


def _metadata(resource: Any, _settings: Settings) -> Problem | None:
    name, namespace = untrusted.at(resource, "metadata", "name"), untrusted.at(resource, "metadata", "namespace")
    if not untrusted.is_object_name(untrusted.string(name)):
        return Problem(Reason.INVALID_METADATA, "metadata.name of the embedded object is not a valid name.")
    if not untrusted.is_label(untrusted.string(namespace)):
        return Problem(Reason.INVALID_METADATA, "metadata.namespace of the embedded object is not a valid namespace.")
    return None


def _shape(resource: Any, _settings: Settings) -> Problem | None:
    """Every field that is read has its type; fields that are not read may be anything."""
    for where, value, wanted in _typed_fields(resource):
        if value is not None and not isinstance(value, wanted):
            return Problem(Reason.INVALID_SPEC, f"{where} must be {_TYPE_NAMES[wanted]}.")
    spec = untrusted.mapping(resource.get("spec"))
    if not spec.get("rules") and not spec.get("defaultBackend"):
        return Problem(Reason.INVALID_SPEC, "spec has neither rules nor a defaultBackend.")
    return None


_TYPE_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}


def _typed_fields(resource: Any) -> Iterator[tuple[str, Any, type]]:
    spec = resource.get("spec")
    yield "spec", spec, dict
    yield "spec.defaultBackend", untrusted.at(spec, "defaultBackend"), dict
    yield "spec.tls", untrusted.at(spec, "tls"), list
    yield "spec.rules", untrusted.at(spec, "rules"), list
    for index, rule in enumerate(untrusted.sequence(untrusted.at(spec, "rules"))):
        where = f"spec.rules[{index}]"
        yield where, _present(rule), dict
        yield f"{where}.host", untrusted.at(rule, "host"), str
        yield f"{where}.http", untrusted.at(rule, "http"), dict
        yield f"{where}.http.paths", untrusted.at(rule, "http", "paths"), list
        for number, path in enumerate(untrusted.sequence(untrusted.at(rule, "http", "paths"))):
            at_path = f"{where}.http.paths[{number}]"
            yield at_path, _present(path), dict
            yield f"{at_path}.path", untrusted.at(path, "path"), str
            yield f"{at_path}.pathType", untrusted.at(path, "pathType"), str
            yield f"{at_path}.backend", _present(untrusted.at(path, "backend")), dict


def _present(value: Any) -> Any:
    """Return `value`, or for null something that has no wanted type."""
    return () if value is None else value


def rules(resource: Any) -> Iterator[Located]:
    """Yield where and what for each rule of an Ingress."""
    for index, rule in enumerate(untrusted.sequence(untrusted.at(resource, "spec", "rules"))):
        yield f"spec.rules[{index}]", rule


def paths(where: str, rule: Any) -> Iterator[Located]:
    """Yield where and what for each path of a rule; a rule without `http` has none."""
    for index, path in enumerate(untrusted.sequence(untrusted.at(rule, "http", "paths"))):
        yield f"{where}.http.paths[{index}]", path


def _all_paths(resource: Any) -> Iterator[Located]:
    for where, rule in rules(resource):
        yield from paths(where, rule)


def _size(resource: Any, _settings: Settings) -> Problem | None:
    count = len(untrusted.sequence(untrusted.at(resource, "spec", "rules")))
    if count > MAX_RULES:
        return Problem(Reason.TOO_LARGE, f"spec.rules has {count} entries, at most {MAX_RULES} are possible.")
    count = sum(1 for _ in _all_paths(resource))
    if count > MAX_PATHS:
        return Problem(Reason.TOO_LARGE, f"The rules have {count} paths, at most {MAX_PATHS} are possible.")
    return None


def _hosts(resource: Any, settings: Settings) -> Problem | None:
    for where, rule in rules(resource):
        host = untrusted.string(untrusted.at(rule, "host"))
        if not host:
            continue
        if not is_host(host):
            text = f"{where}.host {untrusted.quoted(host)} is neither a DNS name nor a wildcard like *.example.com."
            return Problem(Reason.INVALID_HOST, text)
        if not host_allowed(settings.hosts_allowed, host):
            return Problem(
                Reason.HOST_NOT_ALLOWED, f"{where}.host {untrusted.quoted(host)} is not among hosts.allowed."
            )
    return None


def named_hosts(resource: Any) -> Iterator[Host]:
    """Yield the well-formed hosts that an embedded object names, whatever else is wrong with it."""
    for _, rule in islice(rules(resource), MAX_RULES):
        host = untrusted.string(untrusted.at(rule, "host"))
        if host and is_host(host):
            yield Host(host)


def is_host(text: str) -> bool:
    """Whether this is a DNS-1123 name (no IP address), or one after `*.`."""
    if len(text) > 253 or not untrusted.is_subdomain(text.removeprefix("*.")):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return True
    return False


def _paths(resource: Any, _settings: Settings) -> Problem | None:
    for where, path in _all_paths(resource):
        fault = path_fault(untrusted.string(path.get("path")), untrusted.string(path.get("pathType")))
        if fault is not None:
            return Problem(Reason.INVALID_PATH, f"{where} {fault}.")
    return None


#: What is wrong with a path, the first that holds.
_PATH_FAULTS: tuple[tuple[Callable[[str], Any], str], ...] = (
    (lambda value: not value.startswith("/"), "must begin with /"),
    (lambda value: len(value) > MAX_PATH_LENGTH, f"is longer than {MAX_PATH_LENGTH} characters"),
    (_PATH_CONTROL.search, "contains a control character"),
    (re.compile(r"[?#]").search, "contains ? or #, which are no part of a path"),
    (_PATH_CONFUSING.search, "contains //, /./, /../ or %2f"),
)


def path_fault(value: str, path_type: str) -> str | None:
    """Return what is wrong with a path of an Ingress, or None; percent-encoded control characters are refused too."""
    if path_type not in PATH_TYPES:
        return f"has the pathType {untrusted.quoted(path_type)}; possible are {', '.join(PATH_TYPES)}"
    if not value and path_type == "ImplementationSpecific":
        return None
    if path_type == "ImplementationSpecific" and _PATH_REGEX.search(value):
        return "looks like a regular expression; ImplementationSpecific is compared like Prefix, by path elements"
    return next((text for wrong, text in _PATH_FAULTS if wrong(value)), None)


def _backends(resource: Any, _settings: Settings) -> Problem | None:
    for where, path in _all_paths(resource):
        fault = backend_fault(path.get("backend"))
        if fault is not None:
            return Problem(Reason.INVALID_BACKEND, f"{where}.backend {fault}.")
    default = untrusted.at(resource, "spec", "defaultBackend")
    fault = backend_fault(default) if default is not None else None
    return None if fault is None else Problem(Reason.INVALID_BACKEND, f"spec.defaultBackend {fault}.")


def backend_fault(backend: Any) -> str | None:
    """Return what is wrong with an IngressBackend, or None. A resource backend is well-formed, though not served."""
    service, resource = untrusted.at(backend, "service"), untrusted.at(backend, "resource")
    if (service is None) == (resource is None):
        return "must have either a service or a resource"
    if service is None:
        return None
    if not untrusted.is_label(untrusted.string(untrusted.at(service, "name"))):
        return "has an invalid service name"
    return _port_fault(untrusted.at(service, "port"))


def _port_fault(port: Any) -> str | None:
    number, name = untrusted.at(port, "number") or None, untrusted.at(port, "name") or None
    if (number is None) == (name is None):
        return "must have either a port number or a port name"
    if number is not None and untrusted.port_number(number) is None:
        return "has an invalid port number"
    if name is not None and not untrusted.is_port_name(untrusted.string(name)):
        return "has an invalid port name"
    return None


def services_refusal(route: Any) -> Problem | None:
    """Return why the Services that a Route embeds refuse it, or None."""
    count = len(untrusted.sequence(untrusted.at(route, "spec", "source", "kubernetes", "services")))
    if count > MAX_SERVICES:
        return Problem(Reason.TOO_LARGE, f"The Route embeds {count} Services, at most {MAX_SERVICES} are possible.")
    return None


_CHAIN: tuple[Check, ...] = (_kind, _disabled, _metadata, _shape, _size, _hosts, _paths, _backends)
