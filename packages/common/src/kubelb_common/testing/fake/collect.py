"""What the namespace controller and the garbage collector do after a write.

Both act at once, inside the write that gave the reason, so a test never waits for them. The contents
of a terminating namespace are deleted; it goes when the last one is gone. With garbage collection on,
a removed owner's dependents lose that reference, or are deleted if it was the last that exists.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kubelb_common.kube.port import Object, Propagation, Resource
from kubelb_common.kube.resources import NAMESPACES

if TYPE_CHECKING:
    from kubelb_common.testing.fake.store import Store

FOREGROUND = "foregroundDeletion"


class Collector:
    """Both controllers, working on one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._orphaned: set[str] = set()

    def finalizers_for(self, resource: Resource, obj: Object, propagation: Propagation) -> list[str]:
        """Return the finalizers that a deletion with this propagation adds first."""
        if not self._store.options.garbage_collection or resource == NAMESPACES:
            return []
        uid = obj["metadata"]["uid"]
        if propagation == "Orphan":
            self._orphaned.add(uid)
        present = obj["metadata"].get("finalizers") or ()
        has_dependents = any(True for _ in self._dependents(uid))
        return [FOREGROUND] if propagation == "Foreground" and has_dependents and FOREGROUND not in present else []

    def after(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        """React to one committed change."""
        some = new if new is not None else old
        assert some is not None
        if resource == NAMESPACES and new is not None and new["metadata"].get("deletionTimestamp"):
            self._empty(new)
        elif new is None:
            self._finish_namespace(some["metadata"].get("namespace"))
        if self._store.options.garbage_collection:
            self._collect(resource, old, new)

    def _empty(self, namespace: Object) -> None:
        name = namespace["metadata"]["name"]
        for resource in self._store.resources():
            if not resource.namespaced:
                continue
            for obj in [item for item in self._store.stored(resource) if item["metadata"]["namespace"] == name]:
                if not obj["metadata"].get("deletionTimestamp"):
                    self._store.delete(resource, obj["metadata"]["name"], name)
        self._finish_namespace(name)

    def _finish_namespace(self, name: str | None) -> None:
        if not name:
            return
        found = next((item for item in self._store.stored(NAMESPACES) if item["metadata"]["name"] == name), None)
        if found is None or not found["metadata"].get("deletionTimestamp"):
            return
        for resource in self._store.resources():
            if resource.namespaced and any(
                item["metadata"]["namespace"] == name for item in self._store.stored(resource)
            ):
                return
        new = copy.deepcopy(found)
        new["spec"]["finalizers"] = []
        self._store.rewrite(NAMESPACES, found, new)

    def _collect(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            uid = old["metadata"]["uid"]
            for kind, obj in list(self._dependents(uid)):
                self._release(kind, obj, uid, orphan=uid in self._orphaned)
            self._orphaned.discard(uid)
            self._finish_owners(old)
        elif new is not None and old is None and new["metadata"].get("ownerReferences"):
            if not any(self._exists(owner, new) for owner in new["metadata"]["ownerReferences"]):
                self._delete(resource, new)
        elif new is not None and FOREGROUND in (new["metadata"].get("finalizers") or ()):
            dependents = list(self._dependents(new["metadata"]["uid"]))
            for kind, obj in dependents:
                self._delete(kind, obj)

    def _release(self, kind: Resource, obj: Object, uid: str, *, orphan: bool) -> None:
        if not any(item["metadata"]["uid"] == obj["metadata"]["uid"] for item in self._store.stored(kind)):
            return  # it went with its namespace, another dependent
        others = [owner for owner in obj["metadata"]["ownerReferences"] if owner["uid"] != uid]
        if not orphan and not any(self._exists(owner, obj) for owner in others):
            self._delete(kind, obj)
            return
        new = copy.deepcopy(obj)
        new["metadata"]["ownerReferences"] = others
        self._store.rewrite(kind, obj, new)

    def _finish_owners(self, gone: Object) -> None:
        """Let owners go that waited for their dependents in the foreground."""
        for reference in gone["metadata"].get("ownerReferences") or ():
            for kind, owner in list(self._all()):
                waits = FOREGROUND in (owner["metadata"].get("finalizers") or ())
                if owner["metadata"]["uid"] != reference["uid"] or not waits:
                    continue
                if not any(True for _ in self._dependents(reference["uid"])):
                    new = copy.deepcopy(owner)
                    new["metadata"]["finalizers"].remove(FOREGROUND)
                    self._store.rewrite(kind, owner, new)

    def _delete(self, kind: Resource, obj: Object) -> None:
        if not obj["metadata"].get("deletionTimestamp"):
            namespace = obj["metadata"].get("namespace")
            self._store.delete(kind, obj["metadata"]["name"], namespace)

    def _exists(self, owner: Object, dependent: Object) -> bool:
        return any(
            obj["metadata"]["uid"] == owner["uid"]
            and obj["metadata"].get("namespace") in (None, dependent["metadata"].get("namespace"))
            for _, obj in self._all()
        )

    def _dependents(self, uid: str) -> Iterator[tuple[Resource, Object]]:
        for kind, obj in self._all():
            if any(owner["uid"] == uid for owner in obj["metadata"].get("ownerReferences") or ()):
                yield kind, obj

    def _all(self) -> Iterator[tuple[Resource, Object]]:
        for kind in self._store.resources():
            for obj in tuple(self._store.stored(kind)):
                yield kind, obj
