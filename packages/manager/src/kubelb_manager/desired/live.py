"""From a wanted object and the live one to the object to write, or to nothing.

What a server filled in (addresses, node ports, defaults) and what others added (labels,
annotations, finalizers, owner references) stays. What we set earlier and want no longer goes: the
annotation `owned-annotations` remembers our annotations, `wanted-spec` the spec of a workload.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import diff
from kubelb_manager import untrusted

#: Kinds whose spec a server completes.
_WORKLOADS = ("Deployment", "DaemonSet", "PodMonitor")
_IDENTITY = ("apiVersion", "kind", "metadata", "status")


def prepared(wanted: Object) -> Object:
    """Return `wanted` as it is to be created: with the notes that later updates need."""
    out = copy.deepcopy(wanted)
    annotations = dict(out["metadata"].get("annotations") or {})
    notes = {}
    if annotations:
        notes[names.ANNOTATION_OWNED] = ",".join(sorted(annotations))
    if out.get("kind") in _WORKLOADS:
        notes[names.ANNOTATION_WANTED_SPEC] = names.digest(json.dumps(out.get("spec"), sort_keys=True))
    if notes:
        out["metadata"]["annotations"] = {**annotations, **notes}
    return out


def updated(live: Object, wanted: Object) -> Object | None:
    """Return the object to replace `live` with (its resourceVersion included), or None if all is as wanted.

    Args:
        live: as read from the API server; it is not changed.
        wanted: as a function of this package returned it.
    """
    goal = prepared(wanted)
    out = copy.deepcopy(live)
    rebuilt = _workload_changed(live, goal)
    out["metadata"] = _metadata(out["metadata"], goal["metadata"])
    for key, value in goal.items():
        if key in _IDENTITY:
            continue
        if key == "spec" and goal["kind"] == "Service":
            out[key] = _service_spec(untrusted.mapping(live.get(key)), value)
        elif rebuilt or not _as_wanted(goal["kind"], value, live.get(key)):
            out[key] = value
    return None if diff.same(out, live) else out


def _as_wanted(kind: str, wanted: Any, live: Any) -> bool:
    if kind in _WORKLOADS:
        return not diff.differs(wanted, live)
    return diff.same(wanted, live) or (not wanted and not live)


def _workload_changed(live: Object, goal: Object) -> bool:
    def noted(obj: Object) -> Any:
        return untrusted.at(obj, "metadata", "annotations", names.ANNOTATION_WANTED_SPEC)

    return goal.get("kind") in _WORKLOADS and noted(live) != noted(goal)


def _metadata(live: Object, goal: Mapping[str, Any]) -> Object:
    labels = {**untrusted.mapping(live.get("labels")), **goal.get("labels", {})}
    annotations = dict(untrusted.mapping(live.get("annotations")))
    for key in untrusted.string(annotations.pop(names.ANNOTATION_OWNED, "")).split(","):
        annotations.pop(key, None)
    annotations.update(goal.get("annotations", {}))
    owners = list(untrusted.sequence(live.get("ownerReferences")))
    for owner in goal.get("ownerReferences", ()):
        if not any(not diff.differs(owner, other) for other in owners):
            owners = [other for other in owners if untrusted.at(other, "uid") != owner["uid"]] + [owner]
    for key, value in (("labels", labels), ("annotations", annotations), ("ownerReferences", owners)):
        if value or key in live:
            live[key] = value
    return live


def _service_spec(live: Mapping[str, Any], wanted: Object) -> Object:
    spec = copy.deepcopy(dict(live))
    spec.update({key: value for key, value in wanted.items() if key not in ("ports", "loadBalancerClass", "clusterIP")})
    if "selector" not in wanted:
        spec.pop("selector", None)
    balanced = wanted["type"] == "LoadBalancer"
    spec["ports"] = _service_ports(live, wanted["ports"], keep=balanced)
    if not balanced:
        for key in (*_LOAD_BALANCER_ONLY, "externalTrafficPolicy"):
            spec.pop(key, None)
    elif "loadBalancerIP" not in wanted:
        spec.pop("loadBalancerIP", None)
    if balanced and live.get("type") != "LoadBalancer" and "loadBalancerClass" in wanted:
        # A class is allowed at the moment in which the Service becomes a load balancer, never later.
        spec["loadBalancerClass"] = wanted["loadBalancerClass"]
    return spec


_LOAD_BALANCER_ONLY = (
    "loadBalancerClass",
    "loadBalancerIP",
    "healthCheckNodePort",
    "allocateLoadBalancerNodePorts",
)


def _service_ports(live: Mapping[str, Any], wanted: list[Object], *, keep: bool) -> list[Object]:
    """Return the wanted ports with the names, and the node ports, that they have already (edge case 9).

    kube-proxy joins a port to its endpoints by name, and learns of the endpoints' names later than of the Service's:
    a renamed port refuses connections for up to a second (seen). So the port of a number and protocol keeps its name.
    """
    wanted = _with_live_names(live, wanted)
    if not keep:
        return wanted
    left = [entry for entry in untrusted.sequence(live.get("ports")) if untrusted.port_number(entry.get("nodePort"))]
    out = []
    for port in wanted:
        same = next((entry for entry in left if _same_port(entry, port)), None)
        same = same or next((entry for entry in left if port.get("name") and entry.get("name") == port["name"]), None)
        if same is not None:
            left.remove(same)
        out.append(port if same is None else {**port, "nodePort": same["nodePort"]})
    return out


def _with_live_names(live: Mapping[str, Any], wanted: list[Object]) -> list[Object]:
    names_ = {
        (entry.get("port"), entry.get("protocol", "TCP")): untrusted.string(entry.get("name"))
        for entry in untrusted.sequence(live.get("ports"))
    }
    kept = [names_.get((port["port"], port["protocol"]), port.get("name", "")) for port in wanted]
    if len(set(kept)) < len(kept) or (len(kept) > 1 and not all(kept)):
        return wanted  # a name has moved on to another port
    return [{**port, "name": name} if name else port for port, name in zip(wanted, kept, strict=True)]


def _same_port(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return bool(left.get("port") == right.get("port") and left.get("protocol", "TCP") == right.get("protocol", "TCP"))
