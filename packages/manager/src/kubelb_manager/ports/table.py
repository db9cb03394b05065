"""The table of Envoy's ports in one fleet.

What can happen: a LoadBalancer asks for ports, comes back with more or fewer, or goes; the manager
restarts and reads the table back from `LoadBalancer.status`. What holds throughout:

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
    """A port that a LoadBalancer offers; names play no part, so renaming one moves nothing."""

    namespace: str
    load_balancer: str
    port: int
    protocol: str


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


def from_status(load_balancers: Iterable[Object], reserved: Collection[int] = RESERVED) -> dict[PortKey, int]:
    """Return the table that the objects' `status.service.ports` hold.

    An entry that cannot be ours (out of range, reserved, not a number) is left out and will be
    allocated anew; of two keys with one port the first in order keeps it.
    """
    entries = sorted(entry for lb in load_balancers for entry in _entries(lb))
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


def losers(load_balancers: Iterable[Object], table: Mapping[PortKey, int]) -> set[tuple[str, str]]:
    """Return namespace and name of the objects whose status holds a port that the table gives to another key."""
    return {
        (key.namespace, key.load_balancer)
        for lb in load_balancers
        for key, port in _entries(lb)
        if table.get(key) != port
    }


def ports_of(load_balancer: Object) -> list[int]:
    """Return the ports of Envoy that an object's status holds."""
    return [port for _, port in _entries(load_balancer)]


def _entries(lb: Object) -> Iterable[tuple[PortKey, int]]:
    namespace = untrusted.string(untrusted.at(lb, "metadata", "namespace"))
    name = untrusted.string(untrusted.at(lb, "metadata", "name"))
    for entry in untrusted.sequence(untrusted.at(lb, "status", "service", "ports"))[:MAX_ENTRIES]:
        parsed = _entry(entry)
        if parsed is not None:
            number, protocol, target = parsed
            yield PortKey(namespace, name, number, protocol), target


def _entry(entry: Any) -> tuple[int, str, int] | None:
    number = untrusted.port_number(untrusted.at(entry, "port"))
    target = untrusted.port_number(untrusted.at(entry, "targetPort"))
    protocol = untrusted.at(entry, "protocol") or "TCP"
    if number is None or target is None or protocol not in ("TCP", "UDP"):
        return None
    return number, protocol, target
