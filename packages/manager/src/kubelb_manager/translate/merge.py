"""From the parts of all adopted objects to one fleet.

Rules (rulings 7 and 34):

* One table per host. Within it the unit of conflict is the match: the older part's rule stands, the
  other is *shadowed*, and everything else of both objects is served.
* A path miss goes to the default backend of the oldest part that names this host and has one, else
  404. A host with rules never falls through to a wildcard host.
* A host without a table goes to the table of rules without a host (`*`) if there is one. A miss
  there, and any host where there is no such table, goes to the oldest default backend of the fleet,
  else 404.

The work is incremental: a memo keeps the previous parts by identity and what came of them, so one
changed part costs the tables of its hosts. Without a memo the same code starts from nothing; both
ways give equal fleets. An unchanged table is the same object as before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kubelb_manager.ir.model import (
    ANY_HOST,
    Action,
    Cluster,
    Fleet,
    Host,
    HostRules,
    HttpListener,
    Origin,
    Part,
    PathKind,
    PathMatch,
    Respond,
    RouteRule,
    RouteTable,
    TcpListener,
)

NOT_FOUND = Respond(404)
HTTP_LISTENER = "http"

#: Lost rules that are named for one object; the rest would not fit a condition.
MAX_SHADOWED = 20


class Merged(NamedTuple):
    """A fleet, and for each object the rules of its that an older object has: text for a message."""

    fleet: Fleet
    shadowed: Mapping[Origin, tuple[str, ...]]


class _Claim(NamedTuple):
    """One part's rules for one host."""

    part: Part
    rules: HostRules


_Shadows = tuple[tuple[Origin, str], ...]


@dataclass(slots=True)
class MergeMemo:
    """What the last merge of one fleet came to; belongs to one caller and one fleet."""

    _parts: dict[int, Part] = field(default_factory=dict)
    _claims: dict[Host, dict[int, _Claim]] = field(default_factory=dict)
    _tables: dict[Host, RouteTable] = field(default_factory=dict)
    _shadows: dict[Host, _Shadows] = field(default_factory=dict)
    _defaults: dict[int, Part] = field(default_factory=dict)
    _listeners: dict[int, tuple[TcpListener, ...]] = field(default_factory=dict)
    _clusters: dict[str, Counter[Cluster]] = field(default_factory=dict)
    _chosen: dict[str, Cluster] = field(default_factory=dict)
    _http_parts: int = 0
    _unknown: Action = NOT_FOUND
    _sorted_tables: tuple[RouteTable, ...] = ()
    _sorted_clusters: tuple[Cluster, ...] = ()
    _sorted_tcp: tuple[TcpListener, ...] = ()
    _by_origin: Mapping[Origin, tuple[str, ...]] = field(default_factory=dict)

    def update(self, parts: Iterable[Part]) -> None:
        """Take these parts, each origin once, for the previous ones."""
        new = {id(part): part for part in parts}
        gone = [part for key, part in self._parts.items() if key not in new]
        come = [part for key, part in new.items() if key not in self._parts]
        for part in gone:
            self._remove(part)
        for part in come:
            self._add(part)
        # Holding the parts keeps their identities from being given to other objects.
        self._parts = new
        changed = (*gone, *come)
        self._refresh_http(changed)
        if any(part.clusters for part in changed):
            self._refresh_clusters({cluster.name for part in changed for cluster in part.clusters})
        if any(part.listeners for part in changed):
            listeners = (item for several in self._listeners.values() for item in several)
            self._sorted_tcp = tuple(sorted(listeners, key=lambda item: (item.port, item.name)))

    def merged(self, key: str, http_port: int) -> Merged:
        """Return the fleet of the parts taken last."""
        http: tuple[HttpListener, ...] = ()
        if self._http_parts:
            http = (HttpListener(HTTP_LISTENER, http_port, self._sorted_tables, self._unknown),)
        return Merged(Fleet(key, http, self._sorted_tcp, self._sorted_clusters), self._by_origin)

    def _add(self, part: Part) -> None:
        key = id(part)
        self._http_parts += part.serves_http
        for rules in part.hosts:
            self._claims.setdefault(rules.host, {})[key] = _Claim(part, rules)
        if part.default_backend is not None:
            self._defaults[key] = part
        if part.listeners:
            self._listeners[key] = part.listeners
        for cluster in part.clusters:
            self._clusters.setdefault(cluster.name, Counter())[cluster] += 1

    def _remove(self, part: Part) -> None:
        key = id(part)
        self._http_parts -= part.serves_http
        for rules in part.hosts:
            del self._claims[rules.host][key]
        self._defaults.pop(key, None)
        self._listeners.pop(key, None)
        for cluster in part.clusters:
            claims = self._clusters[cluster.name]
            claims[cluster] -= 1
            if not claims[cluster]:
                del claims[cluster]

    def _refresh_http(self, changed: Iterable[Part]) -> None:
        touched = {rules.host for part in changed for rules in part.hosts}
        if any(part.default_backend is not None for part in changed):
            oldest = min(self._defaults.values(), key=_seniority, default=None)
            unknown = NOT_FOUND if oldest is None or oldest.default_backend is None else oldest.default_backend
            if unknown != self._unknown:
                self._unknown = unknown
                touched.add(ANY_HOST)
        tables_moved = shadows_moved = False
        for host in touched:
            table_moved, shadow_moved = self._refresh_host(host)
            tables_moved |= table_moved
            shadows_moved |= shadow_moved
        if tables_moved:
            self._sorted_tables = tuple(self._tables[host] for host in sorted(self._tables))
        if shadows_moved:
            self._name_shadowed()

    def _refresh_host(self, host: Host) -> tuple[bool, bool]:
        """Rebuild one table; return whether it and its shadowed rules are others than before."""
        claims = self._claims.get(host)
        if not claims:
            self._claims.pop(host, None)
            return self._tables.pop(host, None) is not None, self._shadow(host, ())
        table, shadows = _table(host, claims.values(), self._unknown if host == ANY_HOST else NOT_FOUND)
        shadow_moved = self._shadow(host, shadows)
        if self._tables.get(host) == table:
            return False, shadow_moved
        self._tables[host] = table
        return True, shadow_moved

    def _shadow(self, host: Host, shadows: _Shadows) -> bool:
        before = self._shadows.pop(host, ())
        if shadows:
            self._shadows[host] = shadows
        return shadows != before

    def _name_shadowed(self) -> None:
        by_origin: dict[Origin, list[str]] = {}
        for host in sorted(self._shadows):
            for origin, text in self._shadows[host]:
                by_origin.setdefault(origin, []).append(text)
        self._by_origin = {origin: tuple(texts[:MAX_SHADOWED]) for origin, texts in sorted(by_origin.items())}

    def _refresh_clusters(self, touched: Iterable[str]) -> None:
        moved = False
        for name in touched:
            claims = self._clusters[name]
            if not claims:
                del self._clusters[name]
            # They differ only while an Addresses change is taken up part by part; the greater value is
            # taken, so that every replica takes the same.
            chosen = max(claims, key=lambda item: (item.endpoints, item.local_only, item.source_affinity), default=None)
            if chosen == self._chosen.get(name):
                continue
            moved = True
            if chosen is None:
                del self._chosen[name]
            else:
                self._chosen[name] = chosen
        if moved:
            self._sorted_clusters = tuple(self._chosen[name] for name in sorted(self._chosen))


