"""How attribute types of records map to JSON: read with a check, write back.

The type hint chooses the codec:

    str, int, bool          that JSON type (a boolean is no integer)
    IntOrString             an integer or a string
    Raw                     any object, passed through as it is
    RawValue                any JSON value, passed through as it is
    a Record class          a nested record
    tuple[T, ...]           a list
    Mapping[str, T]         an object with free keys
    T | None                T, or absent
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Any, NewType, Protocol, Union, get_args, get_origin

from kubelb_common.api.errors import MalformedObject, found

IntOrString = int | str
#: An arbitrary JSON object whose inner fields are nobody's business here.
Raw = dict[str, Any]
RawValue = NewType("RawValue", object)


class Codec(Protocol):
    """Reads and writes one type."""

    @property
    def expected(self) -> str:
        """What should stand there, for error texts."""

    def decode(self, value: Any, path: str) -> Any:
        """Return the attribute for a JSON value that is not null; raises MalformedObject."""

    def encode(self, value: Any) -> Any:
        """Return the JSON value for an attribute."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A string, an integer or a boolean; `kinds` are the Python types that are accepted."""

    kinds: tuple[type, ...]
    expected: str

    def decode(self, value: Any, path: str) -> Any:
        """Return the value itself."""
        if type(value) not in self.kinds:
            raise MalformedObject(path, found(value), self.expected)
        return value

    def encode(self, value: Any) -> Any:
        """Return the value itself."""
        return value


@dataclass(frozen=True, slots=True)
class Opaque:
    """A JSON value that passes through; `objects_only` demands an object."""

    objects_only: bool

    @property
    def expected(self) -> str:
        """What should stand there."""
        return "an object" if self.objects_only else "a value"

    def decode(self, value: Any, path: str) -> Any:
        """Return the value itself."""
        if self.objects_only and not isinstance(value, dict):
            raise MalformedObject(path, found(value), self.expected)
        return value

    def encode(self, value: Any) -> Any:
        """Return the value itself."""
        return value


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, as a tuple."""

    item: Codec
    expected: str = "a list"

    def decode(self, value: Any, path: str) -> Any:
        """Return a tuple of decoded items."""
        if not isinstance(value, list):
            raise MalformedObject(path, found(value), self.expected)
        return tuple(_item(self.item, item, f"{path}[{index}]") for index, item in enumerate(value))

    def encode(self, value: Any) -> Any:
        """Return a list of encoded items."""
        return [self.item.encode(item) for item in value]


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object with free keys."""

    value: Codec
    expected: str = "an object"

    def decode(self, value: Any, path: str) -> Any:
        """Return a dict of decoded values."""
        if not isinstance(value, dict):
            raise MalformedObject(path, found(value), self.expected)
        return {key: _item(self.value, item, f"{path}[{key}]") for key, item in value.items()}

    def encode(self, value: Any) -> Any:
        """Return a dict of encoded values."""
        return {key: self.value.encode(item) for key, item in value.items()}


@dataclass(frozen=True, slots=True)
class Nested:
    """A record inside a record."""

    record: type[Any]
    expected: str = "an object"

    def decode(self, value: Any, path: str) -> Any:
        """Return the record."""
        return self.record.from_dict(value, path)

    def encode(self, value: Any) -> Any:
        """Return the record's raw object."""
        return value.to_dict()


@dataclass(frozen=True, slots=True)
class Optional:
    """A value or None for absent."""

    inner: Codec

    @property
    def expected(self) -> str:
        """What should stand there."""
        return self.inner.expected

    def decode(self, value: Any, path: str) -> Any:
        """Return what the inner codec returns."""
        return self.inner.decode(value, path)

    def encode(self, value: Any) -> Any:
        """Return None or what the inner codec returns."""
        return None if value is None else self.inner.encode(value)


STRING = Scalar((str,), "a string")
INTEGER = Scalar((int,), "an integer")
BOOLEAN = Scalar((bool,), "a boolean")
INT_OR_STRING = Scalar((int, str), "an integer or a string")
_SCALARS: dict[Any, Codec] = {str: STRING, int: INTEGER, bool: BOOLEAN}


def codec_for(hint: Any, record: type[Any]) -> Codec:
    """Return the codec for a type hint; `record` is the root class of nested records."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    if hint == IntOrString:
        return INT_OR_STRING
    if hint is RawValue or hint == Raw:
        return Opaque(objects_only=hint is not RawValue)
    if isinstance(hint, type) and get_origin(hint) is None and issubclass(hint, record):
        return Nested(hint)
    return _composed(hint, record)


def _composed(hint: Any, record: type[Any]) -> Codec:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union) and NoneType in args:
        return Optional(codec_for(reduce(or_, (arg for arg in args if arg is not NoneType)), record))
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return ListOf(codec_for(args[0], record))
    if origin is Mapping and args[0] is str:
        return MapOf(codec_for(args[1], record))
    raise TypeError(f"no JSON mapping for {hint!r}")


def _item(codec: Codec, value: Any, path: str) -> Any:
    if value is None and not (isinstance(codec, Opaque) and not codec.objects_only):
        raise MalformedObject(path, "null", codec.expected)
    return codec.decode(value, path)
