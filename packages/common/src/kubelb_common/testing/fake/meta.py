"""Checks of metadata that hold for every kind: names, labels, owner references, finalizers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kubelb_common.kube.port import Object, Resource

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_ANNOTATIONS_MAX = 256 * 1024


def faults(resource: Resource, obj: Object) -> Iterator[str]:
    """Yield what the API server would refuse in metadata, as `<field>: <what>`."""
    meta = obj["metadata"]
    yield from _name_faults(resource, meta["name"])
    for key, value in (meta.get("labels") or {}).items():
        yield from _key_faults("metadata.labels", key)
        if not isinstance(value, str) or len(value) > 63 or (value and not _QUALIFIED.fullmatch(value)):
            yield f'metadata.labels: Invalid value: "{value}": must be a valid label value of at most 63 characters'
    annotations = meta.get("annotations") or {}
    for key in annotations:
        yield from _key_faults("metadata.annotations", key.lower())
    if sum(len(key) + len(value) for key, value in annotations.items()) > _ANNOTATIONS_MAX:
        yield f"metadata.annotations: Too long: may not be more than {_ANNOTATIONS_MAX} bytes"
    for finalizer in meta.get("finalizers") or ():
        yield from _key_faults("metadata.finalizers", finalizer)
    yield from _owner_faults(meta.get("ownerReferences") or [])


def new_finalizers(old: Object, new: Object) -> list[str]:
    """Return the finalizers that `new` adds."""
    before = old["metadata"].get("finalizers") or ()
    return [name for name in new["metadata"].get("finalizers") or () if name not in before]


def _name_faults(resource: Resource, name: str) -> Iterator[str]:
    pattern, limit = _SUBDOMAIN, 253
    if resource.group.startswith("rbac."):
        if name in {".", ".."} or "/" in name or "%" in name:
            yield f'metadata.name: Invalid value: "{name}": may not be a path segment'
        return
    if resource.plural == "services" and not resource.group:
        pattern, limit = _LABEL_1035, 63
    elif resource.plural == "namespaces" and not resource.group:
        pattern, limit = _LABEL, 63
    if len(name) > limit or not pattern.fullmatch(name):
        yield f'metadata.name: Invalid value: "{name}": must be a lowercase RFC 1123 name of at most {limit} characters'


def _key_faults(field: str, key: str) -> Iterator[str]:
    prefix, slash, name = key.rpartition("/")
    good_prefix = not slash or (len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix))
    if not good_prefix or len(name) > 63 or not _QUALIFIED.fullmatch(name):
        yield f'{field}: Invalid value: "{key}": must be a qualified name, its last part at most 63 characters'


def _owner_faults(owners: list[Object]) -> Iterator[str]:
    for index, owner in enumerate(owners):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield f"metadata.ownerReferences[{index}].{field}: Required value"
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        yield "metadata.ownerReferences: Invalid value: only one reference can have controller set to true"
