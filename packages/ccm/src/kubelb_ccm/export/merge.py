"""What to write when an exported object is there already."""

from __future__ import annotations

import copy

from kubelb_common.objects import view
from kubelb_common.objects.view import Object


def merged(live: Object, desired: Object, *, own_annotations: bool) -> Object | None:
    """Return `live` made to say what `desired` says, for a replace; None if it does already.

    Spec is taken whole, or what a kind without one has in its place. Labels are added to what is there. Finalizers and
    status belong to others by now.

    Args:
        live: as the API server returned it.
        desired: what `export` made.
        own_annotations: True: annotations are taken whole too, so one removed at the source is removed here.
    """
    result = copy.deepcopy(live)
    metadata, wanted = result["metadata"], desired["metadata"]
    labels = {**(metadata.get("labels") or {}), **(wanted.get("labels") or {})}
    notes = dict(wanted.get("annotations") or {})
    if not own_annotations:
        notes = {**(metadata.get("annotations") or {}), **notes}
    for key, value in (("labels", labels), ("annotations", notes)):
        if value != (metadata.get(key) or {}):
            metadata[key] = value
    wanted_content = view.content(desired)
    for key in view.content(live).keys() - wanted_content.keys():
        del result[key]
    result.update(wanted_content)
    return None if result == live else result
