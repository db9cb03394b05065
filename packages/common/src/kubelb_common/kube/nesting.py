"""JSON that is nested deeper than a reader's stack: cut, not refused.

Whoever may write one object of a kind with free-form fields may nest it thousands of levels deep, which an API server
stores. A list with that object in it would then be unreadable, and with it every other object of the kind. No object
that means something comes near the limit, so what lies deeper is read as null.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Levels that are kept; also what may be copied and compared by recursion without a second thought.
DEPTH = 100

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_OPENING = b"{["
_CLOSING = b"}]"


def decode(read: Callable[[bytes], T], body: bytes) -> T:
    """Return what `read` makes of `body`; where that is nested too deeply for it, of `pruned(body)`."""
    try:
        return read(body)
    except RecursionError:
        return read(pruned(body))


def pruned(body: bytes, most: int = DEPTH) -> bytes:
    """Return JSON text with each object or array below `most` levels replaced by null."""
    kept: list[bytes] = []
    start = depth = 0
    for token in _TOKEN.finditer(body):
        byte = body[token.start()]
        if byte in _OPENING:
            depth += 1
            if depth == most + 1:
                kept += (body[start : token.start()], b"null")
        elif byte in _CLOSING:
            if depth == most + 1:
                start = token.end()
            depth -= 1
    kept.append(body[start:])
    return b"".join(kept)
