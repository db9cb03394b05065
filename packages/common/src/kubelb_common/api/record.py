"""Records: one class definition drives reading, writing and the OpenAPI schema of an API object.

A record is a frozen, slotted dataclass whose attributes map to JSON fields (`drain_timeout` to
`drainTimeout` unless `json=` says otherwise). `from_dict` and `to_dict` are exact inverses on every
input that `from_dict` accepts:

* fields that the class does not know, at any level, are kept in `extra` and written back;
* a known field that was given with an empty value (`""`, `[]`, `{}`, `null`) is kept in `extra` too,
  because the attribute alone cannot tell it from an absent one;
* a field that was absent and has a default other than empty is remembered in `filled`, so that reading
  shows the default and writing does not invent the field.

A record built by its constructor writes every attribute that is not empty, defaults included.
Values are shared with the raw object, never copied: treat both as read-only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, dataclass_transform, get_type_hints

from kubelb_common.api import codecs
from kubelb_common.api.errors import MalformedObject, found

_T = TypeVar("_T")
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_JSON, _DOC, _SCHEMA, _REQUIRED = "json", "doc", "schema", "required"


class CelRule(NamedTuple):
    """A rule in the Common Expression Language that the API server evaluates on the record."""

    rule: str
    message: str
    #: `oldSelf` is an optional value in the rule, which therefore also sees creation (Kubernetes 1.30 and later).
    optional_old_self: bool = False


def field(
    doc: str = "",
    *,
    json: str | None = None,
    default: Any = dataclasses.MISSING,
    default_factory: Callable[[], Any] | Any = dataclasses.MISSING,
    required: bool = False,
    schema: Mapping[str, Any] | None = None,
) -> Any:
    """Describe an attribute of a record.

    Args:
        doc: the field's description in the schema.
        json: the JSON name, if it is not the attribute's name in camelCase.
        default: the value when the field is absent. Without any default the field must be present.
        default_factory: as for dataclasses.
        required: the schema demands the field, although reading is lenient.
        schema: what is merged over the schema derived from the attribute's type.
    """
    metadata = {_JSON: json, _DOC: doc, _SCHEMA: schema or {}, _REQUIRED: required}
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, dataclasses.field))
def record(cls: type[_T]) -> type[_T]:
    """Turn a subclass of Record into a frozen, slotted, keyword-only dataclass."""
    return dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)


class Field(NamedTuple):
    """What is known of one attribute of a record class."""

    attribute: str
    json: str
    codec: codecs.Codec
    default: Callable[[], Any] | None
    required: bool
    doc: str
    schema: Mapping[str, Any]


@record
class Record:
    """Root of all records.

    Attributes:
        extra: JSON fields that no attribute stands for.
        filled: JSON names of absent fields whose attribute shows a default.
    """

    cel: ClassVar[tuple[CelRule, ...]] = ()
    #: Merged over the derived schema of the whole record.
    schema: ClassVar[Mapping[str, Any]] = _NOTHING

    extra: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _NOTHING, repr=False, hash=False)
    filled: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], path: str = "") -> Self:
        """Return the record for a raw JSON object.

        Args:
            raw: the object; it is not copied.
            path: where `raw` stands in the whole object, for error texts.

        Raises:
            MalformedObject: a field has a wrong type, or one without a default is missing.
        """
        if not isinstance(raw, Mapping):
            raise MalformedObject(path, found(raw), "an object")
        known: dict[str, Any] = {}
        filled: list[str] = []
        kept = dict(raw)
        for field_ in fields(cls):
            where = f"{path}.{field_.json}" if path else field_.json
            if field_.json not in raw:
                known[field_.attribute] = _default(field_, where)
                if not _empty(field_.codec.encode(known[field_.attribute])):
                    filled.append(field_.json)
                continue
            given = kept.pop(field_.json)
            value = _default(field_, where, "null") if given is None else field_.codec.decode(given, where)
            known[field_.attribute] = value
            if given is None or (_empty(given) and _is_default(field_, value)):
                kept[field_.json] = given
                filled.append(field_.json)
        return cls(**known, extra=kept, filled=frozenset(filled))

    def to_dict(self) -> dict[str, Any]:
        """Return the raw JSON object: what was read, with the attributes' present values."""
        raw = dict(self.extra)
        for field_ in fields(type(self)):
            value = getattr(self, field_.attribute)
            encoded = field_.codec.encode(value)
            if not (_is_default(field_, value) and (field_.json in self.filled or _empty(encoded))):
                raw[field_.json] = encoded
        return raw


_FIELDS: dict[type[Record], tuple[Field, ...]] = {}


def fields(cls: type[Record]) -> tuple[Field, ...]:
    """Return the JSON fields of a record class in the order of their definition."""
    known = _FIELDS.get(cls)
    if known is None:
        known = _FIELDS[cls] = _read_fields(cls)
    return known


def _read_fields(cls: type[Record]) -> tuple[Field, ...]:
    hints = get_type_hints(cls)
    return tuple(
        Field(
            attribute=item.name,
            json=item.metadata[_JSON] or camel(item.name),
            codec=codecs.codec_for(hints[item.name], Record),
            default=_factory(item),
            required=item.metadata[_REQUIRED] or _factory(item) is None,
            doc=item.metadata[_DOC],
            schema=item.metadata[_SCHEMA],
        )
        for item in dataclasses.fields(cls)
        if _JSON in item.metadata
    )


def camel(name: str) -> str:
    """Return a snake_case name in camelCase."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _factory(item: dataclasses.Field[Any]) -> Callable[[], Any] | None:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory
    if item.default is dataclasses.MISSING:
        return None
    value = item.default
    return lambda: value


def _default(field_: Field, where: str, given: str = "nothing") -> Any:
    if field_.default is None:
        raise MalformedObject(where, given, field_.codec.expected)
    return field_.default()


def _is_default(field_: Field, value: Any) -> bool:
    return field_.default is not None and bool(value == field_.default())


def _empty(encoded: Any) -> bool:
    """Say whether a JSON value carries nothing; numbers and strings with content do."""
    return encoded is None or encoded is False or encoded in ("", [], {})
