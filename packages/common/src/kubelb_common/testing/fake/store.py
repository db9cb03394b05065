"""The storage of a fake cluster: every rule an API server applies to one read or write.

All of it is synchronous, so each request is atomic. Objects are copied on the way in and out; nobody
outside can change what is stored. A write that changes nothing is no write: no new resourceVersion,
no event. An object with finalizers is only marked by delete; the update that takes the last finalizer
removes it. `deletionTimestamp` can never be taken back, and no finalizer can be added after it.
"""

from __future__ import annotations

import copy
import random
import string
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from kubelb_common.kube.port import Object, ObjectList, Propagation, Resource
from kubelb_common.kube.resources import CRDS, NAMESPACES, SERVICES
from kubelb_common.testing.fake import admission, errors, kinds, meta
from kubelb_common.testing.fake.collect import Collector
from kubelb_common.testing.fake.history import Change, History, Key
from kubelb_common.testing.fake.merge import merge_patch
from kubelb_common.testing.fake.schema import CustomKind, versions
from kubelb_common.testing.fake.selectors import selector
from kubelb_common.testing.fake.services import ServiceAdmission

FIRST_VERSION = 100
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_SUFFIX = string.ascii_lowercase + string.digits


class Options(NamedTuple):
    """How strict and how complete a fake cluster is; `FakeKube` documents each."""

    strict_namespaces: bool
    strict_kinds: bool
    garbage_collection: bool
    history_limit: int
    service_cidr: str
    now: Callable[[], datetime]
    seed: int


