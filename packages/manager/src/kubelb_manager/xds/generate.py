"""IR to resources, remembering bytes: a changed host costs one virtual host and one join.

The generator keeps, per fleet, what it made last time, by name, next to the IR object it was made from.
An object that is the same one (or an equal one) is not serialised again. A type in which nothing changed is
the same mapping object as before, so that whoever compares tables can skip it.

Nothing here is kept across fleets, and what a fleet no longer has is forgotten with the next table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from kubelb_manager.ir.model import (
    ANY_HOST,
    Cluster,
    Endpoint,
    Fleet,
    HeaderLimits,
    HttpListener,
    L4Listener,
    Layer,
    Protocol,
    RouteTable,
    Share,
)
from kubelb_manager.xds import clusters, endpoints, listeners, routes, shares
from kubelb_manager.xds.check import check
from kubelb_manager.xds.resources import (
    CLUSTER,
    ENDPOINTS,
    EXTENSIONS,
    LISTENER,
    ROUTES,
    RUNTIME,
    Resource,
    ResourceTable,
    resource,
)

__all__ = ["Generator", "check"]

K = TypeVar("K")
V = TypeVar("V")


class _Memo(Generic[K, V]):
    """Values made from keys, one per name; only what the last pass used is kept."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[K, V]] = {}
        self._now: dict[str, tuple[K, V]] = {}

    def get(self, name: str, key: K, make: Callable[[], V]) -> V:
        entry = self._last.get(name)
        value = entry[1] if entry is not None and entry[0] == key else make()
        self._now[name] = (key, value)
        return value

    def end_pass(self) -> None:
        self._last, self._now = self._now, {}


@dataclass(slots=True)
class _FleetMemory:
    clusters: _Memo[tuple[Any, ...], Resource] = field(default_factory=_Memo)
    endpoints: _Memo[tuple[Endpoint, ...], Resource] = field(default_factory=_Memo)
    runtime: _Memo[bytes, Resource] = field(default_factory=_Memo)
    requests: _Memo[Share, Resource] = field(default_factory=_Memo)
    extensions: _Memo[str, Resource] = field(default_factory=_Memo)
    listeners: _Memo[tuple[Any, ...], Resource] = field(default_factory=_Memo)
    hosts: _Memo[tuple[RouteTable, RouteTable | None], bytes] = field(default_factory=_Memo)
    routes: _Memo[tuple[bytes, ...], Resource] = field(default_factory=_Memo)
    table: dict[str, Mapping[str, Resource]] = field(default_factory=dict)

    def end_pass(self) -> None:
        for memo in (self.clusters, self.endpoints, self.runtime, self.requests, self.extensions):
            memo.end_pass()
        self.listeners.end_pass()
        self.hosts.end_pass()
        self.routes.end_pass()


class Generator:
    """Makes the resource table of a fleet. The same fleet gives the same bytes, whatever was made before.

    Args:
        ipv6: whether listeners bind `::` (and IPv4 with it). False only for nodes whose kernel has no IPv6.
    """

    def __init__(self, *, ipv6: bool = True) -> None:
        self._ipv6 = ipv6
        self._fleets: dict[str, _FleetMemory] = {}

    def table(self, fleet: Fleet) -> ResourceTable:
        """Return all resources of `fleet`: clusters, endpoints, extensions, listeners, routes, each sorted by name."""
        memory = self._fleets.setdefault(fleet.key, _FleetMemory())
        made = {
            CLUSTER: [_cluster(memory, each, fleet.header_limits) for each in fleet.clusters],
            ENDPOINTS: [_assignment(memory, each) for each in fleet.clusters],
            RUNTIME: [_runtime(memory, fleet)],
            EXTENSIONS: [
                *(_requests(memory, fleet, each) for each in fleet.http),
                *(_extension(memory, fleet.key, each) for each in fleet.l4 if each.protocol is Protocol.TCP),
            ],
            LISTENER: [
                *(self._listener(memory, fleet, each) for each in fleet.http),
                *(self._listener(memory, fleet, each) for each in fleet.l4),
            ],
            ROUTES: [_routes(memory, each) for each in fleet.http],
        }
        memory.table = {url: _by_name(memory.table.get(url, {}), made[url]) for url in made}
        memory.end_pass()
        return memory.table

    def forget(self, fleet_key: str) -> None:
        """Drop what is remembered for a fleet that is gone."""
        self._fleets.pop(fleet_key, None)

    def _listener(self, memory: _FleetMemory, fleet: Fleet, listener: HttpListener | L4Listener) -> Resource:
        def make() -> bytes:
            if isinstance(listener, HttpListener):
                return listeners.http_listener(listener, fleet.key, fleet.header_limits, ipv6=self._ipv6)
            if listener.protocol is Protocol.UDP:
                return listeners.udp_listener(listener, fleet.key, ipv6=self._ipv6)
            return listeners.tcp_listener(listener, ipv6=self._ipv6)

        key = _listener_key(listener, fleet.header_limits)
        return memory.listeners.get(listener.name, key, lambda: resource(listener.name, make()))


