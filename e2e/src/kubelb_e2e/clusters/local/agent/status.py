"""A pod's status from what is known of its containers. Pure; the caller writes it when it differs.

Conditions of other writers (readiness gates) stay as they are. What a pod asks for and the testbed does not enforce
is said in the condition `kubelb.k8c.io/NotEnforced`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from kubelb_common.objects import conditions, view
from kubelb_common.objects.view import Object

NOT_ENFORCED = "kubelb.k8c.io/NotEnforced"
OWN_CONDITIONS = ("PodScheduled", "Initialized", "ContainersReady", "Ready", NOT_ENFORCED)
Kind = Literal["init", "sidecar", "app"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running, and why."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Running since `started`."""

    started: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    """Ended with `code`; 128 + signal number when killed."""

    code: int
    reason: str
    started: datetime
    finished: datetime
    message: str = ""


State = Waiting | Running | Terminated


@dataclass(slots=True)
class ContainerRecord:
    """What is known of one container; changed by its runner."""

    name: str
    image: str
    kind: Kind = "app"
    state: State = field(default_factory=lambda: Waiting("ContainerCreating"))
    last: Terminated | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    identity: str = ""
    finished: bool = False  # ended, and will not be started again

    @property
    def failed(self) -> bool:
        """Whether it is over and did not succeed."""
        return self.finished and isinstance(self.state, Terminated) and self.state.code != 0


@dataclass(slots=True)
class PodRecord:
    """What is known of a pod."""

    node_name: str
    host_ips: tuple[str, ...]
    started: datetime
    pod_ips: tuple[str, ...] = ()
    containers: list[ContainerRecord] = field(default_factory=list)

    def of(self, *kinds: Kind) -> list[ContainerRecord]:
        """Return the containers of these kinds, in order."""
        return [record for record in self.containers if record.kind in kinds]


def phase(record: PodRecord) -> str:
    """Return the pod's phase."""
    init, apps = record.of("init"), record.of("app")
    if any(each.failed for each in init):
        return "Failed"
    if apps and all(each.finished for each in apps):
        return "Failed" if any(each.failed for each in apps) else "Succeeded"
    begun = [each for each in apps if each.identity or each.restarts or not isinstance(each.state, Waiting)]
    return "Running" if begun else "Pending"


def status(pod: Object, record: PodRecord, now: datetime) -> Object:
    """Return the whole status to be written; equal to the present one if nothing changed."""
    now_text = view.format_time(now)
    existing = view.objects(pod, "status", "conditions")
    result: Object = {
        "phase": phase(record),
        "conditions": conditions.merge(existing, _conditions(pod, record), now_text),
        "hostIP": record.host_ips[0],
        "hostIPs": [{"ip": ip} for ip in record.host_ips],
        "startTime": view.text(pod, "status", "startTime") or view.format_time(record.started),
        "containerStatuses": [_container_status(each) for each in record.of("app")],
        "qosClass": view.text(pod, "status", "qosClass") or "BestEffort",
    }
    if record.pod_ips:
        result |= {"podIP": record.pod_ips[0], "podIPs": [{"ip": ip} for ip in record.pod_ips]}
    if init := record.of("init", "sidecar"):
        result["initContainerStatuses"] = [_container_status(each) for each in init]
    return result


def differs(pod: Object, wanted: Object) -> bool:
    """Tell whether `wanted` says something that the pod's status does not."""
    present = view.get(pod, "status", default={})
    return any(_told(present.get(key)) != _told(value) for key, value in wanted.items())


def _told(value: Any) -> Any:
    """Leave out what is empty: the API server drops some of it and adds other."""
    if isinstance(value, dict):
        told = {key: _told(item) for key, item in value.items()}
        return {key: item for key, item in told.items() if item not in (None, "", {}, [])}
    return [_told(item) for item in value] if isinstance(value, list) else value


def _conditions(pod: Object, record: PodRecord) -> list[conditions.Condition]:
    ended = phase(record) in {"Succeeded", "Failed"}
    unready = [each.name for each in record.of("app", "sidecar") if not each.ready]
    waiting = [each.name for each in record.of("init") if not _complete(each)]
    waiting += [each.name for each in record.of("sidecar") if not each.started]
    initialized = not waiting or bool([each for each in record.of("app") if each.identity])
    present = view.objects(pod, "status", "conditions")
    gates = [gate["conditionType"] for gate in view.objects(pod, "spec", "readinessGates")]
    shut = [gate for gate in gates if not conditions.is_true(present, gate)]
    containers_ready = _condition("ContainersReady", *_unready(unready, ended=ended), holds=not unready and not ended)
    ready = containers_ready if unready or ended or not shut else None
    wanted = [
        _condition("PodScheduled", "", "", holds=True),
        _condition("Initialized", "ContainersNotInitialized", f"incomplete: {waiting}", holds=initialized),
        containers_ready,
        {**ready, "type": "Ready"}
        if ready
        else _condition("Ready", "ReadinessGatesNotReady", f"condition not True: {', '.join(shut)}", holds=False),
    ]
    if ignored := not_enforced(pod):
        text = f"accepted, not enforced here: {', '.join(ignored)}"
        wanted.append({"type": NOT_ENFORCED, "status": "True", "reason": "LocalTestbed", "message": text})
    return wanted


def _unready(names: list[str], *, ended: bool) -> tuple[str, str]:
    if ended:
        return "PodCompleted", ""
    return "ContainersNotReady", f"containers with unready status: [{' '.join(names)}]"


def _condition(kind: str, reason: str, message: str, *, holds: bool) -> conditions.Condition:
    if holds:
        return {"type": kind, "status": "True", "reason": "", "message": ""}
    return {"type": kind, "status": "False", "reason": reason, "message": message}


def not_enforced(pod: Object) -> list[str]:
    """Return the fields of a pod that this testbed ignores."""
    spec = view.get(pod, "spec", default={})
    found = {f"spec.securityContext.{key}" for key in view.get(spec, "securityContext", default={})}
    for container in [*view.objects(spec, "initContainers"), *view.objects(spec, "containers")]:
        enforced = {"readOnlyRootFilesystem"}
        context = view.get(container, "securityContext", default={})
        found |= {f"containers.securityContext.{key}" for key in context if key not in enforced}
        if view.get(container, "resources", "limits"):
            found.add("containers.resources.limits")
    return sorted(found)


def _complete(record: ContainerRecord) -> bool:
    return record.finished and isinstance(record.state, Terminated) and record.state.code == 0


def _container_status(record: ContainerRecord) -> Object:
    return {
        "name": record.name,
        "image": record.image,
        "imageID": f"lab://{record.image}" if record.identity else "",
        "restartCount": record.restarts,
        "ready": record.ready or (record.kind == "init" and _complete(record)),
        "started": record.started,
        "state": _state(record.state, record.identity),
        "lastState": _state(record.last, record.identity) if record.last else {},
    } | ({"containerID": f"lab://{record.identity}"} if record.identity else {})


def _state(state: State, identity: str) -> Object:
    if isinstance(state, Waiting):
        return {"waiting": {"reason": state.reason} | ({"message": state.message} if state.message else {})}
    if isinstance(state, Running):
        return {"running": {"startedAt": view.format_time(state.started)}}
    body: Object = {
        "exitCode": state.code,
        "reason": state.reason,
        "startedAt": view.format_time(state.started),
        "finishedAt": view.format_time(state.finished),
    }
    body |= {"message": state.message} if state.message else {}
    return {"terminated": body | ({"containerID": f"lab://{identity}"} if identity else {})}
