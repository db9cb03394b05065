"""Look into raw Kubernetes objects; nothing here raises on odd but valid ones.

An object is a plain JSON dict. A field that is absent, null or of an unexpected type reads as its
empty value, because objects of a tenant may hold anything that its API server let pass.
"""

# No `from __future__ import annotations` here: the name belongs to the function that returns annotations.

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Object = dict[str, Any]
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_NO_CONTENT: Final = frozenset({"apiVersion", "kind", "metadata", "status"})
_UNIT_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def get(obj: Mapping[str, Any], *path: str | int, default: Any = None) -> Any:
    """Return what stands at `path`, for example `get(service, "spec", "ports", 0, "port")`.

    `default` stands for absent, null, and for a path that leads through something else than objects
    and lists.
    """
    value: Any = obj
    for step in path:
        if isinstance(value, Mapping) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return default
    return default if value is None else value


def objects(obj: Mapping[str, Any], *path: str | int) -> list[Object]:
    """Return the objects in the list at `path`; items that are no objects are left out."""
    found = get(obj, *path)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def text(obj: Mapping[str, Any], *path: str | int) -> str:
    """Return the string at `path`, or the empty string."""
    found = get(obj, *path)
    return found if isinstance(found, str) else ""


def kind(obj: Mapping[str, Any]) -> str:
    """Return the kind."""
    return text(obj, "kind")


def api_group(obj: Mapping[str, Any]) -> str:
    """Return the API group, empty for the core group."""
    group, slash, _ = text(obj, "apiVersion").partition("/")
    return group if slash else ""


def content(obj: Mapping[str, Any]) -> Object:
    """Return what the object says besides who it is and how it fares: mostly `spec`, in a Secret `data` and more."""
    return {key: value for key, value in obj.items() if key not in _NO_CONTENT}


def name(obj: Mapping[str, Any]) -> str:
    """Return the name."""
    return text(obj, "metadata", "name")


def namespace(obj: Mapping[str, Any]) -> str:
    """Return the namespace, empty for cluster scope."""
    return text(obj, "metadata", "namespace")


def uid(obj: Mapping[str, Any]) -> str:
    """Return the UID."""
    return text(obj, "metadata", "uid")


def resource_version(obj: Mapping[str, Any]) -> str:
    """Return the resourceVersion."""
    return text(obj, "metadata", "resourceVersion")


def generation(obj: Mapping[str, Any]) -> int:
    """Return the generation, 0 where the server counts none."""
    found = get(obj, "metadata", "generation")
    return found if isinstance(found, int) else 0


def labels(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels."""
    return _strings(obj, "labels")


def annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotations."""
    return _strings(obj, "annotations")


def owner_references(obj: Mapping[str, Any]) -> list[Object]:
    """Return the owner references."""
    return objects(obj, "metadata", "ownerReferences")


def controller(obj: Mapping[str, Any]) -> Object | None:
    """Return the owner reference that is marked as controller."""
    return next((owner for owner in owner_references(obj) if owner.get("controller") is True), None)


def owner_reference(owner: Mapping[str, Any], *, controller: bool = True) -> Object:
    """Return an owner reference to `owner`, which must come from an API server."""
    return {
        "apiVersion": text(owner, "apiVersion"),
        "kind": kind(owner),
        "name": name(owner),
        "uid": uid(owner),
        "controller": controller,
        "blockOwnerDeletion": controller,
    }


def deletion_time(obj: Mapping[str, Any]) -> datetime | None:
    """Return when deletion was asked for, or None."""
    return parse_time(text(obj, "metadata", "deletionTimestamp"))


def deleting(obj: Mapping[str, Any]) -> bool:
    """Say whether deletion was asked for."""
    return bool(text(obj, "metadata", "deletionTimestamp"))


def creation_time(obj: Mapping[str, Any]) -> datetime | None:
    """Return when the object was created, or None if it was not yet."""
    return parse_time(text(obj, "metadata", "creationTimestamp"))


def finalizers(obj: Mapping[str, Any]) -> list[str]:
    """Return the finalizers."""
    found = get(obj, "metadata", "finalizers")
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def has_finalizer(obj: Mapping[str, Any], finalizer: str) -> bool:
    """Say whether the object has the finalizer."""
    return finalizer in finalizers(obj)


def with_finalizer(obj: Mapping[str, Any], finalizer: str) -> Object:
    """Return a copy (shared below metadata) that has the finalizer once."""
    present = finalizers(obj)
    return _with_finalizers(obj, present if finalizer in present else [*present, finalizer])


def without_finalizers(obj: Mapping[str, Any], unwanted: Iterable[str]) -> Object:
    """Return a copy (shared below metadata) that has none of the finalizers."""
    gone = set(unwanted)
    return _with_finalizers(obj, [item for item in finalizers(obj) if item not in gone])


def finalizer_patch(obj: Mapping[str, Any], wanted: list[str]) -> Object:
    """Return a JSON merge patch that sets the finalizers, only if the object is still as read here."""
    return {"metadata": {"finalizers": wanted or None, "resourceVersion": resource_version(obj)}}


def parse_time(text_: str) -> datetime | None:
    """Return the aware UTC time for an RFC 3339 text, or None if it is empty or none."""
    try:
        time = datetime.fromisoformat(text_)
        return time.astimezone(UTC) if time.tzinfo else None
    except (ValueError, OverflowError):
        return None


def format_time(time: datetime) -> str:
    """Return an aware time as Kubernetes writes it: UTC, whole seconds, `Z`."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def format_micro_time(time: datetime) -> str:
    """Return an aware time as Kubernetes writes a MicroTime (Leases, Events): six digits of a second."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_duration(text_: str) -> timedelta:
    """Return the duration for a text in Go's syntax, for example `1h30m` or `0.5s`.

    Raises:
        ValueError: the text is none; negative durations are none here.
    """
    parts = _DURATION.findall(text_)
    if not parts or "".join(number + unit for number, unit in parts) != text_:
        raise ValueError(f"{text_!r} is no duration such as 60s or 1h30m")
    return timedelta(seconds=sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))


def _strings(obj: Mapping[str, Any], field: str) -> dict[str, str]:
    found = get(obj, "metadata", field)
    if not isinstance(found, Mapping):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _with_finalizers(obj: Mapping[str, Any], wanted: list[str]) -> Object:
    metadata = {key: value for key, value in (get(obj, "metadata") or {}).items() if key != "finalizers"}
    if wanted:
        metadata["finalizers"] = wanted
    return {**obj, "metadata": metadata}
