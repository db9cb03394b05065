"""What can go wrong with a lab, in words for people."""

from __future__ import annotations

import re

#: A line of kubectl's own log, as `E0117 10:11:12.138461   167 memcache.go:265] ...`.
_LOG = re.compile(r"[EWIF]\d{4} ")


class LabError(Exception):
    """A lab cannot do what was asked; the text says what, where and what to do."""


class Unavailable(LabError):  # noqa: N818  # named for what it says
    """This provider cannot work on this machine (exit code 2); the text says what is missing and the cure."""


def one_line(said: str) -> str:
    """Return what a program printed of its failure as one line, without what kubectl logs beside it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return "; ".join([line for line in lines if not _LOG.match(line)] or lines) or "it printed nothing"


def last_line(said: str) -> str:
    """Return the last line that a program printed, where programs say why they end."""
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it printed nothing")
