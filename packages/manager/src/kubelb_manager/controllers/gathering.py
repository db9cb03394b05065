"""What is known of a fleet's Envoys, wherever they are connected: here, or at a replica that reports to us.

On every replica: what we know of our own Envoys goes into the report. On the leader: what others report is in the
book. Who does not lead answers for its own Envoys only and tells nobody else (`leads`).
"""

from __future__ import annotations

from collections.abc import Callable

from kubelb_common.runtime.clock import Clock
from kubelb_manager.delivery.cache import Cache
from kubelb_manager.ir.model import FleetId, Origin
from kubelb_manager.peers.book import NOWHERE, Book, Elsewhere
from kubelb_manager.peers.report import Connected, Report


class Gathering:
    """Joins the cache's own streams with the other replicas' pages.

    Args:
        cache: our own streams.
        clock: for the ages of streams.
    """

    def __init__(self, cache: Cache, clock: Clock) -> None:
        self.book = Book()
        self.report = Report(clock.monotonic)
        #: Whether this replica says what becomes of objects.
        self.leads = False
        self._cache = cache
        self._clock = clock
        self._opened: dict[tuple[str, str], tuple[int, float]] = {}
        self._listeners: list[Callable[[], None]] = []
        cache.on_progress(self._on_progress)

    def on_term(self, listener: Callable[[], None]) -> None:
        """Call `listener` when we begin to lead, or lead no more."""
        self._listeners.append(listener)

    def lead(self, *, leads: bool) -> None:
        """A term begins, or has ended."""
        self.leads = leads
        for listener in self._listeners:
            listener()

    def elsewhere(self, fleet: FleetId) -> Elsewhere:
        """Return what is known of a fleet's pods that are connected to other replicas, and only there."""
        if not self.leads:
            return NOWHERE
        own = {pod: each.opened for pod, each in self.report.pods(fleet.key).items()}
        return self.book.elsewhere(fleet.key).without(own)

    def look(self, fleet: FleetId) -> None:
        """See how far our own Envoys are; a publication moves what they acknowledged where it changes nothing."""
        self._on_progress(fleet.key)

    def forget(self, fleet: FleetId) -> None:
        """Drop a fleet that is gone."""
        self.report.drop(fleet.key)

    def gone(self, fleet: FleetId, origin: Origin) -> None:
        """Drop an object that this replica has nothing of."""
        self.report.put(fleet.key, origin, None)

    def _on_progress(self, fleet: str) -> None:
        now = self._clock.monotonic()
        pods: dict[str, Connected] = {}
        for stream in self._cache.progress(fleet).streams:
            number, opened = self._opened.get((fleet, stream.pod), (0, now))
            if number != stream.number:
                opened = now
            self._opened[fleet, stream.pod] = (stream.number, opened)
            pods[stream.pod] = Connected(opened, stream.acknowledged)
        for key in [key for key in self._opened if key[0] == fleet and key[1] not in pods]:
            del self._opened[key]
        self.report.put_pods(fleet, pods)
