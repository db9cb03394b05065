"""What can go wrong with a lab, in words for people."""

from __future__ import annotations


class LabError(Exception):
    """A lab cannot do what was asked; the text says what, where and what to do."""


class Unavailable(LabError):  # noqa: N818  # named for what it says
    """This provider cannot work on this machine (exit code 2); the text says what is missing and the cure."""
