"""Names of owners, labels and annotations that our objects in the management cluster carry."""

from __future__ import annotations

from typing import Any

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted


def managed_labels() -> dict[str, str]:
    """Return the labels of everything that we make."""
    return {names.LABEL_MANAGED_BY: names.MANAGED_BY}


def owner_reference(owner: Object, *, controller: bool = True) -> Object:
    """Return a reference to an object that was read from the API server."""
    metadata = untrusted.at(owner, "metadata")
    return {
        "apiVersion": untrusted.string(untrusted.at(owner, "apiVersion")),
        "kind": untrusted.string(untrusted.at(owner, "kind")),
        "name": untrusted.string(untrusted.at(metadata, "name")),
        "uid": untrusted.string(untrusted.at(metadata, "uid")),
        "controller": controller,
    }


def owners(owner: Object | None) -> list[Object]:
    """Return the owner references of an object that this one owns; none if nobody does."""
    return [] if owner is None else [owner_reference(owner)]


def origin_labels(namespace: str, name: str) -> dict[str, str]:
    """Return the labels that name the tenant's object (valid names); a long name is shortened (ruling 25)."""
    return {names.LABEL_ORIGIN_NAMESPACE: namespace, names.LABEL_ORIGIN_NAME: names.label_value(name)}


def origin_annotations(name: str) -> dict[str, str]:
    """Return the annotation with the full name where the label had to be shortened."""
    return {} if names.label_value(name) == name else {names.ANNOTATION_ORIGIN_NAME: name}


def fleet_labels(tenant_namespace: str, fleet: str) -> dict[str, str]:
    """Return the labels by which Services and policies select a fleet's pods."""
    return {
        names.LABEL_APP_NAME: tenant_namespace,
        names.LABEL_FLEET: names.fleet_label(tenant_namespace, fleet),
    }


def obj(api_version: str, kind: str, name: str, namespace: str | None = None, **metadata: Any) -> Object:
    """Return an object with metadata; empty metadata fields are left out."""
    filled = {key: value for key, value in metadata.items() if value}
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **place, **filled}}
