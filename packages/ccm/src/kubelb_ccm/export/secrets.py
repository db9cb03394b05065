"""A labelled Secret becomes a SyncSecret beside it; every SyncSecret becomes one in the management cluster.

Labels and annotations of the tenant do not travel (ruling 15): who somebody is, is said by our labels alone. What a
SyncSecret may hold is decided in the management cluster, so that it is decided once.
"""

from __future__ import annotations

import copy

from kubelb_ccm.export.merge import merged
from kubelb_ccm.export.meta import Destination, origin_annotations, origin_labels
from kubelb_common import names
from kubelb_common.objects import view
from kubelb_common.objects.view import Object

#: Which Secrets their owners want synced.
SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
_CARRIED = ("data", "stringData", "type", "immutable")


def is_labelled(secret: Object) -> bool:
    """Tell whether the owner of a Secret wants it synced."""
    return view.labels(secret).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY


def exported_sync_secret(source: Object, destination: Destination) -> Object:
    """Return the SyncSecret of the management cluster, named by the UID of the tenant's."""
    metadata = {"name": view.uid(source), "namespace": destination.namespace}
    return _sync_secret(source, destination, metadata)


def generated_sync_secret(secret: Object, destination: Destination) -> Object:
    """Return the SyncSecret beside a Secret, of the same name and owned by it."""
    metadata = {
        "name": view.name(secret),
        "namespace": view.namespace(secret),
        "ownerReferences": [_owner(secret)],
    }
    return _sync_secret(secret, destination, metadata)


def updated_sync_secret(live: Object, secret: Object, destination: Destination) -> Object | None:
    """Return the generated `live` made to say what its Secret says; None if it does."""
    out = merged(live, generated_sync_secret(secret, destination), own_annotations=False) or live
    if _owner(secret) in view.owner_references(live):
        return None if out is live else out
    if out is live:
        out = copy.deepcopy(live)
    out["metadata"]["ownerReferences"] = [*view.owner_references(live), _owner(secret)]
    return out


def carried_content(source: Object) -> Object:
    """Return what a SyncSecret says of a Secret or SyncSecret.

    An empty value goes as text: the API server refuses an empty string as base64 in a custom kind (format `byte`).
    """
    content = {key: source[key] for key in _CARRIED if source.get(key) is not None}
    data = content.get("data") or {}
    empty = {key: "" for key, value in data.items() if not value}
    if empty:
        content["data"] = {key: value for key, value in data.items() if value}
        content["stringData"] = {**empty, **(content.get("stringData") or {})}
    return content


def is_generated(sync_secret: Object) -> bool:
    """Tell whether a tenant's SyncSecret was made for the Secret of its name, not written by a person.

    Its labels say so, as those of the original's agent do, and its owner, should somebody have taken the labels away.
    """
    labels = view.labels(sync_secret)
    return bool(_owners(sync_secret)) or (
        labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
        and labels.get(names.LABEL_ORIGIN_NAMESPACE) == view.namespace(sync_secret)
        and labels.get(names.LABEL_ORIGIN_NAME) == names.label_value(view.name(sync_secret))
    )


def is_of_another_secret(sync_secret: Object, secret: Object) -> bool:
    """Tell whether a generated SyncSecret was made for a former Secret of this name; it goes with that one."""
    owners = _owners(sync_secret)
    return bool(owners) and view.uid(secret) not in owners


def _sync_secret(source: Object, destination: Destination, metadata: Object) -> Object:
    notes = origin_annotations(source)
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SyncSecret",
        "metadata": {
            **metadata,
            "labels": origin_labels(source, destination),
            **({"annotations": notes} if notes else {}),
            "finalizers": [names.FINALIZER],
        },
        **carried_content(source),
    }


def _owners(sync_secret: Object) -> set[str]:
    """Return the UIDs of the Secrets of this name, past or present, that own it."""
    found = view.owner_references(sync_secret)
    own = [owner for owner in found if owner.get("kind") == "Secret" and owner.get("name") == view.name(sync_secret)]
    return {view.text(owner, "uid") for owner in own}


def _owner(secret: Object) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "name": view.name(secret), "uid": view.uid(secret)}
