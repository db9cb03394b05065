"""What is wrong with a source object: read from its export's conditions, told as a short annotation (ruling 13)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from kubelb_common.objects.view import Object

_MESSAGE_MAX = 300
_PROBLEMS_MAX = 8
#: Reasons of a False condition that only say "not yet".
_PENDING = frozenset({"Pending", "Waiting"})
_OURS = frozenset({"Accepted", "ResolvedRefs", "Programmed"})


class Problem(NamedTuple):
    """A condition that is not as it should be, in the words of Kubernetes conditions."""

    type: str
    reason: str
    message: str


def reported(exported: Object) -> tuple[Problem, ...] | None:
    """Return the problems that the manager reports, or None if it has not spoken about this generation yet.

    A manager that writes no conditions at all has spoken with its status: no problem is known.
    """
    conditions = (exported.get("status") or {}).get("conditions") or ()
    ours = [condition for condition in conditions if condition.get("type") in _OURS]
    generation = exported["metadata"].get("generation", 0)
    if any(condition.get("observedGeneration", generation) < generation for condition in ours):
        return None
    false = [condition for condition in ours if condition.get("status") == "False"]
    return tuple(
        Problem(condition["type"], condition.get("reason", ""), condition.get("message", ""))
        for condition in sorted(false, key=lambda found: str(found["type"]))
        if condition.get("reason") not in _PENDING
    )


def is_settled(exported: Object) -> bool:
    """Tell whether the manager has looked at exactly this generation (never true for one that writes no conditions)."""
    conditions = (exported.get("status") or {}).get("conditions") or ()
    ours = [condition for condition in conditions if condition.get("type") in _OURS]
    generation = exported["metadata"].get("generation", 0)
    return bool(ours) and all(condition.get("observedGeneration", 0) >= generation for condition in ours)


def shortened(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that an annotation has room for, sorted, each once, with short messages."""
    cut = {problem._replace(message=problem.message[:_MESSAGE_MAX]) for problem in problems}
    return sorted(cut)[:_PROBLEMS_MAX]


def status_annotation(subject: str, name: str, problems: Iterable[Problem]) -> str | None:
    """Return the annotation's JSON, or None if all is well.

    Args:
        subject: `route` or `loadBalancer`.
        name: the export's name in the management cluster.
        problems: what is wrong; the first few are told.
    """
    told = shortened(problems)
    if not told:
        return None
    conditions = [problem._asdict() for problem in told]
    return json.dumps({subject: name, "conditions": conditions}, separators=(",", ":"), ensure_ascii=False)
