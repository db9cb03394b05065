"""Where a Route keeps what it answers its source, whatever the kind."""

from __future__ import annotations

from kubelb_common.objects.view import Object


def source_status(route: Object) -> Object | None:
    """Return `status.resources.route.status` if the manager has made something of the source, else None."""
    made = ((route.get("status") or {}).get("resources") or {}).get("route") or {}
    status = made.get("status")
    return status if made.get("generatedName") and isinstance(status, dict) else None
