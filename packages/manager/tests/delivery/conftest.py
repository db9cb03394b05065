"""Tables in one line, and a client that behaves as Envoy does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from kubelb_manager.delivery.messages import Request, Response, Snapshot
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES, Resource, ResourceTable

SHORT = {"c": CLUSTER, "e": ENDPOINTS, "x": EXTENSIONS, "l": LISTENER, "r": ROUTES}


def resource(spec: str) -> Resource:
    """`a` or `a@2`; a route configuration or listener says what it names: `http@1:a+b`."""
    head, _, names = spec.partition(":")
    name, _, version = head.partition("@")
    return Resource(name, f"{version or '1'}:{names}" if names else version or "1", names.encode())


def table(**kinds: str) -> ResourceTable:
    """`table(c="a b", e="a b", l="http", r="http:a")`."""
    out = {url: {} for url in SHORT.values()}
    for short, specs in kinds.items():
        made = [resource(each) for each in specs.split()]
        out[SHORT[short]] = {each.name: each for each in sorted(made)}
    return out


def snapshot(generation: int, **kinds: str) -> Snapshot:
    return Snapshot(generation, table(**kinds))


def request(short: str, **fields: object) -> Request:
    return Request(SHORT[short], **fields)  # type: ignore[arg-type]


def ack(response: Response, error: str | None = None) -> Request:
    return Request(response.type_url, nonce=response.nonce, error=error)


def said(responses: Iterable[Response]) -> list[str]:
    """Responses as `c +a@1 +b@1 -old`, without versions where they are 1."""
    shorts = {url: short for short, url in SHORT.items()}
    out = []
    for each in responses:
        added = [f"+{r.name}" + ("" if r.version == "1" else f"@{r.version}") for r in each.resources]
        out.append(" ".join([shorts.get(each.type_url, each.type_url), *added, *(f"-{name}" for name in each.removed)]))
    return out


@dataclass
class Client:
    """An Envoy as far as the protocol is concerned.

    It takes responses one by one, asks for endpoints of clusters that it learns of and for the routes and extensions
    that listeners name (`rds`, `ecds`), and keeps its acknowledgement of clusters, new and changed, until endpoints of theirs arrive.
    """

    have: dict[str, dict[str, Resource]] = field(default_factory=lambda: {url: {} for url in SHORT.values()})
    subscribed: dict[str, set[str]] = field(
        default_factory=lambda: {ENDPOINTS: set(), EXTENSIONS: set(), ROUTES: set()}
    )
    outbox: list[Request] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    warming: dict[str, set[str]] = field(default_factory=dict)
    refuse: Callable[[Resource], bool] = lambda _resource: False

    def connect(self) -> None:
        """Ask for everything anew, and say what is there."""
        self.outbox.clear()
        self.opened.clear()
        self.warming.clear()
        for url in SHORT.values():
            names = tuple(sorted(self.subscribed.get(url, ())))
            if names or url in (CLUSTER, LISTENER):
                versions = {name: each.version for name, each in self.have[url].items()}
                self.opened.add(url)
                self.outbox.append(Request(url, subscribe=names, initial_versions=versions))

    def take(self, response: Response) -> None:
        url = response.type_url
        bad = [each.name for each in response.resources if self.refuse(each)]
        if bad and url in (CLUSTER, EXTENSIONS, ROUTES):
            self.outbox.append(ack(response, f"refused {bad}"))
            return
        for each in response.resources:
            if each.name not in bad:
                self.have[url][each.name] = each
        for name in response.removed:
            self.have[url].pop(name, None)
        self._react(response)
        if bad:
            self.outbox.append(ack(response, f"refused {bad}"))
        elif url == CLUSTER and response.resources:
            self.warming[response.nonce] = {each.name for each in response.resources}
        else:
            self.outbox.append(ack(response))
        # That there are no endpoints is an answer too (seen with Envoy).
        named = {each.name for each in response.resources} | set(response.removed)
        self._warm(named if url == ENDPOINTS else set())

    def routed_clusters(self) -> set[str]:
        bodies = [each.body for url in (ROUTES, EXTENSIONS, LISTENER) for each in self.have[url].values()]
        return {name for body in bodies for name in body.decode().split("+") if name and name not in ("rds", "ecds")}

    def _react(self, response: Response) -> None:
        if response.type_url == CLUSTER:
            self._ask(ENDPOINTS, self.have[CLUSTER].keys())
        elif response.type_url == LISTENER:
            self._ask(ROUTES, {name for name, each in self.have[LISTENER].items() if each.body == b"rds"})
            self._ask(EXTENSIONS, {name for name, each in self.have[LISTENER].items() if each.body == b"ecds"})

    def _ask(self, url: str, names: Iterable[str]) -> None:
        wanted, before = set(names), self.subscribed[url]
        if wanted == before:
            return
        more, less = sorted(wanted - before), sorted(before - wanted)
        for name in less:
            self.have[url].pop(name, None)
        self.subscribed[url] = wanted
        versions = {} if url in self.opened else {name: each.version for name, each in self.have[url].items()}
        self.opened.add(url)
        self.outbox.append(Request(url, tuple(more), tuple(less), versions))

    def _warm(self, arrived: set[str]) -> None:
        for nonce, cold in list(self.warming.items()):
            cold.difference_update(arrived)
            cold.intersection_update(self.have[CLUSTER])
            if not cold:
                del self.warming[nonce]
                self.outbox.append(Request(CLUSTER, nonce=nonce))


class Tools:
    Client = Client
    table = staticmethod(table)
    snapshot = staticmethod(snapshot)
    request = staticmethod(request)
    ack = staticmethod(ack)
    said = staticmethod(said)


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    return Tools
