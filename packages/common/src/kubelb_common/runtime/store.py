"""Indexed cache of raw objects of one kind in one cluster.

One writer (the informer, or a test), any number of readers, all on one event loop: no call here waits, so a reader
sees the store before a change or after it, never in between. Objects in it are shared. They are read-only for
everybody; whoever wants to change one makes a deep copy first.

Keys are kept sorted as they come, so that listing costs no sort and every replica iterates in the same order.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kubelb_common.kube.port import Object
from kubelb_common.runtime.border import contained
from kubelb_common.runtime.keys import ObjectKey

IndexValues = Callable[[Object], Iterable[str]]
_Objects = list[Object]  # inside Store, `list` is a method
_Keys = list[ObjectKey]


class Change(NamedTuple):
    """One object before and after: `old` None means added, `new` None means deleted."""

    old: Object | None
    new: Object | None


_Changes = list[Change]


class _Index:
    """Sorted keys by value, and the values of each key so that they can be taken away again."""

    __slots__ = ("_keys", "_of_key", "_values")

    def __init__(self, values: IndexValues) -> None:
        self._values = values
        self._keys: dict[str, list[ObjectKey]] = {}
        self._of_key: dict[ObjectKey, frozenset[str]] = {}

    def put(self, key: ObjectKey, obj: Object) -> None:
        values: frozenset[str] = frozenset()
        with contained("index", key=str(key)):
            values = frozenset(self._values(obj))
        before = self._of_key.get(key, frozenset())
        for value in before - values:
            self._drop(value, key)
        for value in values - before:
            insort(self._keys.setdefault(value, []), key)
        if values:
            self._of_key[key] = values
        else:
            self._of_key.pop(key, None)

    def remove(self, key: ObjectKey) -> None:
        for value in self._of_key.pop(key, frozenset()):
            self._drop(value, key)

    def keys(self, value: str) -> list[ObjectKey]:
        return self._keys.get(value, [])

    def _drop(self, value: str, key: ObjectKey) -> None:
        keys = self._keys[value]
        del keys[bisect_left(keys, key)]
        if not keys:
            del self._keys[value]


class Store:
    """Objects by key, with named indexes."""

    __slots__ = ("_indexes", "_objects", "_sorted")

    def __init__(self) -> None:
        self._objects: dict[ObjectKey, Object] = {}
        self._sorted: _Keys = []
        self._indexes: dict[str, _Index] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: object) -> bool:
        return key in self._objects

    def get(self, namespace: str | None, name: str) -> Object | None:
        """Return the object or None; the namespace is None or `""` for a cluster-scoped kind."""
        return self._objects.get(ObjectKey(namespace or "", name))

    def get_key(self, key: ObjectKey) -> Object | None:
        """Return the object or None."""
        return self._objects.get(key)

    def keys(self) -> _Keys:
        """Return all keys, sorted."""
        return list(self._sorted)

    def list(self, namespace: str | None = None) -> _Objects:
        """Return the objects of one namespace, or all, sorted by key."""
        keys = self._sorted
        if namespace is not None:
            first = bisect_left(keys, ObjectKey(namespace, ""))
            end = bisect_left(keys, ObjectKey(namespace + "\0", ""))
            keys = keys[first:end]
        return [self._objects[key] for key in keys]

    def add_index(self, name: str, values: IndexValues) -> None:
        """Add an index: `values` returns under which texts an object is found.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._indexes:
            raise ValueError(f"index {name!r} exists already")
        index = _Index(values)
        for key, obj in self._objects.items():
            index.put(key, obj)
        self._indexes[name] = index

    def by_index(self, name: str, value: str) -> _Objects:
        """Return the objects that have `value` in the index, sorted by key; KeyError for an unknown index."""
        return [self._objects[key] for key in self._indexes[name].keys(value)]

    def has(self, name: str, value: str) -> bool:
        """Tell whether any object has `value` in the index, however many do; KeyError for an unknown index."""
        return bool(self._indexes[name].keys(value))

    def each(self, name: str, value: str) -> Iterator[Object]:
        """Yield what `by_index` returns, one by one, for a reader that may stop early and does not wait in between."""
        for key in self._indexes[name].keys(value):
            yield self._objects[key]

    def upsert(self, obj: Object) -> Object | None:
        """Store the object and return the one it replaces."""
        key = ObjectKey.of(obj)
        old = self._objects.get(key)
        if old is None:
            insort(self._sorted, key)
        self._objects[key] = obj
        for index in self._indexes.values():
            index.put(key, obj)
        return old

    def remove(self, key: ObjectKey) -> Object | None:
        """Take the object out and return it; None if there was none."""
        old = self._objects.pop(key, None)
        if old is not None:
            del self._sorted[bisect_left(self._sorted, key)]
            for index in self._indexes.values():
                index.remove(key)
        return old

    def replace_all(self, objects: Iterable[Object], *, keep: frozenset[ObjectKey] = frozenset()) -> _Changes:
        """Make the store equal to a complete list and return what changed: deletions first, then the rest by key.

        Objects whose uid and resourceVersion are the stored ones stay as they are and are no change.

        Args:
            objects: everything there is.
            keep: keys that stay although the list lacks them.
        """
        listed = {ObjectKey.of(obj): obj for obj in objects}
        gone = [key for key in self._sorted if key not in listed and key not in keep]
        changes = [Change(self.remove(key), None) for key in gone]
        for key in sorted(listed):
            obj = listed[key]
            old = self._objects.get(key)
            if old is None or not same_version(old, obj):
                changes.append(Change(self.upsert(obj), obj))
        return changes


def same_version(one: Object, other: Object) -> bool:
    """Tell whether both are the same state of the same object; never true without a resourceVersion."""
    first, second = one["metadata"], other["metadata"]
    version = first.get("resourceVersion")
    return version is not None and version == second.get("resourceVersion") and first.get("uid") == second.get("uid")
