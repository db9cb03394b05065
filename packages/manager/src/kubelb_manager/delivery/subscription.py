"""One type on one stream: what the client wants, has, and has been sent.

Per name there are three versions: *wanted* (the table's; None where the table has none), *sent*
(what the client has once it took everything on the way), *acknowledged* (what it said it took). None
as sent or acknowledged means that the client knows there is no such resource. A name is `pending`
while sent and wanted differ. Only names that something happened to are looked at, so a change costs
what it changes, however large the table is.

A refused response is taken apart: its resources are sent again in halves until each is accepted, or
refused alone. What was refused alone is not sent again in the same version, except when a removal was
acknowledged (a listener may have waited for another's port).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kubelb_manager.delivery.messages import WILDCARD, Nack, Request
from kubelb_manager.xds.resources import CLUSTER, LISTENER, Resource

Version = str | None

#: Types whose first request means everything when it names nothing (xDS protocol, "legacy wildcard").
_WILDCARD_BY_SILENCE = (CLUSTER, LISTENER)


@dataclass(slots=True)
class Flight:
    """A response on its way: which versions it carries (None = removal), and what its acknowledgement proves."""

    nonce: str
    versions: dict[str, Version]
    generation: int
    #: Everything of this type in `generation` is acknowledged with this response.
    complete: bool
    #: As `complete`, except for new resources that were refused: the client has nothing of those.
    harmless: bool


@dataclass(frozen=True, slots=True)
class _Refusal:
    version: Version
    message: str
    generation: int


@dataclass(slots=True)
class Subscription:
    """State of one type on one stream. `Stream` decides when to send; this knows what."""

    type_url: str
    table: Mapping[str, Resource]
    generation: int
    wildcard: bool = False
    named: set[str] = field(default_factory=set)
    sent: dict[str, Version] = field(default_factory=dict)
    acknowledged: dict[str, Version] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    #: To be sent although the client has this version already.
    again: set[str] = field(default_factory=set)
    refused: dict[str, _Refusal] = field(default_factory=dict)
    #: Parts of refused responses that still have to be tried, in order: name -> the version to try.
    suspects: deque[dict[str, Version]] = field(default_factory=deque)
    flights: deque[Flight] = field(default_factory=deque)
    #: Generation that a name, gone from the table, left it in.
    dropped: dict[str, int] = field(default_factory=dict)
    acknowledged_generation: int = 0
    #: As `acknowledged_generation`, but something new that was refused does not hold it back.
    harmless_generation: int = 0
    owes_answer: bool = False

    # What the client says ----------------------------------------------------------------------

    def open(self, request: Request) -> None:
        """Take the first request of the type: subscriptions, and what the client has from before."""
        names = set(request.subscribe)
        self.wildcard = WILDCARD in names or (not names and self.type_url in _WILDCARD_BY_SILENCE)
        self.named = names - {WILDCARD}
        for name, version in request.initial_versions.items():
            if self.wildcard or name in self.named:
                self.sent[name] = self.acknowledged[name] = version
        self.owes_answer = self.wildcard and not request.initial_versions
        self.examine_all()

    def change(self, request: Request) -> None:
        """Take later subscriptions and unsubscriptions.

        A name that is subscribed to again is answered again: the client may have dropped it meanwhile.
        """
        for name in request.unsubscribe:
            if name == WILDCARD:
                self.wildcard = False
                for each in [n for n in self.sent if n not in self.named]:
                    self._forget(each)
            else:
                self.named.discard(name)
                if not self.wildcard:
                    self._forget(name)
        for name in request.subscribe:
            if name == WILDCARD:
                self.wildcard = True
                self.examine_all()
            else:
                self.named.add(name)
                self.sent.pop(name, None)
                self.refused.pop(name, None)
                self.examine((name,))

    def take(self, nonce: str, error: str | None) -> bool:
        """Take an acknowledgement, or a refusal with its text; False if `nonce` is not on its way."""
        flight = next((each for each in self.flights if each.nonce == nonce), None)
        if flight is None:
            return False
        if error is None:
            self._accepted(flight)
        else:
            self._refused(flight, error)
        return True

    # What is served ----------------------------------------------------------------------------

    def serve(self, table: Mapping[str, Resource], generation: int, changed: Iterable[str]) -> None:
        """Serve `table` from now on; `changed` are all names that differ from before."""
        self.table = table
        self.generation = generation
        self.examine(changed)

    def examine_all(self) -> None:
        """Look at every name that could matter."""
        names = self.named | self.sent.keys()
        self.examine(names | self.table.keys() if self.wildcard else names)

    def examine(self, names: Iterable[str]) -> None:
        """Find out for `names` whether the client lacks something."""
        for name in names:
            if not self._in_scope(name) and name not in self.sent:
                continue
            wanted = self.wanted(name)
            if wanted is None:
                self.again.discard(name)
                self.dropped.setdefault(name, self.generation)
            else:
                self.dropped.pop(name, None)
            # Who asked for a name that does not exist is told so; who did not, is told nothing.
            known = name in self.sent or (wanted is None and name not in self.named)
            if known and self.sent.get(name) == wanted and name not in self.again:
                self._settled_name(name)
            else:
                self.pending.add(name)

    def send_again(self, name: str) -> None:
        """Send `name` once more although its version is the same, as soon as the client asks for it."""
        if name in self.table:
            self.again.add(name)
            self.examine((name,))

    def wanted(self, name: str) -> Version:
        """Return the version to be served, None if there is no such resource."""
        found = self.table.get(name)
        return None if found is None else found.version

    # What to send next -------------------------------------------------------------------------

    def additions(self) -> list[str]:
        """Return the names to send now that exist; only the next suspects while a refusal is taken apart."""
        while self.suspects:
            group = [n for n, v in self.suspects[0].items() if n in self.pending and self.wanted(n) == v is not None]
            if group:
                return sorted(group)
            self.suspects.popleft()
        return sorted(n for n in self.pending if self.wanted(n) is not None and not self._is_refused(n))

    def answers_of_absence(self) -> list[str]:
        """Return names that the client asked for, has nothing of, and that do not exist."""
        return sorted(n for n in self.pending if self.wanted(n) is None and self.sent.get(n) is None)

    def removals(self) -> list[str]:
        """Return names that the client has, or may have, and that exist no more."""
        return sorted(
            n
            for n in self.pending
            if self.wanted(n) is None and self.sent.get(n) is not None and not self._is_refused(n)
        )

    def depart(self, nonce: str, additions: list[str], removed: list[str]) -> None:
        """Note a response with these names as sent."""
        versions = {name: self.wanted(name) for name in (*additions, *removed)}
        self.sent.update(versions)
        self.again.difference_update(additions)
        if additions and self.suspects:
            self.suspects.popleft()
        self.pending.difference_update(versions)
        self.owes_answer = False
        self.flights.append(
            Flight(nonce, versions, self.generation, complete=not self.pending, harmless=self._only_new_refused())
        )

    # What is known -----------------------------------------------------------------------------

    def note_generation(self) -> None:
        """Move the acknowledged generations up to the current one if nothing of this type is open."""
        if self.flights or self.suspects:
            return
        if not self.pending:
            self.acknowledged_generation = self.harmless_generation = self.generation
        elif self._only_new_refused():
            self.harmless_generation = self.generation

    def has_current(self, name: str) -> bool:
        """Whether the client acknowledged `name` in the version that is served now."""
        wanted = self.wanted(name)
        return wanted is not None and self.acknowledged.get(name) == wanted

    def may_have(self, name: str) -> bool:
        """Whether the client has `name` in any version, or could have taken it."""
        return (
            self.acknowledged.get(name) is not None
            or any(flight.versions.get(name) is not None for flight in self.flights)
            or any(name in group for group in self.suspects)
        )

    def new_in_flight(self) -> set[str]:
        """Return the names on their way that the client had in no version."""
        return {
            name
            for flight in self.flights
            for name, version in flight.versions.items()
            if version is not None and self.acknowledged.get(name) is None
        }

    def nacks(self) -> list[Nack]:
        """Return what the client refuses now."""
        return [
            Nack(self.type_url, (name,), refusal.message, refusal.generation)
            for name, refusal in sorted(self.refused.items())
        ]

    # -------------------------------------------------------------------------------------------

    def _accepted(self, flight: Flight) -> None:
        index = self.flights.index(flight)
        del self.flights[index]
        for earlier in itertools.islice(self.flights, index):
            # Should its acknowledgement come after this one, it must not undo what this one says.
            for name in flight.versions:
                earlier.versions.pop(name, None)
        for name, version in flight.versions.items():
            if not self._in_scope(name):
                continue
            self.refused.pop(name, None)
            if version is None and name not in self.named:
                self.acknowledged.pop(name, None)
                if self.sent.get(name) is None:
                    self.sent.pop(name, None)
                    self.dropped.pop(name, None)
            else:
                self.acknowledged[name] = version
        if self.type_url == LISTENER and None in flight.versions.values():
            self.refused.clear()
        if flight.complete:
            self.acknowledged_generation = max(self.acknowledged_generation, flight.generation)
        if flight.complete or flight.harmless:
            self.harmless_generation = max(self.harmless_generation, flight.generation)

    def _refused(self, flight: Flight, message: str) -> None:
        index = self.flights.index(flight)
        del self.flights[index]
        later = {name for each in itertools.islice(self.flights, index, None) for name in each.versions}
        for each in self.flights:
            each.complete = each.harmless = False
        before = dict(self.acknowledged)
        for each in itertools.islice(self.flights, index):
            before |= each.versions
        for name in flight.versions.keys() - later:
            if name in before:
                self.sent[name] = before[name]
            else:
                self.sent.pop(name, None)
        additions = {name: version for name, version in flight.versions.items() if version is not None}
        if len(additions) > 1:
            names = sorted(additions)
            half = len(names) // 2
            self.suspects.extendleft({name: additions[name] for name in part} for part in (names[half:], names[:half]))
        else:
            for name, version in (additions or flight.versions).items():
                self.refused[name] = _Refusal(version, message, flight.generation)
        self.examine(flight.versions)

    def _is_refused(self, name: str) -> bool:
        refusal = self.refused.get(name)
        return refusal is not None and refusal.version == self.wanted(name)

    def _only_new_refused(self) -> bool:
        return all(self._is_refused(name) and self.acknowledged.get(name) is None for name in self.pending)

    def _in_scope(self, name: str) -> bool:
        return self.wildcard or name in self.named

    def _settled_name(self, name: str) -> None:
        self.pending.discard(name)
        self.refused.pop(name, None)

    def _forget(self, name: str) -> None:
        for mapping in (self.sent, self.acknowledged, self.refused, self.dropped):
            mapping.pop(name, None)
        self.pending.discard(name)
        self.again.discard(name)
