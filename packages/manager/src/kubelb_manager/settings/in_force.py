"""Which version of a Config or Tenant holds: the newest, unless it is malformed; then the last good one.

The last good spec lies in the object's own status (`status.inForce`), written by the one writer of that
status when it accepts a spec. So it survives a restart of the manager, and every replica reads the same.
A spec is taken or left as a whole: an admin who writes two fields never finds one of them in force.
"""

from __future__ import annotations

from typing import Any

from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager import untrusted
from kubelb_manager.settings.faults import faults


def in_force(obj: Object | None) -> Object | None:
    """Return the object with the spec that holds; None if it is absent, or was never good.

    A kept spec is judged too: what a newer manager refuses is not taken from an older one.
    """
    if obj is None or not faults(obj.get("spec")):
        return obj
    kept = untrusted.at(obj, "status", "inForce", "spec")
    if not isinstance(kept, dict) or faults(kept):
        return None
    return {**obj, "spec": kept}


def version(obj: Object | None) -> tuple[Any, ...]:
    """Return what changes whenever `in_force` may: for those who keep what they made from it."""
    if obj is None:
        return ()
    return view.uid(obj), view.generation(obj), untrusted.at(obj, "status", "inForce", "observedGeneration")


def never_good(obj: Object | None) -> bool:
    """Whether the object is there, malformed, and has no good version to fall back on.

    Nothing is decided then: what is served stays as it is, and what is new waits until it is mended.
    """
    return obj is not None and in_force(obj) is None


def undecided(config: Object | None, tenant: Object | None) -> bool:
    """Whether nothing can be decided for this tenant now: its settings or Config's were never good.

    A tenant that is being removed needs none.
    """
    return not view.deleting(tenant or {}) and (never_good(tenant) or never_good(config))


def noted(obj: Object) -> Object:
    """Return `status.inForce` as it should be after this version of the object was judged; empty for nothing."""
    if faults(obj.get("spec")):
        before = untrusted.at(obj, "status", "inForce")
        return before if isinstance(before, dict) else {}
    return {"observedGeneration": view.generation(obj), "spec": obj.get("spec") or {}}
