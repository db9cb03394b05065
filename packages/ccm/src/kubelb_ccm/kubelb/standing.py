"""What an object of the contract says of itself: ready, not yet, or refused; pure.

A manager of the original writes no conditions; there an address, a host name or a port is all that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import conditions, view

CONDITION_TYPES = ("Accepted", "ResolvedRefs", "Programmed")
_NOT_SEEN = "the manager has not looked at it yet"
#: A reason that only repeats what another condition says better.
_ECHO = "NotAccepted"


class State(StrEnum):
    """How far an object is."""

    READY = "Ready"
    WAITING = "Waiting"
    REFUSED = "Refused"


class Standing(NamedTuple):
    """How far an object is; `text` says where it is reached, or what it waits for."""

    state: State
    text: str


def standing(lb: Object) -> Standing:
    """Return how far a LoadBalancer is, for its present generation."""
    found = view.objects(lb, "status", "conditions")
    now = current(lb)
    if found and not now:
        return Standing(State.WAITING, _NOT_SEEN)
    accepted = conditions.find(now, "Accepted")
    if accepted is not None and accepted.get("status") == "False":
        return Standing(State.REFUSED, _said(accepted))
    if now and not conditions.is_true(now, "Programmed"):
        problems = wrong(lb)
        return Standing(State.WAITING, _said(problems[0]) if problems else "the proxies are being configured")
    return _reached(lb, spoken=bool(now))


def current(obj: Object) -> list[Object]:
    """Return the conditions about the object's present generation."""
    generation = view.generation(obj)
    return [
        item
        for item in view.objects(obj, "status", "conditions")
        if item.get("observedGeneration", generation) >= generation
    ]


def wrong(obj: Object) -> list[Object]:
    """Return the conditions of ours that tell a fault, each cause once."""
    return [
        item
        for kind in (*CONDITION_TYPES, conditions.PARTIALLY_INVALID)
        for item in current(obj)
        if item.get("type") == kind and conditions.is_fault(item) and item.get("reason") != _ECHO
    ]


def addresses(lb: Object) -> list[str]:
    """Return the addresses that clients may use."""
    found = view.objects(lb, "status", "loadBalancer", "ingress")
    return [text for item in found if (text := view.text(item, "ip") or view.text(item, "hostname"))]


def hostname(lb: Object) -> str:
    """Return the host name that leads to the LoadBalancer, or an empty text."""
    return view.text(lb, "status", "hostname", "hostname")


def wants_hostname(lb: Object) -> bool:
    """Tell whether a host name was asked for."""
    return bool(view.text(lb, "spec", "hostname")) or view.annotations(lb).get(names.ANNOTATION_WILDCARD) == "true"


def _reached(lb: Object, *, spoken: bool) -> Standing:
    if view.text(lb, "spec", "type") == "LoadBalancer":
        found = addresses(lb)
        return Standing(State.READY, ", ".join(found)) if found else Standing(State.WAITING, "it has no address yet")
    if wants_hostname(lb):
        return _named(lb)
    if spoken or view.objects(lb, "status", "service", "ports"):
        return Standing(State.READY, "inside the management cluster")
    return Standing(State.WAITING, _NOT_SEEN)


def _named(lb: Object) -> Standing:
    name = hostname(lb)
    if not name:
        return Standing(State.WAITING, "it has no host name yet")
    if view.get(lb, "status", "hostname", "dnsRecordCreated") is not True:
        return Standing(State.WAITING, f"the host name {name} does not resolve yet")
    return Standing(State.READY, name)


def _said(condition: Mapping[str, Any]) -> str:
    return f"{condition.get('reason')}: {condition.get('message')}"
