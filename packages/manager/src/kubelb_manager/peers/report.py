"""What this replica would tell a leader, kept up to date whether there is one to tell or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kubelb_manager.ir.model import Origin
from kubelb_manager.peers.model import ObjectState, PodState, Update

Key = str | Origin


class Connected(NamedTuple):
    """An Envoy that is connected: when its stream was opened, and what it acknowledged, as in PodState."""

    opened: float
    acknowledged: Mapping[str, int]


@dataclass(slots=True)
class Feed:
    """What one leader was not told yet; made by `Report.feed`."""

    report: Report
    wake: Callable[[], None]
    pending: dict[str, set[Key]] = field(default_factory=dict)

    def note(self, fleet: str, keys: Iterable[Key]) -> None:
        """Have these told."""
        self.pending.setdefault(fleet, set()).update(keys)
        self.wake()

    def take(self) -> list[Update]:
        """Return what is to be told now."""
        pending, self.pending = self.pending, {}
        return [self.report.update(fleet, keys) for fleet, keys in sorted(pending.items())]


@dataclass(slots=True)
class Report:
    """Pods and objects by fleet.

    Args:
        now: a clock in seconds; a pod's age is told as of the moment in which it is told.
    """

    now: Callable[[], float]
    _pods: dict[str, dict[str, Connected]] = field(default_factory=dict)
    _objects: dict[str, dict[Origin, ObjectState]] = field(default_factory=dict)
    _feeds: list[Feed] = field(default_factory=list)

    def put_pods(self, fleet: str, pods: dict[str, Connected]) -> None:
        """Set the fleet's connected pods."""
        before = self._pods.get(fleet, {})
        changed = {pod for pod in before.keys() | pods.keys() if before.get(pod) != pods.get(pod)}
        if pods:
            self._pods[fleet] = pods
        else:
            self._pods.pop(fleet, None)
        self._tell(fleet, changed)

    def put(self, fleet: str, origin: Origin, state: ObjectState | None) -> None:
        """Set where an object is; None: this replica has nothing of it."""
        objects = self._objects.setdefault(fleet, {})
        if objects.get(origin) == state:
            return
        if state is None:
            del objects[origin]
        else:
            objects[origin] = state
        self._tell(fleet, {origin})

    def pods(self, fleet: str) -> Mapping[str, Connected]:
        """Return the fleet's connected pods."""
        return self._pods.get(fleet, {})

    def drop(self, fleet: str) -> None:
        """Forget a fleet that is gone."""
        self._tell(fleet, set(self._objects.pop(fleet, {})))
        self.put_pods(fleet, {})

    def feed(self, wake: Callable[[], None]) -> Feed:
        """Return a feed that begins with everything."""
        feed = Feed(self, wake)
        for fleet in self._pods.keys() | self._objects.keys():
            feed.note(fleet, [*self._pods.get(fleet, ()), *self._objects.get(fleet, ())])
        self._feeds.append(feed)
        return feed

    def close(self, feed: Feed) -> None:
        """Nobody listens to this feed any more."""
        self._feeds.remove(feed)

    def update(self, fleet: str, keys: Iterable[Key]) -> Update:
        """Return what is so of `keys` now."""
        pods: dict[str, PodState | None] = {}
        objects: dict[Origin, ObjectState | None] = {}
        for key in keys:
            if isinstance(key, Origin):
                objects[key] = self._objects.get(fleet, {}).get(key)
            else:
                state = self._pods.get(fleet, {}).get(key)
                pods[key] = None if state is None else PodState(self.now() - state.opened, state.acknowledged)
        return Update(fleet, pods, objects)

    def _tell(self, fleet: str, keys: Iterable[Key]) -> None:
        found = list(keys)
        for feed in self._feeds if found else ():
            feed.note(fleet, found)
