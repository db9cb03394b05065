"""Write a status once per change, conditions merged under the resourceVersion that was read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import conditions, diff, view
from kubelb_common.runtime.clock import Clock
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.translate.result import Verdict


def with_verdicts(existing: list[Object], verdicts: Iterable[Verdict], generation: int, now: str) -> list[Object]:
    """Return the conditions with `verdicts` set for `generation`; others stay, PartiallyInvalid while it is said."""
    verdicts = list(verdicts)
    partial = any(verdict.type == conditions.PARTIALLY_INVALID for verdict in verdicts)
    merged = [item for item in existing if partial or item.get("type") != conditions.PARTIALLY_INVALID]
    for verdict in verdicts:
        merged = conditions.set_condition(
            merged, verdict.type, verdict.status, verdict.reason, verdict.message, generation, now
        )
    return merged


async def write(hub: Hub, resource: Resource, obj: Object, wanted: Object) -> Object:
    """Make `wanted` the status of `obj`; an equal one is not written. Returns the stored object.

    Raises:
        Conflict: the object changed since it was read; reconcile again.
    """
    before: Any = obj.get("status") or {}
    patch = diff.merge_patch(before, wanted)
    if not patch:
        return obj
    body = {"metadata": {"resourceVersion": view.resource_version(obj)}, "status": patch}
    return await hub.patch(resource, view.name(obj), body, view.namespace(obj) or None, subresource="status")


def now(clock: Clock) -> str:
    """Return the wall clock as a status writes it."""
    return view.format_time(clock.now())
