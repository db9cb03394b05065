"""The tables of all fleets, the streams that are served from them, and how far each stream is.

Everything here is synchronous and belongs to one event loop. `publish` hands each stream's responses to
its sender before it returns: nothing is batched, and there is no moment at which a stream's view is older
than the cache's. `on_progress` handlers run after the responses of the same event were handed over, so a
handler may publish; it is never called from within `publish`.

A fleet that was not published yet is not an empty fleet: its streams stay open and are told nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kubelb_manager.delivery.messages import Nack, Request, Response, Snapshot
from kubelb_manager.delivery.stream import DeltaStream
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, TYPES, Resource, ResourceTable

Send = Callable[[list[Response]], None]


@dataclass(frozen=True, slots=True)
class StreamProgress:
    """How far one Envoy is; what it `has` is asked of the live stream.

    Attributes:
        pod: from its node id.
        acknowledged: type URL -> generation up to which this Envoy acknowledged everything of that type. Advances by
            itself when nothing of the type differs. A refused resource holds it back, so where others must go on
            ask `has` for the resources that matter.
        nacks: what this Envoy refuses now.
        number: of the stream, a later one has a greater: tells a pod that came back from one that stayed.
    """

    pod: str
    acknowledged: Mapping[str, int]
    nacks: tuple[Nack, ...]
    number: int
    _stream: DeltaStream

    def has(self, type_url: str, name: str) -> bool:
        """Whether this Envoy acknowledged that resource in the version served now."""
        return self._stream.has_current(type_url, name)

    def has_endpoints(self, cluster: str) -> bool:
        """Whether this Envoy acknowledged that cluster's endpoints in the version served now: it can be routed to."""
        return self._stream.has_current(ENDPOINTS, cluster)

    def may_have_cluster(self, cluster: str) -> bool:
        """Whether this Envoy has, or could still have, that cluster: its node port may not be given away."""
        return self._stream.may_have(CLUSTER, cluster)


@dataclass(frozen=True, slots=True)
class FleetProgress:
    """The fleet's current generation (0: not published) and its open streams, one per pod, sorted by pod."""

    generation: int
    streams: tuple[StreamProgress, ...]


@dataclass(slots=True)
class _Fleet:
    snapshot: Snapshot | None = None
    sessions: list[Session] = field(default_factory=list)


class Session:
    """An open stream: its protocol machine, and how to reach its writer. Made by `Cache.connect`."""

    def __init__(self, cache: Cache, fleet_key: str, pod: str, send: Send, end: Callable[[], None]) -> None:
        self._cache = cache
        self.fleet_key = fleet_key
        self.pod = pod
        self.number = next(cache.numbers)
        self.send = send
        self.end = end
        self.stream = DeltaStream(cache.snapshot(fleet_key))

    def on_request(self, request: Request) -> None:
        """Take a request: responses go to the sender, then progress is told if it was an answer to one."""
        self.send(self.stream.on_request(request))
        self._cache.tell(self.fleet_key)

    def close(self) -> None:
        """The stream has ended, whoever ended it. Again is harmless."""
        self.stream.on_close()
        self._cache.disconnect(self)


