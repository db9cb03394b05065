"""Downward API: what a pod may know of itself, by field path. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubelb_common.objects import view
from kubelb_common.objects.view import Object

_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_QUANTITY = re.compile(r"([0-9.]+)([A-Za-z]*)")
_UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
_NODE_DEFAULTS = {"cpu": "64", "memory": "64Gi", "ephemeral-storage": "100Gi"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the agent knows of a pod before the API server does: its node's name and addresses, its own; IPv4 first."""

    node_name: str
    host_ips: tuple[str, ...]
    pod_ips: tuple[str, ...]

    @property
    def pod_ip(self) -> str:
        """The pod's first address; empty before it has one."""
        return next(iter(self.pod_ips), "")


def field(pod: Object, path: str, facts: Facts) -> str:
    """Return the text for a `fieldRef`; raises KeyError for a path that is not supported."""
    if keyed := _KEYED.fullmatch(path):
        values = view.labels(pod) if keyed[1] == "labels" else view.annotations(pod)
        return values.get(keyed[2], "")
    simple = {
        "metadata.name": view.name(pod),
        "metadata.namespace": view.namespace(pod),
        "metadata.uid": view.uid(pod),
        "metadata.labels": _lines(view.labels(pod)),
        "metadata.annotations": _lines(view.annotations(pod)),
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": view.text(pod, "spec", "serviceAccountName"),
        "status.podIP": facts.pod_ip,
        "status.podIPs": ",".join(facts.pod_ips),
        "status.hostIP": facts.host_ips[0],
        "status.hostIPs": ",".join(facts.host_ips),
    }
    return simple[path]


def resource(containers: Mapping[str, Object], reference: Object, own: str) -> str:
    """Return the number for a `resourceFieldRef`, rounded up to the divisor; without a limit the node's size."""
    container = containers.get(reference.get("containerName") or own, {})
    group, _, name = str(reference["resource"]).partition(".")
    amount = view.get(container, "resources", group, name)
    if amount is None and group == "limits":
        amount = _NODE_DEFAULTS.get(name)
    divisor = quantity(reference.get("divisor") or 1) or 1.0
    return str(math.ceil(round(quantity(amount or 0) / divisor, 9)))


def quantity(value: Any) -> float:
    """Return the number for a Kubernetes quantity such as `500m` or `1Gi`; 0 for what is none."""
    match = _QUANTITY.fullmatch(str(value))
    return float(match[1]) * _UNITS.get(match[2], 1.0) if match else 0.0


def _lines(values: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={json.dumps(value)}" for key, value in sorted(values.items()))
