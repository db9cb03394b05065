"""How many objects and host names one tenant may have; the oldest stay.

Age is the hub's own creation time, which no tenant writes, then the name: the same objects give the same answer on
every replica and after every restart. Texts name the limit and not the live use of it, so that an object beyond the
limit is told once, and not again whenever another one comes or goes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kubelb_manager.ir.model import Host, Origin, Share
from kubelb_manager.settings.limits import Limits
from kubelb_manager.translate.result import Problem, Reason


class Counted(NamedTuple):
    """What of an object counts.

    Attributes:
        kind: `LoadBalancer`, `Route` or `Gateway` (a Route that carries one, which counts as both).
        created: the hub's creation time as it stands in the object (RFC 3339, so it sorts).
        hosts: well-formed host names that it names.
    """

    kind: str
    created: str
    hosts: frozenset[Host] = frozenset()


_Age = tuple[str, str]
#: Which kinds count against which limit, and how people call it.
_LISTS: Mapping[str, tuple[str, ...]] = {
    "LoadBalancer": ("load_balancers",),
    "Route": ("routes",),
    "Gateway": ("routes", "gateways"),
}
_SPOKEN = {"load_balancers": "loadBalancers", "routes": "routes", "gateways": "gateways"}


@dataclass(slots=True)
class Quota:
    """One tenant's objects and what its limits say of each."""

    limits: Limits = field(default_factory=Limits)
    _counted: dict[Origin, Counted] = field(default_factory=dict)
    _ages: dict[str, list[tuple[_Age, Origin]]] = field(default_factory=lambda: {name: [] for name in _SPOKEN})
    _hosts: Counter[Host] = field(default_factory=Counter)
    _beyond: frozenset[Origin] = frozenset()

    def set_limits(self, limits: Limits) -> frozenset[Origin]:
        """Take new limits; return the objects of which the answer changed."""
        if limits == self.limits:
            return frozenset()
        before = self._refused()
        self.limits = limits
        self._beyond = self._beyond_hosts()
        return before ^ self._refused()

    def put(self, origin: Origin, counted: Counted | None) -> frozenset[Origin]:
        """Take an object as it is now, None if it is gone; return the *other* objects of which the answer changed."""
        known = self._counted.get(origin)
        if known == counted:
            return frozenset()
        moved: set[Origin] = set()
        if known is not None:
            moved |= self._remove(origin, known)
        if counted is not None:
            moved |= self._add(origin, counted)
        if self.limits.hosts is not None:
            beyond = self._beyond_hosts()
            moved |= beyond ^ self._beyond
            self._beyond = beyond
        return frozenset(moved - {origin})

    def refusal(self, origin: Origin) -> Problem | None:
        """Return why an object is beyond a limit, or None."""
        counted = self._counted.get(origin)
        if counted is None:
            return None
        for name in _LISTS[counted.kind]:
            limit = getattr(self.limits, name)
            if limit is not None and self._place(name, origin, counted) >= limit:
                said = _SPOKEN[name]
                return Problem(
                    Reason.LIMIT_EXCEEDED, f"The limit limits.{said} of this tenant is {limit}; older ones use it up."
                )
        if origin in self._beyond:
            text = (
                f"The limit limits.hosts of this tenant is {self.limits.hosts} host names; "
                "those of older objects leave too few for the ones that are named here."
            )
            return Problem(Reason.LIMIT_EXCEEDED, text)
        return None

    def __contains__(self, origin: Origin) -> bool:
        return origin in self._counted

    @property
    def is_empty(self) -> bool:
        """Whether the tenant has no object."""
        return not self._counted

    def _add(self, origin: Origin, counted: Counted) -> set[Origin]:
        self._counted[origin] = counted
        self._hosts.update(counted.hosts)
        moved: set[Origin] = set()
        for name in _LISTS[counted.kind]:
            ages, limit = self._ages[name], getattr(self.limits, name)
            insort(ages, ((counted.created, origin.name), origin))
            if limit is not None and len(ages) > limit:
                moved.add(ages[limit][1])  # it has just been pushed out, unless it is the new one
        return moved

    def _remove(self, origin: Origin, counted: Counted) -> set[Origin]:
        del self._counted[origin]
        self._hosts.subtract(counted.hosts)
        for host in counted.hosts:
            if not self._hosts[host]:
                del self._hosts[host]
        moved: set[Origin] = set()
        for name in _LISTS[counted.kind]:
            ages, limit = self._ages[name], getattr(self.limits, name)
            del ages[self._place(name, origin, counted)]
            if limit is not None and 0 < limit <= len(ages):
                moved.add(ages[limit - 1][1])
        return moved

    def _place(self, name: str, origin: Origin, counted: Counted) -> int:
        return bisect_left(self._ages[name], ((counted.created, origin.name), origin))

    def _beyond_hosts(self) -> frozenset[Origin]:
        """Return the objects whose hosts find no room; costs nothing while all hosts together are within the limit."""
        limit = self.limits.hosts
        if limit is None or len(self._hosts) <= limit:
            return frozenset()
        taken: set[Host] = set()
        beyond: set[Origin] = set()
        room = len(self._ages["routes"]) if self.limits.routes is None else self.limits.routes
        for _, origin in self._ages["routes"][:room]:
            hosts = self._counted[origin].hosts
            if len(taken | hosts) <= limit:
                taken |= hosts
            else:
                beyond.add(origin)
        return frozenset(beyond)

    def _refused(self) -> frozenset[Origin]:
        return frozenset(origin for origin in self._counted if self.refusal(origin) is not None)


def share(limits: Limits, ready: int) -> Share:
    """Return what one of so many ready Envoys may give a tenant (ruling 20): together never less than the limit."""
    return Share(_each(limits.connections, ready), _each(limits.requests_per_second, ready))


def _each(limit: int | None, ready: int) -> int | None:
    return None if limit is None else -(-limit // max(1, ready))
