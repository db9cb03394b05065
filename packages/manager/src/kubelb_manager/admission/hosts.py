"""Which host names cover names in common.

Between tenants a wildcard covers every name below it, at any depth: an Ingress' wildcard stands for one label, but
those of Gateway API and of DNS records for any number, and certificates and records are shared by the whole hub.
`*` overlaps with nothing but itself: it stands for what nobody else named.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

from kubelb_manager.ir.model import ANY_HOST, Host

T = TypeVar("T", bound=Hashable)
_WILDCARD = "*."


def suffixes(host: Host) -> Iterator[str]:
    """Yield what follows each dot of `host`, longest first: `a.b.c` and `*.b.c` give `b.c` and `c`."""
    rest = str(host)
    while (cut := rest.find(".")) >= 0:
        rest = rest[cut + 1 :]
        yield rest


def overlap(one: Host, other: Host) -> bool:
    """Whether a name exists that both cover."""
    if one == other:
        return True
    return any(
        wildcard.startswith(_WILDCARD) and wildcard[len(_WILDCARD) :] in suffixes(name)
        for wildcard, name in ((one, other), (other, one))
    )


class HostIndex(Generic[T]):
    """Values by host name, found by every host that overlaps with theirs."""

    __slots__ = ("_below", "_values")

    def __init__(self) -> None:
        self._values: dict[Host, set[T]] = {}
        #: Names by each of their suffixes.
        self._below: dict[str, set[Host]] = {}

    def add(self, host: Host, value: T) -> None:
        """Put a value under a host."""
        known = self._values.get(host)
        if known is not None:
            known.add(value)
            return
        self._values[host] = {value}
        for suffix in suffixes(host):
            self._below.setdefault(suffix, set()).add(host)

    def discard(self, host: Host, value: T) -> None:
        """Take a value away from under a host; nothing happens if it is not there."""
        values = self._values.get(host)
        if values is None:
            return
        values.discard(value)
        if values:
            return
        del self._values[host]
        for suffix in suffixes(host):
            below = self._below[suffix]
            below.discard(host)
            if not below:
                del self._below[suffix]

    def at(self, host: Host) -> AbstractSet[T]:
        """Return the values under exactly this host."""
        return self._values.get(host, frozenset())

    def overlapping(self, host: Host) -> Iterator[tuple[Host, AbstractSet[T]]]:
        """Yield every host that overlaps with `host`, itself first, and its values; change nothing meanwhile."""
        for other in self._candidates(host):
            values = self._values.get(other)
            if values is not None:
                yield other, values

    def _candidates(self, host: Host) -> Iterator[Host]:
        yield host
        if host == ANY_HOST:
            return
        for suffix in suffixes(host):
            above = Host(_WILDCARD + suffix)
            if above != host:
                yield above
        if host.startswith(_WILDCARD):
            yield from (below for below in self._below.get(host[len(_WILDCARD) :], ()) if below != host)
