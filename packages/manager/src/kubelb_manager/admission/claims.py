"""Whose a host is, between tenants (ruling 6).

What can happen to a host's claim:

    free ──> held ──> released ──> free
              ^          │
              └──────────┘   (something of the same tenant names it again)

* The first tenant of which an accepted object names a host (or an overlapping one) gets the claim. Of several that
  come at once the one whose object the hub created first; nothing that a tenant writes decides.
* An object is served when every host that it names is held by its tenant *in the record*: the leader writes the claim
  before any replica publishes the host, so two tenants are never served for one name.
* When nothing of the tenant names the host any more it is released, and still the tenant's for the hold-down: what
  is restored or made again in that time finds its hosts. After that the claim goes.
* An admin may remove an entry, or give it to another tenant, at any time; the objects follow.

All of it is a function of the record, the wishes and the time; a restart reads the record and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from kubelb_manager.admission.hosts import HostIndex
from kubelb_manager.admission.record import Claim
from kubelb_manager.ir.model import Host, Origin


class Standing(StrEnum):
    """What the record says of an object's hosts."""

    #: All are its tenant's.
    HELD = "Held"
    #: One is another tenant's, itself or by a wildcard.
    TAKEN = "Taken"
    #: The leader has not decided yet.
    OPEN = "Open"


class Wish(NamedTuple):
    """Hosts that an accepted object names; `created` is the hub's creation time, as text that sorts."""

    tenant: str
    created: str
    hosts: frozenset[Host]


class Decision(NamedTuple):
    """What the leader has to write, and when it has to look again at the latest.

    Attributes:
        changes: new claims by host; None removes.
        refused: hosts asked for by a tenant that another one has: (host, who asks, who has it).
        look_again: when the next hold-down ends.
        origins, hosts: what was looked at, for `Book.undo`.
    """

    changes: Mapping[Host, Claim | None]
    refused: tuple[tuple[Host, str, str], ...]
    look_again: datetime | None
    origins: frozenset[Origin] = frozenset()
    hosts: frozenset[Host] = frozenset()