def _listener_key(of: HttpListener | L4Listener, limits: HeaderLimits) -> tuple[Any, ...]:
    """Return what decides about the listener's own bytes."""
    if isinstance(of, HttpListener):
        return (of.port, of.client, limits)
    return (
        of.port,
        of.protocol,
        of.source_ranges,
        of.behind_proxy,
        of.cluster if of.protocol is Protocol.UDP else None,
    )


def _by_name(last: Mapping[str, Resource], made: list[Resource]) -> Mapping[str, Resource]:
    table = {each.name: each for each in sorted(made)}
    return last if last.keys() == table.keys() and all(last[name] is table[name] for name in table) else table


def _cluster(memory: _FleetMemory, of: Cluster, limits: HeaderLimits) -> Resource:
    l7 = limits if of.layer is Layer.L7 else None
    key = (of.layer, of.protocol, of.local_only, of.source_affinity, of.proxy_protocol, l7)
    return memory.clusters.get(of.name, key, lambda: resource(of.name, clusters.cluster(of, limits)))


def _extension(memory: _FleetMemory, fleet: str, of: L4Listener) -> Resource:
    def make() -> Resource:
        return resource(of.name, listeners.tcp_extension(of, fleet))

    return memory.extensions.get(of.name, of.cluster, make)


def _runtime(memory: _FleetMemory, fleet: Fleet) -> Resource:
    body = shares.runtime(fleet)
    return memory.runtime.get(shares.LAYER, body, lambda: resource(shares.LAYER, body))


def _requests(memory: _FleetMemory, fleet: Fleet, of: HttpListener) -> Resource:
    name, share = shares.requests(fleet, of)
    return memory.requests.get(name, share, lambda: resource(name, shares.extension(name, share)))


def _assignment(memory: _FleetMemory, of: Cluster) -> Resource:
    return memory.endpoints.get(of.name, of.endpoints, lambda: resource(of.name, endpoints.assignment(of)))


def _routes(memory: _FleetMemory, listener: HttpListener) -> Resource:
    named = sorted((each for each in listener.tables if each.host != ANY_HOST), key=lambda t: t.host)
    elsewhere = next((each for each in listener.tables if each.host == ANY_HOST), None)
    unknown = elsewhere if elsewhere is not None else RouteTable(ANY_HOST, (), listener.unknown_host)
    # Envoy permits one virtual host for every other host, so a table of rules without a host takes its place.
    parts = [_host(memory, listener.name, each, unknown) for each in (*named, unknown)]

    def join() -> Resource:
        return resource(listener.name, routes.route_configuration(listener.name, parts))

    # Equal bytes objects compare by identity first, so this key costs no second look at them.
    return memory.routes.get(listener.name, tuple(parts), join)


def _host(memory: _FleetMemory, listener: str, table: RouteTable, unknown: RouteTable) -> bytes:
    key = (table, unknown if routes.is_wildcard(table.host) else None)
    return memory.hosts.get(f"{listener}\0{table.host}", key, lambda: routes.virtual_host(table, unknown))