def merge(key: str, parts: Iterable[Part], *, http_port: int = 8080, memo: MergeMemo | None = None) -> Merged:
    """Return the fleet `key` (`<tenant namespace>/<fleet>`) of these parts, in any order, each origin once.

    Args:
        key: the fleet's key.
        parts: the adopted parts.
        http_port: Envoy's port of the HTTP listener, which exists only if a part serves HTTP.
        memo: from the previous merge of the same fleet; it is brought up to date.
    """
    memo = MergeMemo() if memo is None else memo
    memo.update(parts)
    return memo.merged(key, http_port)


def _seniority(part: Part) -> tuple[tuple[float, str], Origin]:
    return part.age, part.origin


def _table(host: Host, claims: Iterable[_Claim], otherwise: Action) -> tuple[RouteTable, _Shadows]:
    chosen: dict[PathMatch, tuple[RouteRule, Part]] = {}
    shadows: list[tuple[Origin, str]] = []
    miss: Action | None = None
    for part, own in sorted(claims, key=lambda claim: _seniority(claim.part)):
        if miss is None:
            miss = part.default_backend
        for rule in own.rules:
            older = chosen.setdefault(rule.match, (rule, part))
            if older[1] is not part:
                shadows.append((part.origin, _shadow_text(host, rule.match, older[1])))
    rules = tuple(sorted((rule for rule, _ in chosen.values()), key=_specificity))
    return RouteTable(host, rules, otherwise if miss is None else miss), tuple(shadows)


def _specificity(rule: RouteRule) -> tuple[int, bool, str]:
    """Sort key: longest path first, Exact before Prefix at equal length."""
    return -len(rule.match.value), rule.match.kind is not PathKind.EXACT, rule.match.value


def _shadow_text(host: Host, match: PathMatch, older: Part) -> str:
    return f"{host} {match.kind} {match.value} is served by {older.age[1]}, which is older."
