"""What the data plane makes of each object: written by the snapshot controller, read by status writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from kubelb_common.kube.port import Object
from kubelb_manager.ir.model import FleetId, Origin
from kubelb_manager.ports.table import PortKey
from kubelb_manager.translate.result import ACCEPTED, Reason, Verdict

PROGRAMMED = "Programmed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where one object stands.

    Attributes:
        uid: of the object that was judged; another object of the same name is not meant.
        generation: of the object that was judged.
        verdicts: Accepted, ResolvedRefs and, as soon as something can be said, Programmed.
        services: `namespace/name` of the tenant's Services that an Envoy may still have a cluster for.
        copy: the object to keep in the management cluster, None for none.
        backends: Services that the copy names.
        wants: ports of Envoy that the object needs beside those of LoadBalancers.
        listening: those that it has.
        settled: False while a word on Programmed is to be expected soon.
        everywhere: the fleet has all its pods, and every one has acknowledged this generation.
        released: nothing in the data plane points at this object's node ports any more.
    """

    uid: str
    generation: int
    verdicts: tuple[Verdict, ...]
    services: tuple[str, ...] = ()
    copy: Object | None = None
    backends: tuple[Object, ...] = ()
    wants: tuple[PortKey, ...] = ()
    listening: frozenset[PortKey] = frozenset()
    settled: bool = False
    everywhere: bool = False
    released: bool = False

    @property
    def programmed(self) -> bool:
        """Whether every Envoy that should serve this object does."""
        return any(verdict.type == PROGRAMMED and verdict.status == "True" for verdict in self.verdicts)

    @property
    def disabled(self) -> bool:
        """Whether an admin has switched the object off; what it holds of addresses stays meanwhile."""
        return any(verdict.type == ACCEPTED and verdict.reason == Reason.DISABLED for verdict in self.verdicts)

    @property
    def accepted(self) -> bool:
        """Whether the object is accepted."""
        return any(verdict.type == ACCEPTED and verdict.status == "True" for verdict in self.verdicts)


@dataclass(slots=True)
class Board:
    """Outcomes by object and fleet. Listeners hear of each change in the same turn of the loop."""

    _outcomes: dict[Origin, dict[FleetId, Outcome]] = field(default_factory=dict)
    _listeners: list[Callable[[Origin], None]] = field(default_factory=list)

    def on_change(self, listener: Callable[[Origin], None]) -> None:
        """Call `listener` with every object whose outcome in some fleet changes."""
        self._listeners.append(listener)

    def get(self, origin: Origin, fleet: FleetId) -> Outcome | None:
        """Return the outcome in `fleet`, or None if nothing is known there yet.

        What may still be in use, and whether the object is released, count all fleets: one that changes
        its fleet is in two for a while.
        """
        found = self._outcomes.get(origin, {})
        outcome = found.get(fleet)
        if outcome is None or len(found) == 1:
            return outcome
        return replace(
            outcome,
            services=tuple(sorted({name for each in found.values() for name in each.services})),
            released=all(each.released for each in found.values()),
        )

    def put(self, origin: Origin, fleet: FleetId, outcome: Outcome) -> None:
        """Set an outcome; an equal one is no change."""
        found = self._outcomes.setdefault(origin, {})
        if found.get(fleet) == outcome:
            return
        found[fleet] = outcome
        self._tell(origin)

    def touch(self, origin: Origin) -> None:
        """Tell of an object that belongs to other fleets than before."""
        self._tell(origin)

    def clear(self) -> None:
        """Forget everything: another replica says what becomes of objects, or we begin to."""
        self._outcomes.clear()

    def drop(self, origin: Origin, fleet: FleetId) -> None:
        """Forget an object that is gone from the fleet."""
        found = self._outcomes.get(origin, {})
        if found.pop(fleet, None) is None:
            return
        if found:
            self._tell(origin)
        else:
            del self._outcomes[origin]

    def _tell(self, origin: Origin) -> None:
        for listener in self._listeners:
            listener(origin)
