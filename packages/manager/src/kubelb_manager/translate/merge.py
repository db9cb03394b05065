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
    ClientAddress,
    Cluster,
    Fleet,
    Host,
    HostRules,
    HttpListener,
    L4Listener,
    Origin,
    Part,
    PathKind,
    PathMatch,
    Respond,
    RouteRule,
    RouteTable,
)
from kubelb_manager.translate.ordered import Ordered

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


#: Whose rules lost on a host, and to whom, as text.
_Lost = tuple[tuple[Origin, str], ...]


@dataclass(slots=True)
class MergeMemo:
    """What the last merge of one fleet came to; belongs to one caller and one fleet."""

    #: The parts by identity; holding them keeps their identities from being given to other objects.
    _parts: dict[int, Part] = field(default_factory=dict)
    _claims: dict[Host, dict[int, _Claim]] = field(default_factory=dict)
    _defaults: dict[int, Part] = field(default_factory=dict)
    _cluster_claims: dict[str, Counter[Cluster]] = field(default_factory=dict)
    _http_parts: int = 0

    _unknown_host: Action = NOT_FOUND
    _tables: Ordered[Host, RouteTable] = field(default_factory=Ordered)
    _clusters: Ordered[str, Cluster] = field(default_factory=Ordered)
    _listeners: Ordered[tuple[int, str, Origin], L4Listener] = field(default_factory=Ordered)
    _http_listeners: Ordered[tuple[int, str, Origin], HttpListener] = field(default_factory=Ordered)
    _lost: dict[Host, _Lost] = field(default_factory=dict)
    _shadowed: Mapping[Origin, tuple[str, ...]] = field(default_factory=dict)

    def update(self, parts: Iterable[Part]) -> None:
        """Take these parts, each origin once, for the previous ones."""
        new = {id(part): part for part in parts}
        gone = [self._parts[key] for key in self._parts.keys() - new.keys()]
        come = [new[key] for key in new.keys() - self._parts.keys()]
        for part in gone:
            self._remove(part)
        for part in come:
            self._add(part)
        self._parts = new
        changed = (*gone, *come)
        self._refresh_hosts(changed)
        self._clusters.update(
            {cluster.name: self._cluster(cluster.name) for part in changed for cluster in part.clusters}
        )
        listeners: dict[tuple[int, str, Origin], L4Listener | None] = {}
        listeners.update({_listener_key(part, item): None for part in gone for item in part.listeners})
        listeners.update({_listener_key(part, item): item for part in come for item in part.listeners})
        self._listeners.update(listeners)
        http: dict[tuple[int, str, Origin], HttpListener | None] = {}
        http.update({_listener_key(part, item): None for part in gone for item in part.http_listeners})
        http.update({_listener_key(part, item): item for part in come for item in part.http_listeners})
        self._http_listeners.update(http)

    def merged(self, key: str, http_port: int, client: ClientAddress) -> Merged:
        """Return the fleet of the parts taken last."""
        http: tuple[HttpListener, ...] = ()
        if self._http_parts:
            http = (HttpListener(HTTP_LISTENER, http_port, self._tables.values(), self._unknown_host, client),)
        http += self._http_listeners.values()
        return Merged(Fleet(key, http, self._listeners.values(), self._clusters.values()), self._shadowed)

    def _add(self, part: Part) -> None:
        key = id(part)
        self._http_parts += part.serves_http
        for rules in part.hosts:
            self._claims.setdefault(rules.host, {})[key] = _Claim(part, rules)
        if part.default_backend is not None:
            self._defaults[key] = part
        for cluster in part.clusters:
            self._cluster_claims.setdefault(cluster.name, Counter())[cluster] += 1

    def _remove(self, part: Part) -> None:
        key = id(part)
        self._http_parts -= part.serves_http
        for rules in part.hosts:
            del self._claims[rules.host][key]
        self._defaults.pop(key, None)
        for cluster in part.clusters:
            claims = self._cluster_claims[cluster.name]
            claims[cluster] -= 1
            if not claims[cluster]:
                del claims[cluster]

    def _cluster(self, name: str) -> Cluster | None:
        """Return the cluster of this name, None if no part names it any more.

        Parts differ about it only while an Addresses change is taken up part by part; the greater value
        is taken, so that every replica takes the same.
        """
        claims = self._cluster_claims.get(name)
        if not claims:
            self._cluster_claims.pop(name, None)
            return None
        return max(claims, key=lambda item: item.endpoints)

    def _refresh_hosts(self, changed: Iterable[Part]) -> None:
        touched = {rules.host for part in changed for rules in part.hosts}
        if any(part.default_backend is not None for part in changed):
            oldest = min(self._defaults.values(), key=_seniority, default=None)
            unknown_host = NOT_FOUND if oldest is None or oldest.default_backend is None else oldest.default_backend
            if unknown_host != self._unknown_host:
                self._unknown_host = unknown_host
                touched.add(ANY_HOST)
        tables: dict[Host, RouteTable | None] = {}
        losses_moved = False
        for host in touched:
            tables[host], lost = self._table(host)
            if lost != self._lost.get(host, ()):
                losses_moved = True
                self._lost[host] = lost
        self._tables.update(tables)
        if losses_moved:
            self._lost = {host: lost for host, lost in self._lost.items() if lost}
            self._shadowed = _by_origin(self._lost)

    def _table(self, host: Host) -> tuple[RouteTable | None, _Lost]:
        claims = self._claims.get(host)
        if not claims:
            self._claims.pop(host, None)
            return None, ()
        return _table(host, claims.values(), self._unknown_host if host == ANY_HOST else NOT_FOUND)


