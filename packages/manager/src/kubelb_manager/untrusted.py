"""Reading JSON whose shape nobody has promised, and the strict forms that names must have.

What a tenant wrote was checked by a CRD schema at most, and an embedded object not even by that.
The readers below return an empty value for anything of another type and never raise; the
predicates accept exactly what the Kubernetes API would accept for a name of that kind, or less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_OBJECT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_PORT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?")
_UNCLEAN = re.compile(r"[^A-Za-z0-9._*/:%@=+~ -]")
_EMPTY: Mapping[str, Any] = {}

#: Longest piece of a tenant's own text that a message repeats.
QUOTE_MAX = 80


def mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else _EMPTY


def sequence(value: Any) -> Sequence[Any]:
    """Return `value` if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else ()


def string(value: Any) -> str:
    """Return `value` if it is a string, else the empty one."""
    return value if isinstance(value, str) else ""


def integer(value: Any) -> int | None:
    """Return `value` if it is a whole number (true and false are none), else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def port_number(value: Any) -> int | None:
    """Return `value` if it is a port number from 1 to 65535, else None."""
    number = integer(value)
    return number if number is not None and 1 <= number <= 65535 else None


def at(value: Any, *path: str) -> Any:
    """Return what lies below `value` at `path` of object keys, or None."""
    for key in path:
        value = mapping(value).get(key)
    return value


def string_items(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a JSON object whose values are strings."""
    return ((key, item) for key, item in mapping(value).items() if isinstance(item, str))


def is_label(text: str) -> bool:
    """Whether `text` is a DNS-1123 label: at most 63 of a-z, 0-9 and inner hyphens."""
    return _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """Whether `text` is a DNS-1123 subdomain: labels with dots between, at most 253 characters."""
    return len(text) <= 253 and all(is_label(label) for label in text.split("."))


def is_object_name(text: str) -> bool:
    """Whether `text` may name an object: as a subdomain, but its parts may be longer than a label of DNS."""
    return len(text) <= 253 and _OBJECT_NAME.fullmatch(text) is not None


def is_port_name(text: str) -> bool:
    """Whether `text` may name a Service's port in a reference: 1 to 15 of a-z, 0-9 and single inner hyphens."""
    return _PORT_NAME.fullmatch(text) is not None and "--" not in text and any(c.isalpha() for c in text)


def quoted(text: str) -> str:
    """Return a tenant's text fit for a message: odd characters as `?`, at most 80 of them, in quotes."""
    clean = _UNCLEAN.sub("?", text[: QUOTE_MAX + 1])
    return f"'{clean[:QUOTE_MAX]}...'" if len(clean) > QUOTE_MAX else f"'{clean}'"
