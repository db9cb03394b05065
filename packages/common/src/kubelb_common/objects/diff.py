"""Compare what we want with what an API server holds, and describe the smallest change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_ABSENT: Final = object()


def differs(desired: Any, live: Any, *, exact: Sequence[tuple[str, ...]] = ()) -> bool:
    """Say whether any field that `desired` states is different in `live`.

    What the server filled in does not count: extra keys of an object are fine. Lists must be of equal
    length and are compared item by item under the same rule. A null that is desired means "absent".
    Therefore a field that is no longer desired goes unnoticed, except under a path of `exact`
    (for example `("spec", "selector")`), where `desired` must tell everything.
    """
    return any(_at(desired, path) != _at(live, path) for path in exact) or not _covers(live, desired)


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the minimal JSON merge patch (RFC 7386) that turns `old` into `new`; empty if they are equal.

    Keys that `new` lacks become null. Lists are replaced as a whole. A null inside `new` cannot be
    expressed by a merge patch and counts as absent.
    """
    patch: dict[str, Any] = {key: None for key in old if new.get(key) is None and old[key] is not None}
    for key, value in new.items():
        before = old.get(key)
        if value is None or same(before, value):
            continue
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            nested = merge_patch(before, value)
            if nested:
                patch[key] = nested
        else:
            patch[key] = without_nulls(value)
    return patch


def apply_merge_patch(target: Any, patch: Any) -> Any:
    """Return what a server makes of `target` under a JSON merge patch (RFC 7386, section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result


def without_nulls(value: Any) -> Any:
    """Return `value` without null fields of objects, outside lists."""
    if not isinstance(value, Mapping):
        return value
    return {key: without_nulls(item) for key, item in value.items() if item is not None}


def same(left: Any, right: Any) -> bool:
    """Compare JSON values; unlike Python's `==`, `true` is not `1`."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _covers(live: Any, desired: Any) -> bool:
    if isinstance(desired, Mapping):
        if not isinstance(live, Mapping):
            # A server leaves out an object that is empty.
            return live is None and all(_covers(None, value) for value in desired.values())
        return all(_covers(live.get(key), value) for key, value in desired.items())
    if isinstance(desired, (list, tuple)):
        if not desired and live is None:
            return True
        return isinstance(live, list) and len(live) == len(desired) and all(map(_covers, live, desired))
    return same(live, desired)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        value = value.get(step, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    return None if value is _ABSENT or value in ({}, []) else value
