"""Conditions as in the Kubernetes API conventions, over raw lists.

A list is keyed by `type`. `lastTransitionTime` moves only when `status` does, so a pass that finds
nothing new yields an equal list and causes no write. The input is never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

Condition = dict[str, Any]
Status = Literal["True", "False", "Unknown"]
#: What the API server accepts as a message.
MESSAGE_MAX: Final = 32768
#: As in Gateway API: True where a part of an accepted object has no effect, absent otherwise.
PARTIALLY_INVALID: Final = "PartiallyInvalid"


def find(conditions: Iterable[Mapping[str, Any]], type_: str) -> Mapping[str, Any] | None:
    """Return the condition of a type, or None."""
    return next((item for item in conditions if item.get("type") == type_), None)


def is_true(conditions: Iterable[Mapping[str, Any]], type_: str, *, generation: int | None = None) -> bool:
    """Say whether a condition holds, and for this generation if one is given."""
    item = find(conditions, type_)
    if item is None or item.get("status") != "True":
        return False
    return generation is None or item.get("observedGeneration") == generation


def is_fault(condition: Mapping[str, Any]) -> bool:
    """Say whether a condition tells that something is wrong: it is False, or PartiallyInvalid and True."""
    return condition.get("status") == ("True" if condition.get("type") == PARTIALLY_INVALID else "False")


def set_condition(
    existing: Sequence[Condition],
    type_: str,
    status: Status,
    reason: str,
    message: str,
    observed_generation: int | None,
    now: str,
) -> list[Condition]:
    """Return the list with one condition set; others keep their place.

    Args:
        existing: the conditions as they stand.
        type_: which condition.
        status: whether it holds.
        reason: CamelCase word for machines, not empty.
        message: the same for people; cut at what the API server accepts.
        observed_generation: generation of the object that was looked at; None where there is none.
        now: RFC 3339 time, used only if `status` differs from what stands there.
    """
    before = find(existing, type_)
    unchanged = before is not None and before.get("status") == status and before.get("lastTransitionTime")
    fresh: Condition = {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message[:MESSAGE_MAX],
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and unchanged else now,
    }
    if observed_generation is not None:
        fresh["observedGeneration"] = observed_generation
    if before is None:
        return [*existing, fresh]
    return [fresh if item is before else item for item in existing if item is before or item.get("type") != type_]


def merge(existing: Sequence[Condition], wanted: Iterable[Condition], now: str) -> list[Condition]:
    """Return `existing` with every condition of `wanted` set.

    Items of `wanted` carry type, status, reason, message and perhaps observedGeneration; types that
    `wanted` does not name stay as they are.
    """
    merged = list(existing)
    for item in wanted:
        merged = set_condition(
            merged,
            item["type"],
            item["status"],
            item["reason"],
            item.get("message", ""),
            item.get("observedGeneration"),
            now,
        )
    return merged


def remove(existing: Sequence[Condition], type_: str) -> list[Condition]:
    """Return the list without a type."""
    return [item for item in existing if item.get("type") != type_]


def same(left: Iterable[Mapping[str, Any]], right: Iterable[Mapping[str, Any]]) -> bool:
    """Say whether two lists tell the same, whatever their order and transition times."""
    return _told(left) == _told(right)


def _told(conditions: Iterable[Mapping[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {
        item.get("type"): {key: value for key, value in item.items() if key != "lastTransitionTime"}
        for item in conditions
    }
