"""The one place that gives out Envoy's ports: to LoadBalancers, and to Services of delegated Routes.

The table itself is the status of the objects. What was given out is remembered here until the store
has the status that holds it, so that two objects never get one port in between. Only the leader's
controllers call it, and each term begins with the statuses alone; others read the status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kubelb_common.kube.port import Object
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.gather.stores import BY_PORT, Informers
from kubelb_manager.ir.model import Origin
from kubelb_manager.ports.table import Allocation, PortKey, allocate, from_status, joined, losers


@dataclass(slots=True)
class PortLedger:
    """Ports by key. All fleets of a namespace share one range; in the global fleet all tenants do."""

    informers: Informers
    fleets: Fleets
    _given: dict[PortKey, int] = field(default_factory=dict)
    #: Objects for which no port was left.
    _unserved: set[Origin] = field(default_factory=set)
    _listeners: list[Callable[[Origin], None]] = field(default_factory=list)

    def on_moved(self, listener: Callable[[Origin], None]) -> None:
        """Call `listener` with every object that has to ask again: it lost a port, or one has come free for it."""
        self._listeners.append(listener)

    def forget(self) -> None:
        """A term begins: another leader may have given out ports meanwhile, and the statuses say which."""
        self._given.clear()
        self._unserved.clear()

    def assign(self, holder: Origin, wanted: Iterable[PortKey]) -> Allocation:
        """Return a port for every key that a LoadBalancer or Route wants; others it had go with its status."""
        within = None if self.fleets.target(holder) == self.fleets.shared_by_all else holder.namespace
        stores = (self.informers.load_balancers.store, self.informers.routes.store)
        held: list[Object] = [obj for store in stores for obj in store.list(within)]
        table = from_status(held)
        for loser in losers(held, table) - {tuple(holder)}:
            # Two leaders gave out one port, the one before without knowing that it was none any more.
            self._tell(Origin(*loser))
        table = joined(table, {key: port for key, port in self._given.items() if within in (None, key.namespace)})
        elsewhere = set() if within is None else {port for key, port in self._given.items() if key.namespace != within}

        def is_taken(port: int) -> bool:
            return port in elsewhere or any(store.has(BY_PORT, str(port)) for store in stores)

        found = allocate(table, wanted, avoid=is_taken)
        (self._unserved.add if found.unserved else self._unserved.discard)(holder)
        self._keep(holder, frozenset(found.ports))
        self._given |= found.ports
        return found

    def release(self, holder: Origin) -> None:
        """Forget an object that is gone; others may have its ports."""
        self._keep(holder, frozenset())
        self._unserved.discard(holder)
        for other in sorted(self._unserved):
            self._tell(other)

    def _keep(self, holder: Origin, keep: frozenset[PortKey]) -> None:
        for key in [key for key in self._given if key.holder == holder and key not in keep]:
            del self._given[key]

    def _tell(self, origin: Origin) -> None:
        for listener in self._listeners:
            listener(origin)
