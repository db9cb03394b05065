"""What is wrong with a Config or Tenant although its schema let it pass.

The schema sees shapes, bounds and enumerations. Here is what needs reading: address blocks, globs,
durations, quantities, names, and fields that contradict each other. Every check names the field as an
admin would find it, so that the condition and the Event say where to look.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, get_args

from kubelb_common.objects import view
from kubelb_manager import untrusted
from kubelb_manager.settings.annotations import ResourceKind, is_annotation_key
from kubelb_manager.settings.durations import seconds
from kubelb_manager.settings.globs import annotation_glob_fault, host_glob_fault
from kubelb_manager.settings.quantity import quantity

#: Faults that a message names; the rest is counted.
_SAID = 5
_QUALIFIED_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][\w.:/@-]*", re.ASCII)
#: Resources that a container may name without a domain before them.
_STANDARD_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_OPERATORS = ("", "Exists", "Equal")
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")
_DRAIN, _MIN_DRAIN, _GRACE = timedelta(seconds=60), timedelta(seconds=5), 300


class Fault(NamedTuple):
    """One field that cannot be used: its path below the object, and what is wrong with its value."""

    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.field} {self.text}"


def faults(spec: Any) -> tuple[Fault, ...]:
    """Return what is wrong with the spec of a Config or Tenant, in the order of its fields; never raises.

    The two kinds share their fields, so one function reads both; what a kind lacks is absent.
    """
    root = untrusted.mapping(spec)
    return tuple(fault for check in _CHECKS for fault in check(root))


def told(found: tuple[Fault, ...]) -> str:
    """Return all faults as one text: the first ones with their fields, the rest counted."""
    text = "; ".join(map(str, found[:_SAID]))
    more = len(found) - _SAID
    return f"{text}; and {more} more" if more > 0 else text


Check = Callable[[Mapping[str, Any]], Iterable[Fault]]


def _annotations(spec: Mapping[str, Any]) -> Iterator[Fault]:
    for pattern in untrusted.mapping(spec.get("propagatedAnnotations")):
        yield from _glob(f"spec.propagatedAnnotations[{pattern!r}]", pattern)
    for index, pattern in enumerate(untrusted.sequence(spec.get("deniedAnnotations"))):
        yield from _glob(f"spec.deniedAnnotations[{index}]", untrusted.string(pattern))
    for kind, pairs in untrusted.mapping(spec.get("defaultAnnotations")).items():
        where = f"spec.defaultAnnotations[{kind!r}]"
        if kind not in ("all", *get_args(ResourceKind)):
            yield Fault(where, f"is no resource; possible: all, {', '.join(get_args(ResourceKind))}")
        for key in untrusted.mapping(pairs):
            if not is_annotation_key(key):
                yield Fault(f"{where}[{key!r}]", "is no valid key of an annotation")


def _glob(field: str, pattern: str) -> Iterator[Fault]:
    text = annotation_glob_fault(pattern)
    if text:
        yield Fault(field, text)


def _hosts(spec: Mapping[str, Any]) -> Iterator[Fault]:
    for index, pattern in enumerate(untrusted.sequence(untrusted.at(spec, "hosts", "allowed"))):
        text = host_glob_fault(untrusted.string(pattern))
        if text:
            yield Fault(f"spec.hosts.allowed[{index}]", text)


def _hold_down(spec: Mapping[str, Any]) -> Iterator[Fault]:
    text = untrusted.string(untrusted.at(spec, "hosts", "holdDown"))
    try:
        view.parse_duration(text or "0s")
    except (ValueError, OverflowError):
        yield Fault("spec.hosts.holdDown", f"{untrusted.quoted(text)} is no duration such as 24h or 30m")


def _blocks(*path: str) -> Check:
    def check(spec: Mapping[str, Any]) -> Iterator[Fault]:
        for index, block in enumerate(untrusted.sequence(untrusted.at(spec, *path))):
            try:
                ipaddress.ip_network(untrusted.string(block).strip(), strict=False)
            except ValueError:
                where = f"spec.{'.'.join(path)}[{index}]"
                yield Fault(where, f"{untrusted.quoted(untrusted.string(block))} is no CIDR block such as 10.0.0.0/8")

    return check


def _client_address(spec: Mapping[str, Any]) -> Iterator[Fault]:
    client = untrusted.mapping(spec.get("clientAddress"))
    if client.get("trustedHops") and client.get("trustedCIDRs"):
        text = "and spec.clientAddress.trustedCIDRs exclude each other: count the proxies in front, or name them"
        yield Fault("spec.clientAddress.trustedHops", text)


def _shutdown(spec: Mapping[str, Any]) -> Iterator[Fault]:
    shutdown, where = untrusted.at(spec, "envoyProxy", "gracefulShutdown"), "spec.envoyProxy.gracefulShutdown"
    hold_down = untrusted.string(untrusted.at(spec, "envoyProxy", "holdDown"))
    if hold_down and seconds(hold_down) is None:
        yield Fault("spec.envoyProxy.holdDown", f"{untrusted.quoted(hold_down)} is no duration such as 60s or 1h30m")
    if not isinstance(shutdown, dict):
        return
    times = {"drainTimeout": _DRAIN, "minDrainDuration": _MIN_DRAIN}
    for name, default in times.items():
        text = untrusted.string(shutdown.get(name))
        try:
            times[name] = view.parse_duration(text) if text else default
        except (ValueError, OverflowError):
            yield Fault(f"{where}.{name}", f"{untrusted.quoted(text)} is no duration such as 60s or 1h30m")
            return
    if shutdown.get("disabled") is True:
        return
    grace = untrusted.integer(shutdown.get("terminationGracePeriodSeconds"))
    grace = _GRACE if grace is None else grace
    if timedelta(seconds=grace) <= times["drainTimeout"]:
        text = f"({grace} s) must exceed drainTimeout ({times['drainTimeout'].total_seconds():g} s)"
        yield Fault(f"{where}.terminationGracePeriodSeconds", text)
    if times["minDrainDuration"] > times["drainTimeout"]:
        yield Fault(f"{where}.minDrainDuration", "must not exceed drainTimeout")


def _resources(spec: Mapping[str, Any]) -> Iterator[Fault]:
    resources, where = untrusted.at(spec, "envoyProxy", "resources"), "spec.envoyProxy.resources"
    amounts: dict[str, dict[str, float]] = {"requests": {}, "limits": {}}
    for part, known in amounts.items():
        for name, value in untrusted.mapping(untrusted.at(resources, part)).items():
            field = f"{where}.{part}[{name!r}]"
            amount = quantity(value)
            if not _is_resource(name):
                yield Fault(field, "is no resource of a container, such as cpu or memory")
            elif amount is None or amount < 0:
                yield Fault(field, f"{untrusted.quoted(str(value))} is no quantity such as 500m or 128Mi")
            else:
                known[name] = amount
    for name, amount in amounts["requests"].items():
        if amount > amounts["limits"].get(name, amount):
            yield Fault(f"{where}.requests[{name!r}]", "must not exceed the limit")


def _is_resource(name: str) -> bool:
    domain, slash, plain = name.rpartition("/")
    if not slash:
        return name in _STANDARD_RESOURCES or (name.startswith("hugepages-") and quantity(name[10:]) is not None)
    return untrusted.is_subdomain(domain) and _QUALIFIED_NAME.fullmatch(plain) is not None


def _scheduling(spec: Mapping[str, Any]) -> Iterator[Fault]:
    for key, value in untrusted.string_items(untrusted.at(spec, "envoyProxy", "nodeSelector")):
        field = f"spec.envoyProxy.nodeSelector[{key!r}]"
        if not is_annotation_key(key):
            yield Fault(field, "is no valid key of a label")
        elif value and _QUALIFIED_NAME.fullmatch(value) is None:
            yield Fault(field, f"{untrusted.quoted(value)} is no valid value of a label")
    for index, item in enumerate(untrusted.sequence(untrusted.at(spec, "envoyProxy", "tolerations"))):
        yield from _toleration(f"spec.envoyProxy.tolerations[{index}]", untrusted.mapping(item))


def _toleration(where: str, item: Mapping[str, Any]) -> Iterator[Fault]:
    operator, effect = untrusted.string(item.get("operator")), untrusted.string(item.get("effect"))
    if operator not in _OPERATORS:
        yield Fault(f"{where}.operator", f"{untrusted.quoted(operator)} is neither Exists nor Equal")
    elif operator == "Exists" and item.get("value"):
        yield Fault(f"{where}.value", "must be empty with the operator Exists")
    elif operator != "Exists" and not item.get("key"):
        yield Fault(f"{where}.key", "is empty, which needs the operator Exists")
    if effect not in _EFFECTS:
        yield Fault(f"{where}.effect", f"{untrusted.quoted(effect)} is none of {', '.join(_EFFECTS[1:])}")
    if item.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield Fault(f"{where}.tolerationSeconds", "needs the effect NoExecute")


def _image(spec: Mapping[str, Any]) -> Iterator[Fault]:
    image = untrusted.string(untrusted.at(spec, "envoyProxy", "image"))
    if image and _IMAGE.fullmatch(image) is None:
        yield Fault("spec.envoyProxy.image", f"{untrusted.quoted(image)} is no reference to an image")


def _named(what: str, valid: Callable[[str], bool], *path: str) -> Check:
    """Return the check that a text, if it is there, is such a name."""

    def check(spec: Mapping[str, Any]) -> Iterator[Fault]:
        text = untrusted.string(untrusted.at(spec, *path))
        if text and not valid(text):
            yield Fault(f"spec.{'.'.join(path)}", f"{untrusted.quoted(text)} is {what}")

    return check


def _is_wildcard_domain(text: str) -> bool:
    return untrusted.is_subdomain(text.removeprefix("**.").removeprefix("*."))


_CHECKS: tuple[Check, ...] = (
    _annotations,
    _scheduling,
    _image,
    _shutdown,
    _resources,
    _named("no class of load balancers", is_annotation_key, "loadBalancer", "class"),
    _named("no name of an IngressClass", untrusted.is_object_name, "ingress", "class"),
    _named("no name of a GatewayClass", untrusted.is_object_name, "gatewayAPI", "class"),
    _named("no domain", _is_wildcard_domain, "dns", "wildcardDomain"),
    _named("no name of a ClusterIssuer", untrusted.is_object_name, "certificates", "defaultClusterIssuer"),
    _hosts,
    _hold_down,
    _blocks("endpoints", "allowed"),
    _blocks("addresses", "allowed"),
    _blocks("deniedAddresses"),
    _client_address,
    _blocks("clientAddress", "trustedCIDRs"),
)
