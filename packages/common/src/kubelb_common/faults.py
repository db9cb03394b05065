"""The root of all foreseeable faults that are no answer of an API server (those are in `kube.errors`)."""

from __future__ import annotations


class Fault(Exception):  # noqa: N818 - a fault of the surroundings, not of the code
    """A foreseeable fault outside any API server; its text says what, where, and what to do."""
