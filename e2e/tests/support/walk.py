"""A tenant's namespace as a reference model: what exists, who answers where, and random steps from one state to the next.

The model knows the rules that are promised to tenants (rulings 7 and 34) and nothing of how they are kept: it is written
from `docs/tenants.md`, not from the translation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kubelb_common.kube.port import Object

APPS = ("red", "blue")
SERVICES = ("one", "two", "three", "four")
INGRESSES = ("first", "second", "third", "fourth")
BALANCERS = ("lb-one", "lb-two")
HOSTS = ("a", "b", "c")
#: `=` begins an Exact path, others are prefixes by elements.
PATHS = ("/", "/a", "/a/b", "=/a", "=/a/b/c")
#: What is asked of each host at the end.
QUESTIONS = ("/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/z")
OTHER_CLASS = "somebody-elses"

#: An answer: the application that answers, or a status of the proxy's own.
NOT_FOUND, UNAVAILABLE = "404", "503"


class Path(NamedTuple):
    """A rule of an Ingress: host, path as in `PATHS`, Service."""

    host: str
    path: str
    service: str


@dataclass(frozen=True, slots=True)
class Ingress:
    """An Ingress of the model; `ours` is whether its class is ours.

    None has a default backend: the oldest of a whole tenant answers for unknown hosts, and walks share a tenant.
    """

    paths: tuple[Path, ...]
    ours: bool = True


class Step(NamedTuple):
    """One change of one object. `verb` is put (create or replace) or delete."""

    verb: str
    kind: str
    name: str


@dataclass(slots=True)
class Model:
    """What a tenant wants to exist.

    Attributes:
        services: ClusterIP Services and the application behind each.
        ingresses: Ingresses by name.
        balancers: Services of type LoadBalancer and the application behind each.
    """

    services: dict[str, str] = field(default_factory=dict)
    ingresses: dict[str, Ingress] = field(default_factory=dict)
    balancers: dict[str, str] = field(default_factory=dict)

    def step(self, chance: random.Random) -> Step:
        """Change one thing and return what."""
        kind = chance.choices(("Service", "Ingress", "LoadBalancer"), weights=(4, 8, 1))[0]
        table: dict[str, object] = {
            "Service": self.services,
            "Ingress": self.ingresses,
            "LoadBalancer": self.balancers,
        }[kind]  # type: ignore[assignment]  # three tables of three kinds of value
        name = chance.choice({"Service": SERVICES, "Ingress": INGRESSES, "LoadBalancer": BALANCERS}[kind])
        if name in table and chance.random() < 0.3:
            del table[name]
            return Step("delete", kind, name)
        table[name] = _ingress(chance) if kind == "Ingress" else chance.choice(APPS)
        return Step("put", kind, name)

    def twins(self) -> set[str]:
        """Return the Services that need a NodePort twin: those that exist and that an Ingress of our class names."""
        named = {path.service for ingress in self.ingresses.values() if ingress.ours for path in ingress.paths}
        return named & self.services.keys()

    def answer(self, host: str, asked: str, order: list[str]) -> str:
        """Return who answers for a path of a host; `order` has our Ingresses, the oldest first."""
        exact: dict[str, str] = {}
        prefixes: dict[str, str] = {}
        for name in order:
            for path in self.ingresses[name].paths:
                if path.host == host:
                    table, text = (exact, path.path[1:]) if path.path.startswith("=") else (prefixes, path.path)
                    table.setdefault(text, path.service)
        if asked in exact:
            return self._behind(exact[asked])
        found = [prefix for prefix in prefixes if _within(asked, prefix)]
        return self._behind(prefixes[max(found, key=len)]) if found else NOT_FOUND

    def _behind(self, service: str) -> str:
        return self.services.get(service, UNAVAILABLE)


def _ingress(chance: random.Random) -> Ingress:
    paths: dict[tuple[str, str], Path] = {}
    for _ in range(chance.randint(1, 4)):
        path = Path(chance.choice(HOSTS), chance.choice(PATHS), chance.choice(SERVICES))
        paths.setdefault((path.host, path.path), path)
    return Ingress(tuple(paths.values()), chance.random() < 0.9)


def _within(asked: str, prefix: str) -> bool:
    return prefix in ("/", asked) or asked.startswith(prefix + "/")


def oldest_first(live: list[Object]) -> list[str]:
    """Return the names of Ingresses of one namespace by age; of equal ones, the name decides (ruling 7)."""
    return [
        item["metadata"]["name"]
        for item in sorted(live, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))
    ]


def questions() -> Iterator[tuple[str, str]]:
    """Yield every (host, path) that is asked at the end."""
    for host in HOSTS:
        for asked in QUESTIONS:
            yield host, asked
