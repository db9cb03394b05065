"""What every exported object says about where it comes from, and which part of a source's metadata travels."""

from __future__ import annotations

from dataclasses import dataclass

from kubelb_common import names
from kubelb_common.objects.view import Object

#: Annotations that never travel: kubectl's copy of the object, and what we ourselves write on a tenant's object.
HELD_BACK = frozenset({names.ANNOTATION_LAST_APPLIED, names.ANNOTATION_STATUS, names.ANNOTATION_ORIGIN_NAME})
_CARRIED = ("name", "namespace", "uid", "generation", "creationTimestamp", "labels")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where exports go, and from which cluster they come.

    Attributes:
        namespace: the tenant's namespace in the management cluster.
        cluster: identity of the tenant cluster (UID of its `kube-system`).
        addresses: name of the Addresses object with this cluster's nodes.
    """

    namespace: str
    cluster: str
    addresses: str = names.ADDRESSES_NAME


def carried_annotations(source: Object) -> dict[str, str]:
    """Return the annotations of `source` that may travel."""
    found = source["metadata"].get("annotations") or {}
    return {key: value for key, value in found.items() if key not in HELD_BACK}


def carried(source: Object) -> Object:
    """Return the part of `source.metadata` that travels inside a Route (ruling 30); empty parts are left out."""
    kept = {key: source["metadata"][key] for key in _CARRIED if source["metadata"].get(key)}
    if notes := carried_annotations(source):
        kept["annotations"] = notes
    return kept


def origin_labels(source: Object, destination: Destination) -> dict[str, str]:
    """Return the labels by which an export is traced to its source; a long name is shortened (ruling 25)."""
    return {
        names.LABEL_ORIGIN_NAMESPACE: source["metadata"].get("namespace", ""),
        names.LABEL_ORIGIN_NAME: names.label_value(source["metadata"]["name"]),
        names.LABEL_ORIGIN_CLUSTER: destination.cluster,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }


def origin_annotations(source: Object) -> dict[str, str]:
    """Return the annotation with the full name where the label cannot hold it."""
    name = source["metadata"]["name"]
    return {} if names.label_value(name) == name else {names.ANNOTATION_ORIGIN_NAME: name}


def origin(exported: Object) -> tuple[str, str] | None:
    """Return namespace and name of the source that `exported` was made from; None if it does not say."""
    labels = exported["metadata"].get("labels") or {}
    notes = exported["metadata"].get("annotations") or {}
    name = notes.get(names.ANNOTATION_ORIGIN_NAME) or labels.get(names.LABEL_ORIGIN_NAME)
    return (labels.get(names.LABEL_ORIGIN_NAMESPACE, ""), name) if name else None


def origin_cluster(exported: Object) -> str | None:
    """Return the identity of the cluster that `exported` came from; None if it was made without one."""
    found: str | None = (exported["metadata"].get("labels") or {}).get(names.LABEL_ORIGIN_CLUSTER)
    return found