class Store:
    """All objects of one fake cluster."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.history = History(options.history_limit, FIRST_VERSION)
        self.custom: dict[Key, list[CustomKind]] = {}
        self.hidden: set[Key] = set()
        self._tables: dict[Key, dict[tuple[str, str], Object]] = {}
        self._resources: dict[Key, Resource] = {}
        self._random = random.Random(options.seed)  # noqa: S311 - names and uids of tests, repeatable on purpose
        self._services = ServiceAdmission(options.service_cidr, lambda: self.stored(SERVICES))
        self._collector = Collector(self)

    # -- reading

    def get(self, resource: Resource, name: str, namespace: str | None) -> Object:
        """Return a copy of the object; raises NotFound."""
        return self._out(resource, self._find(resource, name, self._space(resource, namespace)))

    def list(
        self,
        resource: Resource,
        namespace: str | None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> ObjectList:
        """Return copies of all that match, sorted by namespace and name."""
        self._served(resource)
        matches = selector(resource, label_selector, field_selector)
        found = [
            self._out(resource, obj)
            for (space, _), obj in sorted(self._table(resource).items())
            if (not resource.namespaced or namespace in (None, "", space)) and matches(obj)
        ]
        return ObjectList(found, str(self.history.version))

    def stored(self, resource: Resource) -> Iterable[Object]:
        """Return the stored objects of a kind themselves, for reading only."""
        return self._table(resource).values()

    def resources(self) -> Iterable[Resource]:
        """Return every kind that was ever used here."""
        return tuple(self._resources.values())

    # -- writing

    def create(self, resource: Resource, obj: Object, namespace: str | None) -> Object:
        """Store a new object and return a copy."""
        self._served(resource)
        new = copy.deepcopy(obj)
        info = new.setdefault("metadata", {})
        space = self._space(resource, namespace or info.get("namespace"))
        admission.check_body(resource, new, space)
        if info.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not info.get("name") and info.get("generateName"):
            info["name"] = info["generateName"][:58] + "".join(self._random.choices(_SUFFIX, k=5))
        if not info.get("name"):
            raise errors.invalid(resource, "", "metadata.name: Required value: name or generateName is required")
        self._check_namespace(resource, space, info["name"])
        if (space, info["name"]) in self._table(resource):
            raise errors.already_exists(resource, info["name"])
        for field in (*_SYSTEM_FIELDS, "managedFields", "selfLink"):
            info.pop(field, None)
        info["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        info["creationTimestamp"] = self._timestamp()
        if resource.namespaced:
            info["namespace"] = space
        if self._counts_generation(resource):
            info["generation"] = 1
        if self._has_status(resource) and resource.plural != "nodes":
            new.pop("status", None)
        new = self._admit(resource, new, None)
        self._commit(resource, None, new)
        return self._out(resource, new)

    def replace(self, resource: Resource, obj: Object, namespace: str | None, *, subresource: str | None) -> Object:
        """Replace by name and return a copy of what is stored then."""
        self._served(resource, subresource)
        new = copy.deepcopy(obj)
        info = new.setdefault("metadata", {})
        space = self._space(resource, namespace or info.get("namespace"))
        admission.check_body(resource, new, space)
        old = self._find(resource, info.get("name", ""), space)
        if not info.get("resourceVersion") and not kinds.unconditional_update(resource):
            why = "metadata.resourceVersion: Invalid value: must be specified for an update"
            raise errors.invalid(resource, info["name"], why)
        return self._update(resource, old, new, subresource)

    def patch(
        self, resource: Resource, name: str, patch: Object, namespace: str | None, *, subresource: str | None
    ) -> Object:
        """Apply a JSON merge patch to the stored object and return a copy."""
        self._served(resource, subresource)
        old = self._find(resource, name, self._space(resource, namespace))
        new = merge_patch(self._out(resource, old), patch)
        if new.get("metadata", {}).get("name") != name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        return self._update(resource, old, copy.deepcopy(new), subresource)

    def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
    ) -> None:
        """Remove the object, or mark it if finalizers hold it."""
        self._served(resource)
        old = self._find(resource, name, self._space(resource, namespace))
        info = old["metadata"]
        if uid is not None and uid != info["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {info['uid']}"
            raise errors.conflict(resource, name, why)
        if resource_version is not None and resource_version != info["resourceVersion"]:
            why = (
                f"Precondition failed: ResourceVersion in precondition: {resource_version}, "
                f"ResourceVersion in object meta: {info['resourceVersion']}"
            )
            raise errors.conflict(resource, name, why)
        new = copy.deepcopy(old)
        if extra := self._collector.finalizers_for(resource, old, propagation):
            new["metadata"]["finalizers"] = [*(info.get("finalizers") or ()), *extra]
        if not admission.is_held(resource, new):
            self._commit(resource, old, None)
        elif not info.get("deletionTimestamp"):
            new["metadata"]["deletionTimestamp"] = self._timestamp()
            new["metadata"]["deletionGracePeriodSeconds"] = 0
            if info.get("generation"):
                new["metadata"]["generation"] += 1
            if resource == NAMESPACES:
                new["status"] = {**new.get("status", {}), "phase": "Terminating"}
            self._commit(resource, old, new)

    def discard(self, resource: Resource, obj: Object) -> None:
        """Remove a stored object whatever holds it; for the collector and for test set-up."""
        self._commit(resource, obj, None)

    def rewrite(self, resource: Resource, old: Object, new: Object) -> None:
        """Store `new` in the place of `old` without any check; for the collector."""
        if admission.is_held(resource, new) or not new["metadata"].get("deletionTimestamp"):
            self._commit(resource, old, new)
        else:
            self._commit(resource, old, None)

    def _update(self, resource: Resource, old: Object, new: Object, subresource: str | None) -> Object:
        before, after = old["metadata"], new["metadata"]
        name = before["name"]
        if after.get("uid") and after["uid"] != before["uid"]:
            why = f"Precondition failed: UID in precondition: {after['uid']}, UID in object meta: {before['uid']}"
            raise errors.conflict(resource, name, why)
        if after.get("resourceVersion") and after["resourceVersion"] != before["resourceVersion"]:
            raise errors.stale(resource, name)
        if subresource:
            new = _only_status(old, new)
        else:
            self._fix_metadata(resource, old, new)
        new = self._admit(resource, new, old)
        if self._counts_generation(resource) and _spec_part(new, status=not self._has_status(resource)) != _spec_part(
            old, status=not self._has_status(resource)
        ):
            new["metadata"]["generation"] = before.get("generation", 0) + 1
        if _sorted_out(new) == _sorted_out(old):
            return self._out(resource, old)
        if before.get("deletionTimestamp") and not admission.is_held(resource, new):
            self._commit(resource, old, None)
            return self._out(resource, new)
        self._commit(resource, old, new)
        return self._out(resource, new)

    def _fix_metadata(self, resource: Resource, old: Object, new: Object) -> None:
        before, after = old["metadata"], new["metadata"]
        for field in (*_SYSTEM_FIELDS, "resourceVersion", "namespace", "generateName"):
            after.pop(field, None)
            if field in before:
                after[field] = before[field]
        after.pop("managedFields", None)
        if self._has_status(resource):
            new.pop("status", None)
            if "status" in old:
                new["status"] = copy.deepcopy(old["status"])
        if resource == NAMESPACES:
            new["spec"] = copy.deepcopy(old["spec"])

    def _admit(self, resource: Resource, new: Object, old: Object | None) -> Object:
        """Default and check an object that is about to be stored."""
        custom = self._custom(resource)
        if custom is not None:
            new = custom.complete(new)
        name = new["metadata"]["name"]
        faults = list(meta.faults(resource, new))
        if old is not None and old["metadata"].get("deletionTimestamp") and (added := meta.new_finalizers(old, new)):
            what = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
            faults.append(f"metadata.finalizers: Forbidden: {what}")
        if custom is not None:
            faults += custom.faults(new)
        if faults:
            raise errors.invalid(resource, name, *faults)
        if resource == SERVICES:
            self._services.admit(new, old)
        return admission.complete(resource, new, old)

    def _commit(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        version = self.history.next_version()
        some = new if new is not None else old
        assert some is not None
        key = (some["metadata"].get("namespace", ""), some["metadata"]["name"])
        table = self._table(resource)
        if new is None:
            del table[key]
        else:
            new["metadata"]["resourceVersion"] = str(version)
            table[key] = new
        if resource == CRDS:
            self._serve_crd(old, new)
        self.history.add(Change(version, (resource.group, resource.plural), old, new))
        self._collector.after(resource, old, new)

    def _serve_crd(self, old: Object | None, new: Object | None) -> None:
        crd = new if new is not None else old
        assert crd is not None
        key = (crd["spec"]["group"], crd["spec"]["names"]["plural"])
        if new is not None:
            self.custom[key] = versions(new)
            return
        for kind in self.custom.pop(key, []):
            for obj in tuple(self.stored(kind.resource)):
                self.discard(kind.resource, obj)

    # -- inner helpers

    def _served(self, resource: Resource, subresource: str | None = None) -> None:
        key = (resource.group, resource.plural)
        if key in self.hidden:
            raise errors.no_such_kind()
        needs_crd = not kinds.built_in(resource) and (self.options.strict_kinds or key in self.custom)
        if needs_crd and self._custom(resource) is None:
            raise errors.no_such_kind()
        if subresource and not (subresource == "status" and self._has_status(resource)):
            raise errors.no_such_kind()

    def _custom(self, resource: Resource) -> CustomKind | None:
        served = self.custom.get((resource.group, resource.plural), ())
        return next((kind for kind in served if kind.resource.version == resource.version), None)

    def _has_status(self, resource: Resource) -> bool:
        custom = self._custom(resource)
        return custom.has_status if custom else kinds.has_status(resource)

    def _counts_generation(self, resource: Resource) -> bool:
        return kinds.counts_generation(resource)

    def _space(self, resource: Resource, namespace: str | None) -> str:
        if not resource.namespaced:
            return ""
        if not namespace:
            raise errors.bad_request(f"an empty namespace may not be set for {resource}: pass one")
        return namespace

    def _check_namespace(self, resource: Resource, space: str, name: str) -> None:
        if not space:
            return
        found = self._table(NAMESPACES).get(("", space))
        if found is None and self.options.strict_namespaces:
            raise errors.not_found(NAMESPACES, space)
        if found is not None and found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {space} because it is being terminated"
            raise errors.forbidden(resource, name, why)

    def _find(self, resource: Resource, name: str, space: str) -> Object:
        self._served(resource)
        found = self._table(resource).get((space, name))
        if found is None:
            raise errors.not_found(resource, name)
        return found

    def _table(self, resource: Resource) -> dict[tuple[str, str], Object]:
        key = (resource.group, resource.plural)
        self._resources.setdefault(key, resource)
        return self._tables.setdefault(key, {})

    def _out(self, resource: Resource, obj: Object) -> Object:
        return {**copy.deepcopy(obj), "apiVersion": resource.api_version, "kind": resource.kind}

    def _timestamp(self) -> str:
        return self.options.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _only_status(old: Object, new: Object) -> Object:
    result = copy.deepcopy(old)
    result.pop("status", None)
    if "status" in new:
        result["status"] = new["status"]
    return result


def _spec_part(obj: Object, *, status: bool) -> Object:
    ignored = {"apiVersion", "kind", "metadata"} | (set() if status else {"status"})
    return {key: value for key, value in obj.items() if key not in ignored}


def _sorted_out(obj: Object) -> Object:
    info = {key: value for key, value in obj["metadata"].items() if value not in ({}, [], None)}
    return {**_spec_part(obj, status=True), "metadata": info}
