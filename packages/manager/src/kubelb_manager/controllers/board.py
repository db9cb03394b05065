"""What the data plane makes of each object: written by the snapshot controller, read by status writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kubelb_common.kube.port import Object
from kubelb_manager.ir.model import Origin
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
        settled: False while a word on Programmed is to be expected soon.
        released: nothing in the data plane points at this object's node ports any more.
    """

    uid: str
    generation: int
    verdicts: tuple[Verdict, ...]
    services: tuple[str, ...] = ()
    copy: Object | None = None
    settled: bool = False
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
    """Outcomes by object. Listeners hear of each change in the same turn of the loop."""

    _outcomes: dict[Origin, Outcome] = field(default_factory=dict)
    _listeners: list[Callable[[Origin], None]] = field(default_factory=list)

    def on_change(self, listener: Callable[[Origin], None]) -> None:
        """Call `listener` with every object whose outcome changes."""
        self._listeners.append(listener)

    def get(self, origin: Origin) -> Outcome | None:
        """Return the outcome, or None if nothing is known yet."""
        return self._outcomes.get(origin)

    def put(self, origin: Origin, outcome: Outcome) -> None:
        """Set an outcome; an equal one is no change."""
        if self._outcomes.get(origin) == outcome:
            return
        self._outcomes[origin] = outcome
        for listener in self._listeners:
            listener(origin)

    def drop(self, origin: Origin) -> None:
        """Forget an object that is gone."""
        self._outcomes.pop(origin, None)
