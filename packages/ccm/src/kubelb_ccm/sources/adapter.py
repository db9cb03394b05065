"""The questions that the loop over source objects asks of a kind."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from kubelb_common.objects.view import Object


class ServiceRef(NamedTuple):
    """A Service that a source object names; it may not exist."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Adapter(Protocol):
    """One kind of source object."""

    @property
    def kind(self) -> str:
        """The kind's name."""

    @property
    def group(self) -> str:
        """The kind's API group."""

    def in_scope(self, source: Object) -> bool:
        """Tell whether the object is ours to serve."""

    def services(self, source: Object) -> frozenset[ServiceRef]:
        """Return the Services that the object names."""

    def answer(self, exported: Object) -> Object | None:
        """Return the status that the Route gives to its source, or None while it says nothing of it."""

    def status_patch(self, source: Object, answer: Object) -> Object | None:
        """Return the merge patch that makes the object's status say `answer`; None if it does."""
