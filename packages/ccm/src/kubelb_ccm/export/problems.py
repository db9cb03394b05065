"""What is wrong with a source object: read from its export's conditions, told as a short annotation (ruling 13)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from kubelb_common.objects import conditions, view
from kubelb_common.objects.view import Object

_MESSAGE_MAX = 300
_PROBLEMS_MAX = 8
_OURS = frozenset({"Accepted", "ResolvedRefs", conditions.PARTIALLY_INVALID, "Programmed", "Synced"})
#: A reason that only repeats what another condition says better.
_ECHO = "NotAccepted"


class Problem(NamedTuple):
    """A condition that tells of a fault, in the words of Kubernetes conditions."""

    type: str
    reason: str
    message: str


def reported(exported: Object) -> tuple[Problem, ...] | None:
    """Return the problems that the manager reports, or None if it has not spoken about this generation yet.

    An export that is being deleted tells nothing any more. A manager of the original writes no conditions: no problem
    is known.
    """
    all_, current = _conditions(exported)
    if view.deleting(exported) or (all_ and not current):
        return None
    return tuple(
        Problem(view.text(found, "type"), view.text(found, "reason"), view.text(found, "message"))
        for found in sorted(current, key=lambda found: str(found["type"]))
        if conditions.is_fault(found) and found.get("reason") != _ECHO
    )


def is_settled(exported: Object) -> bool:
    """Tell whether the manager has judged exactly this generation (never true for one that writes no conditions)."""
    all_, current = _conditions(exported)
    return bool(all_) and all_ == current


def _conditions(exported: Object) -> tuple[list[Object], list[Object]]:
    """Return the manager's conditions, and those of them that are about the present generation."""
    found = [item for item in view.objects(exported, "status", "conditions") if item.get("type") in _OURS]
    generation = view.generation(exported)
    return found, [item for item in found if view.get(item, "observedGeneration", default=0) >= generation]


def shortened(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that an annotation has room for, sorted, each once, with short messages."""
    cut = {problem._replace(message=problem.message[:_MESSAGE_MAX]) for problem in problems}
    return sorted(cut)[:_PROBLEMS_MAX]


def status_annotation(subject: str, name: str, problems: Iterable[Problem]) -> str | None:
    """Return the annotation's JSON, or None if all is well.

    Args:
        subject: `route`, `loadBalancer` or `syncSecret`.
        name: the export's name in the management cluster.
        problems: what is wrong; the first few are told.
    """
    told = shortened(problems)
    if not told:
        return None
    said = [problem._asdict() for problem in told]
    return json.dumps({subject: name, "conditions": said}, separators=(",", ":"), ensure_ascii=False)


def told_problems(annotation: str | None) -> frozenset[Problem]:
    """Return what an annotation tells; a person may have written anything there."""
    try:
        found: Any = json.loads(annotation or "{}")
    except ValueError:
        return frozenset()
    if not isinstance(found, dict):
        return frozenset()
    conditions = view.objects(found, "conditions")
    return frozenset(
        Problem(view.text(item, "type"), view.text(item, "reason"), view.text(item, "message")) for item in conditions
    )
