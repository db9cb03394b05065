"""The table of Envoy's ports in one fleet.

What can happen: a LoadBalancer, or a Service of a delegated Route, asks for ports, comes back with more or
fewer, or goes; the manager restarts and reads the table back from the status of these objects. What holds
throughout:

* a port once given to a key stays with it for as long as the key's object exists;
* two keys never share a port, also if a damaged status says so (the first key in order keeps it);
* nothing outside `PORT_RANGE` and nothing in `RESERVED` is ever given out;
* the same table and the same wishes give the same result on every replica;
* a full range is a result (`Allocation.unserved`), not an error and not a search without end.

The search starts at a place that depends on the key, so a port that was just given back is rarely
the next one given out: packets of an old address that is still being torn down must not find
another application behind the same port.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted

PORT_RANGE = names.LISTENER_PORT_RANGE
#: More entries than this in one object's status are not looked at: where an old agent may write status, it must
#: not take the whole range. As many ports as one LoadBalancer may have (`declared.MAX_PORTS`).
MAX_ENTRIES = 256
#: HTTP and HTTPS listeners, Envoy's admin interface, its statistics, readiness and health listeners.
RESERVED: frozenset[int] = frozenset({8080, 8443, names.ENVOY_ADMIN_PORT, *names.OWN_PORT_RANGE})


class PortKey(NamedTuple):
    """A port that somebody offers behind one of Envoy's; port names play no part, so renaming one moves nothing.

    Attributes:
        namespace: the tenant's namespace in the management cluster.
        owner: a LoadBalancer's name, or `<Route>/<namespace>/<Service>` for a Service of a delegated Route.
        port: its own number.
        protocol: TCP or UDP.
    """

    namespace: str
    owner: str
    port: int
    protocol: str

    @property
    def holder(self) -> tuple[str, str, str]:
        """Kind, namespace and name of the object whose status keeps this port: an Origin."""
        name, slash, _ = self.owner.partition("/")
        return ("Route" if slash else "LoadBalancer"), self.namespace, name

    @property
    def service(self) -> str:
        """`namespace/name` of the Service of a delegated Route; empty for a LoadBalancer's port."""
        return self.owner.partition("/")[2]


def route_key(namespace: str, route: str, service: str, port: int) -> PortKey:
    """Return the key of a port of the Service `namespace/name` that a delegated Route uses."""
    return PortKey(namespace, f"{route}/{service}", port, "TCP")


@dataclass(frozen=True, slots=True)
class Allocation:
    """Envoy's port for each wanted key, and the keys for which none was left, in order."""

    ports: Mapping[PortKey, int]
    unserved: tuple[PortKey, ...] = ()


def _nobody_has(_port: int) -> bool:
    return False


def allocate(
    taken: Mapping[PortKey, int],
    wanted: Iterable[PortKey],
    reserved: Collection[int] = RESERVED,
    *,
    avoid: Callable[[int], bool] = _nobody_has,
) -> Allocation:
    """Return a port for every wanted key.

    Args:
        taken: the table so far, with the ports of objects that are still being removed.
        wanted: the keys that need a port; their order has no influence.
        reserved: ports that are never given out.
        avoid: whether another fleet has a port; such a one is given only where no other is left, so that an
            object keeps its port when its fleet comes to be shared with others (topology global).
    """
    used = set(taken.values()) | set(reserved)
    ports: dict[PortKey, int] = {}
    unserved: list[PortKey] = []
    for key in sorted(set(wanted)):
        port = taken.get(key)
        if port is None:
            port = _free_port(key, used, avoid)
        if port is None:
            unserved.append(key)
            continue
        used.add(port)
        ports[key] = port
    return Allocation(ports, tuple(unserved))


def _free_port(key: PortKey, used: Collection[int], avoid: Callable[[int], bool]) -> int | None:
    seed = hashlib.sha256("\0".join(map(str, key)).encode("utf-8", "backslashreplace")).digest()
    start = int.from_bytes(seed[:8]) % len(PORT_RANGE)
    avoided: int | None = None
    for step in range(len(PORT_RANGE)):
        port = PORT_RANGE[(start + step) % len(PORT_RANGE)]
        if port in used:
            continue
        if not avoid(port):
            return port
        avoided = avoided or port
    return avoided


def from_status(objects: Iterable[Object], reserved: Collection[int] = RESERVED) -> dict[PortKey, int]:
    """Return the table that the status of LoadBalancers and Routes holds.

    That is `status.service.ports`, and `status.resources.services[...].ports`. An entry that cannot be ours (out
    of range, reserved, not a number) is left out and will be allocated anew; of two keys with one port the
    first in order keeps it.
    """
    entries = sorted(entry for obj in objects for entry in _entries(obj))
    table: dict[PortKey, int] = {}
    owned: set[int] = set()
    for key, port in entries:
        if port in PORT_RANGE and port not in reserved and port not in owned and key not in table:
            table[key] = port
            owned.add(port)
    return table


def joined(table: Mapping[PortKey, int], given: Mapping[PortKey, int]) -> dict[PortKey, int]:
    """Return the table with what was given out and is in no status yet.

    A port that a status gives to another key by now is not kept: a leader before us wrote that one.
    """
    owners = {port: key for key, port in table.items()}
    return {**table, **{key: port for key, port in given.items() if owners.get(port, key) == key}}


def losers(objects: Iterable[Object], table: Mapping[PortKey, int]) -> set[tuple[str, str, str]]:
    """Return the holders (see `PortKey`) whose status has a port that the table gives to another key."""
    return {key.holder for obj in objects for key, port in _entries(obj) if table.get(key) != port}


def ports_of(obj: Object) -> list[int]:
    """Return the ports of Envoy that an object's status holds."""
    return [port for _, port in _entries(obj)]


def _entries(obj: Object) -> Iterable[tuple[PortKey, int]]:
    namespace = untrusted.string(untrusted.at(obj, "metadata", "namespace"))
    name = untrusted.string(untrusted.at(obj, "metadata", "name"))
    for owner, entry in islice(_listed(obj, name), MAX_ENTRIES):
        parsed = _entry(entry)
        if parsed is not None:
            number, protocol, target = parsed
            yield PortKey(namespace, owner, number, protocol), target


def _listed(obj: Object, name: str) -> Iterable[tuple[str, Any]]:
    for entry in untrusted.sequence(untrusted.at(obj, "status", "service", "ports")):
        yield name, entry
    for service, state in untrusted.mapping(untrusted.at(obj, "status", "resources", "services")).items():
        for entry in untrusted.sequence(untrusted.at(state, "ports")):
            yield f"{name}/{service}", entry


def _entry(entry: Any) -> tuple[int, str, int] | None:
    number = untrusted.port_number(untrusted.at(entry, "port"))
    target = untrusted.port_number(untrusted.at(entry, "targetPort"))
    protocol = untrusted.at(entry, "protocol") or "TCP"
    if number is None or target is None or protocol not in ("TCP", "UDP"):
        return None
    return number, protocol, target
