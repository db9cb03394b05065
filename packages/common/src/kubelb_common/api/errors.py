"""What a raw object can do wrong before it becomes a record."""

from __future__ import annotations

from typing import Any

_SHOWN = 60
_JSON_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
}


class MalformedObject(ValueError):  # noqa: N818 - the name says what is the matter
    """A field of a raw object has not the type that the API promises.

    Attributes:
        path: where, for example `spec.ports[0].port`; empty for the object itself.
        found: what stands there.
        expected: what should stand there.
    """

    def __init__(self, path: str, found: str, expected: str) -> None:
        super().__init__(f"{path or 'the object'}: found {found}, expected {expected}")
        self.path = path
        self.found = found
        self.expected = expected


def found(value: Any) -> str:
    """Describe a JSON value for an error text: its type, and the value itself if it is short."""
    if value is None:
        return "null"
    name = _JSON_NAMES.get(type(value), type(value).__name__)
    if isinstance(value, (dict, list)):
        return name
    shown = ascii(value)
    return f"{name} {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}"
