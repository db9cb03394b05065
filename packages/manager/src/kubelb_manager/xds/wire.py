"""Protobuf framing by hand, for joining serialised messages without parsing them again.

A message is the concatenation of its fields, so a field that was serialised once can be joined into
any number of messages. Used where a large message changes by one part: a RouteConfiguration with one
changed virtual host, a response made of cached resources.
"""

from __future__ import annotations

_LENGTH_DELIMITED = 2
_MORE = 0x80


def varint(number: int) -> bytes:
    """Return `number`, which is not negative, in base 128, low digits first."""
    out = bytearray()
    while number >= _MORE:
        out.append(number & (_MORE - 1) | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


def tag(field: int) -> bytes:
    """Return the tag of a length-delimited field (string, bytes, message) with the number `field`."""
    return varint(field << 3 | _LENGTH_DELIMITED)


def framed(field: int, value: bytes) -> bytes:
    """Return `value` as the length-delimited field `field`; an empty value is a present, empty field."""
    return tag(field) + varint(len(value)) + value
