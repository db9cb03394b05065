"""From what was read to what there is to say; pure but for the options' words.

Every object of the tenant that is in our scope has one line: how far it is, and what is wrong with it. An export
without a source, or from another cluster, has one too. *Wrong* is what a person has to look at: an object that the
manager has not judged yet is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kubelb_ccm.controllers.kinds import Served
from kubelb_ccm.export.addresses import addresses_of, is_ready
from kubelb_ccm.export.meta import origin, origin_cluster
from kubelb_ccm.export.problems import Problem, is_settled, reported, told_problems
from kubelb_ccm.export.twins import is_twin
from kubelb_ccm.options import Options
from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import view

_UNKNOWN = "unknown"


class State(StrEnum):
    """How far one object is."""

    SERVED = "Served"
    PENDING = "Pending"
    GOING = "Going"
    REFUSED = "Refused"
    NOT_SERVED = "NotServed"
    NOT_EXPORTED = "NotExported"
    LEFT_OVER = "LeftOver"


#: What a person has to look at.
_WRONG = frozenset({State.REFUSED, State.NOT_SERVED, State.NOT_EXPORTED, State.LEFT_OVER})


@dataclass(frozen=True, slots=True)
class Cluster:
    """One of the two clusters; `problems` holds what could not be read there, or why it cannot be reached."""

    name: str
    server: str = ""
    version: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """What there is to say of one object."""

    kind: str
    object: str
    export: str
    state: State
    address: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read; kinds that could not be read are missing."""

    options: Options
    kinds: tuple[Served, ...]
    tenant: Cluster
    hub: Cluster
    tenant_objects: Mapping[Resource, list[Object]] = field(default_factory=dict)
    hub_objects: Mapping[Resource, list[Object]] = field(default_factory=dict)
    identity: str = ""

    def own(self, resource: Resource) -> list[Object]:
        """Return the objects of a kind in the tenant cluster."""
        return self.tenant_objects.get(resource, [])

    def exported(self, resource: Resource) -> list[Object]:
        """Return the objects of a kind in the management cluster."""
        return self.hub_objects.get(resource, [])


def summary(facts: Facts) -> dict[str, Any]:
    """Return what there is to say, as the document of `-o json`; `problems` is empty when all is well."""
    state = next(iter(facts.exported(resources.TENANT_STATES)), {})
    lines = sorted(_lines(facts), key=lambda line: (line.kind, line.object, line.export))
    nodes = _nodes(facts)
    phase = view.text(state, "status", "phase") or _UNKNOWN
    return {
        "tenant": names.tenant_of_namespace(facts.options.tenant_namespace),
        "namespace": facts.options.tenant_namespace,
        "clusters": [_cluster(each) for each in (facts.tenant, facts.hub)],
        "phase": phase,
        "manager": {
            "version": view.text(state, "status", "version", "gitVersion") or _UNKNOWN,
            "edition": view.text(state, "status", "version", "edition") or _UNKNOWN,
        },
        "nodes": nodes,
        "objects": [_line(line) for line in lines],
        "problems": [
            *_cluster_problems(facts),
            *_standing_problems(facts, phase),
            *_node_problems(facts, nodes),
            *_said(lines),
        ],
    }


def _cluster(cluster: Cluster) -> dict[str, Any]:
    reachable = bool(cluster.version)
    return {"name": cluster.name, "server": cluster.server, "version": cluster.version, "reachable": reachable}


def _cluster_problems(facts: Facts) -> Iterator[str]:
    for cluster in (facts.tenant, facts.hub):
        for problem in cluster.problems:
            yield f"{cluster.name} cluster: {problem}"


def _standing_problems(facts: Facts, phase: str) -> Iterator[str]:
    if phase == "Terminating":
        yield "the tenant is being removed: nothing is exported any more"
    elif resources.TENANT_STATES in facts.hub_objects and phase == _UNKNOWN:
        yield "the manager says nothing of this tenant: is it running, and is --cluster-name the Tenant's name?"
    others = {
        cluster
        for resource in (resources.LOAD_BALANCERS, resources.ROUTES)
        for obj in facts.exported(resource)
        if facts.identity and (cluster := origin_cluster(obj)) not in (None, facts.identity)
    }
    if others:
        yield "another cluster exports with this tenant's credential: give each cluster a Tenant of its own"


# Nodes ----------------------------------------------------------------------------------------------


def _nodes(facts: Facts) -> dict[str, Any]:
    nodes = facts.own(resources.NODES)
    usable = addresses_of(nodes, facts.options.node_address_type)
    stored = next((obj for obj in facts.exported(resources.ADDRESSES) if view.name(obj) == names.ADDRESSES_NAME), {})
    return {
        "total": len(nodes),
        "ready": sum(is_ready(node) for node in nodes),
        "addressType": facts.options.node_address_type,
        "addresses": [item.get("ip") or item.get("hostname") for item in usable],
        "exported": [
            view.text(item, "ip") or view.text(item, "hostname") for item in view.objects(stored, "spec", "addresses")
        ],
    }


