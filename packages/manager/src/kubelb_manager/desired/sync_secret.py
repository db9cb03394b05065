"""From a SyncSecret, which a tenant wrote, to the Secret in the management cluster, or to why there is none.

Only types without a meaning for the management cluster itself pass (ruling 15): a Secret of type service-account-token
would make it mint a credential, one of bootstrap.kubernetes.io a way in. Labels are ours alone, of the tenant's own
metadata nothing passes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import meta

OPAQUE = "Opaque"
TYPES = (OPAQUE, "kubernetes.io/tls", "kubernetes.io/basic-auth")
KIND = "SyncSecret"
_ORIGIN = (names.LABEL_ORIGIN_NAMESPACE, names.LABEL_ORIGIN_NAME, names.LABEL_ORIGIN_CLUSTER)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a SyncSecret gets no Secret, for its owner to read."""

    message: str


def secret(sync_secret: Object) -> Object | Refused:
    """Return the Secret: named by the SyncSecret's UID, in its namespace, owned by it.

    Values are as an API server would store them: `stringData` wins over `data`, base64 in its canonical form.
    """
    kind = untrusted.string(sync_secret.get("type")) or OPAQUE
    if kind not in TYPES:
        return Refused(f"Secrets of type {untrusted.quoted(kind)} are not synced, only {', '.join(TYPES)}.")
    values = _values(sync_secret)
    if isinstance(values, Refused):
        return values
    metadata = sync_secret["metadata"]
    wanted = meta.obj(
        "v1",
        "Secret",
        metadata["uid"],
        metadata["namespace"],
        labels=meta.managed_labels() | _origin_labels(metadata),
        annotations=_origin_annotations(metadata),
        ownerReferences=[meta.owner_reference(sync_secret)],
    )
    immutable: Object = {"immutable": True} if sync_secret.get("immutable") is True else {}
    return {**wanted, "type": kind, "data": values, **immutable}


def is_replaceable(live: Object, wanted: Object) -> bool:
    """Tell whether the API server lets `live` become `wanted`; else it has to be made anew.

    A Secret's type never changes, an immutable one's data neither, and it stays immutable.
    """
    if live.get("type") != wanted["type"]:
        return False
    return not live.get("immutable") or (wanted.get("immutable") is True and (live.get("data") or {}) == wanted["data"])


def _values(sync_secret: Object) -> dict[str, str] | Refused:
    out = {}
    for key, text in untrusted.string_items(sync_secret.get("data")):
        try:
            # As Go reads it: line ends count for nothing.
            value = base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
        except (binascii.Error, ValueError):
            return Refused(f"data[{untrusted.quoted(key)}] is not base64.")
        out[key] = base64.b64encode(value).decode()
    for key, text in untrusted.string_items(sync_secret.get("stringData")):
        out[key] = base64.b64encode(text.encode()).decode()
    return out


def _origin_labels(metadata: Mapping[str, Any]) -> dict[str, str]:
    labels = dict(untrusted.string_items(metadata.get("labels")))
    return {key: labels[key] for key in _ORIGIN if key in labels}


def _origin_annotations(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the full name of the origin where its label is a shortened form of it."""
    full = untrusted.string(untrusted.at(metadata, "annotations", names.ANNOTATION_ORIGIN_NAME))
    label = untrusted.at(metadata, "labels", names.LABEL_ORIGIN_NAME)
    is_its = untrusted.is_object_name(full) and names.label_value(full) == label != full
    return {names.ANNOTATION_ORIGIN_NAME: full} if is_its else {}
