"""Values kept in the order of their keys, where a few of many change at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Any)
V = TypeVar("V")

#: Above this many changes at once one sort is cheaper than as many shifts.
_MANY = 64


class Ordered(Generic[K, V]):
    """A sorted mapping that hands out its values as a tuple; the tuple stays the same object between changes."""

    __slots__ = ("_by_key", "_keys", "_values", "_view")

    def __init__(self) -> None:
        self._by_key: dict[K, V] = {}
        self._keys: list[K] = []
        self._values: list[V] = []
        self._view: tuple[V, ...] = ()

    def get(self, key: K) -> V | None:
        """Return the value of `key`, or None."""
        return self._by_key.get(key)

    def values(self) -> tuple[V, ...]:
        """Return the values in the order of their keys."""
        return self._view

    def update(self, changes: Mapping[K, V | None]) -> None:
        """Set values; None removes. A value that equals the one in place changes nothing."""
        effective = {key: value for key, value in changes.items() if value != self._by_key.get(key)}
        if not effective:
            return
        for key, value in effective.items():
            if len(effective) <= _MANY:
                self._shift(key, value)
            if value is None:
                del self._by_key[key]
            else:
                self._by_key[key] = value
        if len(effective) > _MANY:
            self._keys = sorted(self._by_key)
            self._values = [self._by_key[key] for key in self._keys]
        self._view = tuple(self._values)

    def _shift(self, key: K, value: V | None) -> None:
        at = bisect_left(self._keys, key)
        if value is None:
            del self._keys[at], self._values[at]
        elif key in self._by_key:
            self._values[at] = value
        else:
            self._keys.insert(at, key)
            self._values.insert(at, value)