def _node_problems(facts: Facts, nodes: Mapping[str, Any]) -> Iterator[str]:
    if resources.NODES not in facts.tenant_objects:
        return
    kind = nodes["addressType"]
    if not nodes["addresses"]:
        yield f"no ready node has an address of type {kind}; set --node-address-type to one that the nodes have"
    elif resources.ADDRESSES in facts.hub_objects and nodes["addresses"] != nodes["exported"]:
        yield "the exported node addresses are not those of the ready nodes: is the agent running?"


# Objects --------------------------------------------------------------------------------------------


def _lines(facts: Facts) -> Iterator[Line]:
    for each in facts.kinds:
        exports = {view.name(obj): obj for obj in facts.exported(each.exported) if _is_of_kind(obj, each)}
        sources = {view.uid(source): source for source in facts.own(each.kind.resource) if not is_twin(source)}
        for uid, source in sources.items():
            held = view.has_finalizer(source, names.FINALIZER)
            if each.kind.in_scope(source) or held or uid in exports:
                yield _of_source(facts, each, source, exports.get(uid))
        if each.kind.resource in facts.tenant_objects:
            yield from _left_over(facts, each, (obj for name, obj in exports.items() if name not in sources))


def _is_of_kind(exported: Object, each: Served) -> bool:
    """Tell whether an export is of this kind; what a person made with `kubelb` is of none."""
    return origin(exported) is not None and view.labels(exported).get(names.LABEL_ORIGIN_KIND) == each.origin_kind


def _of_source(facts: Facts, each: Served, source: Object, exported: Object | None) -> Line:
    problems = _problems(source, exported)
    state = _state(each, source, exported, problems)
    if state is State.NOT_EXPORTED and not problems and each.exported in facts.hub_objects:
        problems = (Problem("", "NotExported", "there is no export yet: is the agent running? See its log"),)
    if each.exported not in facts.hub_objects:
        state = State.PENDING  # the management cluster could not be read, and that is told already
    return Line(
        kind=view.kind(source) or each.kind.resource.kind,
        object=f"{view.namespace(source)}/{view.name(source)}",
        export=view.name(exported) if exported is not None else "",
        state=state,
        address=", ".join(_addresses(source)),
        problems=problems,
    )


def _state(each: Served, source: Object, exported: Object | None, problems: tuple[Problem, ...]) -> State:
    if view.deleting(source) or not each.kind.in_scope(source) or (exported is not None and view.deleting(exported)):
        return State.GOING
    if exported is None:
        return State.REFUSED if problems else State.NOT_EXPORTED
    if any(problem.type == "Accepted" for problem in problems):
        return State.REFUSED
    if problems:
        return State.NOT_SERVED
    if is_settled(exported):
        return State.SERVED
    # A manager of the original says nothing but an answer.
    conditions = view.objects(exported, "status", "conditions")
    return State.SERVED if not conditions and each.kind.answer(exported) is not None else State.PENDING


def _problems(source: Object, exported: Object | None) -> tuple[Problem, ...]:
    """Return what the manager says is wrong, and what the agent wrote at the object of its own troubles."""
    said = (reported(exported) if exported is not None else ()) or ()
    known = {(problem.type, problem.reason) for problem in said}
    conditions = view.objects(exported or {}, "status", "conditions")
    settled = {item.get("type") for item in conditions} if exported is not None and is_settled(exported) else set()
    own = told_problems(view.annotations(source).get(names.ANNOTATION_STATUS))
    stale = {item for item in own if item.type in settled and item.reason not in _OWN_REASONS}
    return (*said, *sorted(item for item in own - stale if (item.type, item.reason) not in known))


#: What only the agent finds.
_OWN_REASONS = frozenset(
    {"ExportRefused", "OwnedByAnotherCluster", "NodePortServiceRefused", "NodePortServiceNameTaken"}
)


def _left_over(facts: Facts, each: Served, exports: Iterable[Object]) -> Iterator[Line]:
    for exported in exports:
        cluster = origin_cluster(exported)
        if facts.identity and cluster not in (None, facts.identity):
            continue  # another cluster's; told once for all of them
        namespace, name = origin(exported) or ("", "")
        going = view.deleting(exported)
        why = () if going else (Problem("", "NoSource", "its source is gone: is the agent running?"),)
        state = State.GOING if going else State.LEFT_OVER
        yield Line(each.kind.resource.kind, f"{namespace}/{name}", view.name(exported), state, problems=why)


def _addresses(source: Object) -> Iterator[str]:
    for item in view.objects(source, "status", "loadBalancer", "ingress"):
        if found := view.text(item, "ip") or view.text(item, "hostname"):
            yield found


def _line(line: Line) -> dict[str, Any]:
    return {
        "kind": line.kind,
        "object": line.object,
        "export": line.export,
        "state": str(line.state),
        "address": line.address,
        "problems": [problem._asdict() for problem in line.problems],
    }


def _said(lines: Iterable[Line]) -> Iterator[str]:
    for line in lines:
        if line.state in _WRONG:
            reason = line.problems[0].reason if line.problems else line.state
            yield f"{line.kind} {line.object}: {reason}"
