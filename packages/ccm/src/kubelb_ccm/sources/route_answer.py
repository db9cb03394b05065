"""Where a Route keeps what it answers its source, whatever the kind."""

from __future__ import annotations

from kubelb_common.objects import conditions, view
from kubelb_common.objects.view import Object


def source_status(route: Object) -> Object | None:
    """Return the status that the manager gives to the source; None while it says nothing.

    That is `status.resources.route.status` once the manager has made something of the source. A source that it
    does not accept (any more) has an empty status: an address would promise what nobody serves.
    """
    made = view.get(route, "status", "resources", "route", default={})
    status = view.get(made, "status", default={})
    if view.text(made, "generatedName") and isinstance(status, dict):
        return status
    accepted = conditions.find(view.objects(route, "status", "conditions"), "Accepted")
    refused = accepted is not None and accepted.get("status") == "False"
    current = refused and view.get(accepted or {}, "observedGeneration", default=0) >= view.generation(route)
    return {} if current else None