def merge(
    key: str,
    parts: Iterable[Part],
    *,
    http_port: int = 8080,
    client: ClientAddress = ClientAddress(),  # noqa: B008 - a frozen value
    memo: MergeMemo | None = None,
) -> Merged:
    """Return the fleet `key` (`<tenant namespace>/<fleet>`) of these parts, in any order, each origin once.

    Args:
        key: the fleet's key.
        parts: the adopted parts.
        http_port: Envoy's port of the HTTP listener, which exists only if a part serves HTTP.
        client: how the HTTP listener tells who its client is.
        memo: from the previous merge of the same fleet; it is brought up to date.
    """
    memo = MergeMemo() if memo is None else memo
    memo.update(parts)
    return memo.merged(key, http_port, client)


def _seniority(part: Part) -> tuple[tuple[float, str], Origin]:
    return part.age, part.origin


def _listener_key(part: Part, listener: L4Listener | HttpListener) -> tuple[int, str, Origin]:
    return listener.port, listener.name, part.origin


def _table(host: Host, claims: Iterable[_Claim], otherwise: Action) -> tuple[RouteTable, _Lost]:
    chosen: dict[PathMatch, tuple[RouteRule, Part]] = {}
    lost: list[tuple[Origin, str]] = []
    miss: Action | None = None
    for part, own in sorted(claims, key=lambda claim: _seniority(claim.part)):
        if miss is None:
            miss = part.default_backend
        for rule in own.rules:
            _, older = chosen.setdefault(rule.match, (rule, part))
            if older is not part:
                # Rules without a host may meet those of another tenant in a global fleet.
                who = older.age[1] if older.origin.namespace == part.origin.namespace else "another tenant's object"
                text = f"{host} {rule.match.kind} {rule.match.value} is served by {who}, which is older."
                lost.append((part.origin, text))
    rules = tuple(sorted((rule for rule, _ in chosen.values()), key=_specificity))
    return RouteTable(host, rules, otherwise if miss is None else miss), tuple(lost)


def _specificity(rule: RouteRule) -> tuple[int, bool, str]:
    """Sort key: longest path first, Exact before Prefix at equal length."""
    return -len(rule.match.value), rule.match.kind is not PathKind.EXACT, rule.match.value


def _by_origin(lost: Mapping[Host, _Lost]) -> dict[Origin, tuple[str, ...]]:
    texts: dict[Origin, list[str]] = {}
    for host in sorted(lost):
        for origin, text in lost[host]:
            texts.setdefault(origin, []).append(text)
    return {origin: tuple(several[:MAX_SHADOWED]) for origin, several in sorted(texts.items())}