class Cache:
    """What every fleet is served, and to whom."""

    def __init__(self) -> None:
        self._fleets: dict[str, _Fleet] = {}
        self._generations = itertools.count(1)
        self.numbers = itertools.count(1)
        self._handlers: list[Callable[[str], None]] = []

    # The publishing side -----------------------------------------------------------------------

    def publish(self, fleet_key: str, table: ResourceTable, *, clusters_only: bool = False) -> int:
        """Serve `table` to the fleet from now on and return its generation, a number that only grows.

        A table equal to the one before is the same generation, and nothing is sent. With
        `clusters_only` Envoys keep whatever listeners and routes they have until the next publication.
        """
        fleet = self._fleets.setdefault(fleet_key, _Fleet())
        before = fleet.snapshot
        changed = differences({} if before is None else before.table, table)
        if before is not None and not changed and before.clusters_only == clusters_only:
            return before.generation
        fleet.snapshot = Snapshot(next(self._generations), table, clusters_only)
        for session in tuple(fleet.sessions):
            session.send(session.stream.on_publish(fleet.snapshot, changed))
        return fleet.snapshot.generation

    def remove(self, fleet_key: str) -> None:
        """Forget a fleet that is gone; its streams are closed."""
        fleet = self._fleets.pop(fleet_key, None)
        for session in () if fleet is None else tuple(fleet.sessions):
            session.stream.on_close()
            session.end()

    def progress(self, fleet_key: str) -> FleetProgress:
        """Return how far the fleet's Envoys are. Of two streams of one pod, the newer one counts."""
        fleet = self._fleets.get(fleet_key)
        if fleet is None:
            return FleetProgress(0, ())
        newest = {session.pod: session for session in fleet.sessions}
        streams = tuple(_progress(session) for _, session in sorted(newest.items()))
        return FleetProgress(0 if fleet.snapshot is None else fleet.snapshot.generation, streams)

    def fleets(self) -> tuple[str, ...]:
        """Return the keys of the fleets that are published or connected, sorted."""
        return tuple(sorted(self._fleets))

    def on_progress(self, handler: Callable[[str], None]) -> None:
        """Call `handler` with the fleet's key when a stream of it connects, closes, acknowledges or refuses."""
        self._handlers.append(handler)

    # The serving side --------------------------------------------------------------------------

    def snapshot(self, fleet_key: str) -> Snapshot | None:
        """Return what the fleet is served now, None if it was not published."""
        fleet = self._fleets.get(fleet_key)
        return None if fleet is None else fleet.snapshot

    def connect(self, fleet_key: str, pod: str, send: Send, end: Callable[[], None]) -> Session:
        """Open a stream of the fleet.

        Args:
            fleet_key: of the fleet; it need not be published yet.
            pod: from the node id.
            send: takes responses, in order; must not block or fail.
            end: ends the stream from this side; must not block or fail.
        """
        session = Session(self, fleet_key, pod, send, end)
        self._fleets.setdefault(fleet_key, _Fleet()).sessions.append(session)
        self.tell(fleet_key)
        return session

    def disconnect(self, session: Session) -> None:
        """Take an ended stream out of the books; a fleet that is not published leaves with its last stream."""
        fleet = self._fleets.get(session.fleet_key)
        if fleet is None or session not in fleet.sessions:
            return
        fleet.sessions.remove(session)
        if not fleet.sessions and fleet.snapshot is None:
            del self._fleets[session.fleet_key]
        self.tell(session.fleet_key)

    def tell(self, fleet_key: str) -> None:
        """Call the progress handlers."""
        for handler in self._handlers:
            handler(fleet_key)


def _progress(session: Session) -> StreamProgress:
    stream = session.stream
    acknowledged = {url: stream.acknowledged(url) for url in TYPES}
    return StreamProgress(session.pod, acknowledged, stream.nacks(), session.number, stream)


def differences(before: ResourceTable, after: ResourceTable) -> dict[str, set[str]]:
    """Return by type the names whose version differs, or that only one table has; types without any are left out.

    A mapping, or a resource, that is the same object in both is not looked into.
    """
    changed: dict[str, set[str]] = {}
    for url in before.keys() | after.keys():
        old, new = before.get(url, {}), after.get(url, {})
        names = set() if old is new else _changed_names(old, new)
        if names:
            changed[url] = names
    return changed


def _changed_names(old: Mapping[str, Resource], new: Mapping[str, Resource]) -> set[str]:
    names = set(old.keys() - new.keys())
    for name, each in new.items():
        other = old.get(name)
        if other is not each and (other is None or other.version != each.version):
            names.add(name)
    return names
