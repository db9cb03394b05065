"""The two kinds of patterns that admins write: for annotation keys and for host names."""

from __future__ import annotations

import re
from functools import lru_cache

from kubelb_manager import untrusted


@lru_cache(maxsize=1024)
def _annotation_regex(pattern: str) -> re.Pattern[str]:
    out, rest = "", pattern
    while rest:
        char, rest = rest[0], rest[1:]
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[":
            body, bracket, rest = rest.partition("]")
            if not bracket or not body.strip("^"):
                return re.compile(re.escape(pattern))
            out += _char_class(body)
        else:
            out += re.escape(char)
    try:
        return re.compile(out)
    except re.error:
        return re.compile(re.escape(pattern))


def _char_class(body: str) -> str:
    negated = "^" if body.startswith("^") else ""
    members = re.escape(body.removeprefix("^")).replace(r"\-", "-")
    return f"[{negated}{members}]"


def annotation_matches(pattern: str, key: str) -> bool:
    """Whether a shell glob covers an annotation key. `*` stops at `/`; a malformed glob is compared literally."""
    return _annotation_regex(pattern).fullmatch(key) is not None


_GLOB_CHARACTERS = re.compile(r"[A-Za-z0-9_./*?\[\]^-]+")


def annotation_glob_fault(pattern: str) -> str:
    """Return what is wrong with a glob of annotation keys, in words for an admin; empty if nothing is."""
    if not pattern:
        return "is empty"
    if _GLOB_CHARACTERS.fullmatch(pattern) is None:
        return f"{untrusted.quoted(pattern)} holds characters that no key of an annotation has"
    if pattern.count("/") > 1:
        return f"{pattern!r} has more than one /, and no key of an annotation has"
    if "[" in pattern and _annotation_regex(pattern).pattern == re.escape(pattern):
        return f"{pattern!r} is a malformed glob: look at its brackets"
    return ""


@lru_cache(maxsize=1024)
def _host_regex(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"(\*\*|\*)", pattern.lower())
    return re.compile("".join({"**": ".*", "*": "[^.]*"}.get(piece, re.escape(piece)) for piece in pieces))


_HOST_LABEL = r"[A-Za-z0-9*](?:[A-Za-z0-9*-]*[A-Za-z0-9*])?"
_HOST_GLOB = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*")


def host_glob_fault(pattern: str) -> str:
    """Return what is wrong with a glob of host names, in words for an admin; empty if nothing is."""
    if _HOST_GLOB.fullmatch(pattern) is None:
        return f"{untrusted.quoted(pattern)} is no glob of host names such as *.example.com"
    return ""


def host_allowed(patterns: tuple[str, ...], host: str) -> bool:
    """Whether `hosts.allowed` permits a host name or a wildcard `*.example.com`.

    No patterns permit all; `*` alone permits all; `*` within a pattern stands for one label or a piece
    of it, `**` for any. A wildcard is permitted only if every name that it covers is.
    """
    if not patterns or "*" in patterns:
        return True
    suffix = host.removeprefix("*")
    # Two labels without a common letter: a pattern that covers both cannot depend on the label.
    covered = (host,) if suffix == host else ("0" + suffix, "z" * 63 + suffix)
    return any(all(_host_regex(pattern).fullmatch(name) for name in covered) for pattern in patterns)