@dataclass(slots=True)
class Book:
    """The record as it is known here, and the wishes of all objects."""

    _claims: dict[Host, Claim] = field(default_factory=dict)
    _tenants: HostIndex[str] = field(default_factory=HostIndex)
    _wishes: dict[Origin, Wish] = field(default_factory=dict)
    _wishers: HostIndex[Origin] = field(default_factory=HostIndex)
    #: Objects whose hosts may have to be claimed.
    _dirty: set[Origin] = field(default_factory=set)
    #: Held hosts that perhaps nobody names any more.
    _idle: set[Host] = field(default_factory=set)
    #: Released hosts.
    _released: dict[Host, datetime] = field(default_factory=dict)

    # What is known -----------------------------------------------------------------------------

    def put(self, host: Host, claim: Claim | None) -> frozenset[Origin]:
        """Take what the record says of a host now; return the objects of which the standing may have changed."""
        before = self._claims.get(host)
        if before == claim:
            return frozenset()
        if before is not None:
            self._tenants.discard(host, before.tenant)
            self._released.pop(host, None)
        if claim is None:
            del self._claims[host]
        else:
            self._claims[host] = claim
            self._tenants.add(host, claim.tenant)
            if claim.released is None:
                self._idle.add(host)
            else:
                self._released[host] = claim.released
        concerned = frozenset(origin for _, origins in self._wishers.overlapping(host) for origin in origins)
        self._dirty |= concerned
        return concerned

    def wish(self, origin: Origin, wish: Wish | None) -> bool:
        """Take which hosts an object names, None for none; return whether the leader may have something to do."""
        before = self._wishes.get(origin)
        if wish is not None and not wish.hosts:
            wish = None
        if before == wish:
            return False
        if before is not None:
            for host in before.hosts:
                self._wishers.discard(host, origin)
            self._idle |= before.hosts
        if wish is None:
            del self._wishes[origin]
            self._dirty.discard(origin)
        else:
            self._wishes[origin] = wish
            for host in wish.hosts:
                self._wishers.add(host, origin)
            self._dirty.add(origin)
        return bool(before) or self.standing(origin) is Standing.OPEN

    def standing(self, origin: Origin) -> Standing:
        """Return what the record says of an object's hosts; HELD for one that names none."""
        wish = self._wishes.get(origin)
        if wish is None:
            return Standing.HELD
        if self.taken(origin) is not None:
            return Standing.TAKEN
        held = all(self._claims.get(host) == Claim(wish.tenant) for host in wish.hosts)
        return Standing.HELD if held else Standing.OPEN

    def taken(self, origin: Origin) -> Host | None:
        """Return the first host of an object, by name, that is another tenant's."""
        wish = self._wishes.get(origin)
        if wish is None:
            return None
        return next((host for host in sorted(wish.hosts) if self._other(host, wish.tenant) is not None), None)

    def claims(self) -> Mapping[Host, Claim]:
        """Return the whole record."""
        return self._claims

    # What to write, for the leader ---------------------------------------------------------------

    def decide(self, now: datetime, hold: timedelta, *, unknown: Iterable[str] = ()) -> Decision:
        """Return what the record should say instead; `put` the same when it is written, else `undo` this.

        Args:
            now: the wall clock.
            hold: how long a released host stays its tenant's.
            unknown: tenants of which not all objects were judged yet: nothing of theirs is released.
        """
        unsure = frozenset(unknown)
        changes: dict[Host, Claim | None] = {}
        for host, since in self._released.items():
            if since + hold <= now:
                changes[host] = None  # whoever waits for it comes with the record's change
        origins, self._dirty = self._dirty, set()
        refused = self._grant(origins, changes)
        idle = {host for host in self._idle if host not in self._claims or self._claims[host].tenant not in unsure}
        self._idle -= idle
        for host in idle:
            claim = self._claims.get(host)
            if claim is not None and claim.released is None and not self._is_wished(host, claim.tenant):
                changes[host] = Claim(claim.tenant, now)
        return Decision(changes, refused, self._next_end(hold, changes, now), frozenset(origins), frozenset(idle))

    def undo(self, decision: Decision) -> None:
        """Have the same things looked at again, because the record could not be written."""
        self._dirty |= decision.origins & self._wishes.keys()
        self._idle |= decision.hosts

    def _grant(self, origins: Iterable[Origin], changes: dict[Host, Claim | None]) -> tuple[tuple[Host, str, str], ...]:
        """Add a claim on every host of each object of which no host is another tenant's."""
        refused: list[tuple[Host, str, str]] = []
        fresh: HostIndex[str] = HostIndex()
        for origin in sorted(origins, key=lambda item: (self._wishes[item].created, item.namespace, item.name)):
            tenant, _, hosts = self._wishes[origin]
            lost = [(host, tenant, other) for host in sorted(hosts) if (other := self._other(host, tenant, fresh))]
            refused += lost
            for host in () if lost else hosts:
                fresh.add(host, tenant)
                if self._claims.get(host) != Claim(tenant):
                    changes[host] = Claim(tenant)
        return tuple(refused)

    def _other(self, host: Host, tenant: str, *more: HostIndex[str]) -> str | None:
        """Return another tenant that has `host`, itself or by a wildcard, in the record or in `more`."""
        indexes = (self._tenants, *more)
        others = (name for index in indexes for _, found in index.overlapping(host) for name in found if name != tenant)
        return next(others, None)

    def _is_wished(self, host: Host, tenant: str) -> bool:
        return any(self._wishes[origin].tenant == tenant for origin in self._wishers.at(host))

    def _next_end(self, hold: timedelta, changes: Mapping[Host, Claim | None], now: datetime) -> datetime | None:
        ends = [since + hold for host, since in self._released.items() if host not in changes]
        ends += [now + hold for claim in changes.values() if claim is not None and claim.released is not None]
        return min(ends, default=None)
