"""What must hold for every Fleet before it is said in Envoy's words; a violation is an error of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from kubelb_manager.ir.model import Action, Fleet, Forward


class InvalidFleetError(Exception):
    """A fleet that Envoy would refuse or misunderstand; the text lists all violations."""


def problems(fleet: Fleet) -> tuple[str, ...]:
    """Return all violations, sorted: names and ports once, hosts once, no cluster missing."""
    return tuple(sorted(_problems(fleet)))


def require(fleet: Fleet) -> Fleet:
    """Return `fleet`; raises InvalidFleetError if anything is wrong with it."""
    found = problems(fleet)
    if found:
        raise InvalidFleetError(f"fleet {fleet.key}: {'; '.join(found)}")
    return fleet


def _problems(fleet: Fleet) -> Iterator[str]:
    yield from _repeated("cluster", (cluster.name for cluster in fleet.clusters))
    yield from _repeated("listener", [item.name for item in fleet.http] + [item.name for item in fleet.l4])
    yield from _repeated("port", _ports(fleet))
    for listener in fleet.http:
        yield from _repeated(f"listener {listener.name}: host", (table.host for table in listener.tables))
        for table in listener.tables:
            yield from _repeated(
                f"host {table.host}: match", (f"{rule.match.kind} {rule.match.value}" for rule in table.rules)
            )
            yield from (
                f"host {table.host}: path {rule.match.value!r} does not begin with /"
                for rule in table.rules
                if not rule.match.value.startswith("/")
            )
    known = {cluster.name for cluster in fleet.clusters}
    used = {action.cluster for action in _actions(fleet) if isinstance(action, Forward)}
    used.update(listener.cluster for listener in fleet.l4)
    yield from (f"cluster {name} is missing" for name in used - known)
    protocol = {cluster.name: cluster.protocol for cluster in fleet.clusters}
    yield from (
        f"listener {listener.name} is {listener.protocol}, its cluster {listener.cluster} is not"
        for listener in fleet.l4
        if protocol.get(listener.cluster, listener.protocol) is not listener.protocol
    )


def _ports(fleet: Fleet) -> list[str]:
    """Return `port/protocol` of each listener: the same number may stand once for TCP and once for UDP."""
    return [f"{item.port}/TCP" for item in fleet.http] + [f"{item.port}/{item.protocol}" for item in fleet.l4]


def _actions(fleet: Fleet) -> Iterator[Action]:
    for listener in fleet.http:
        yield listener.unknown_host
        for table in listener.tables:
            yield table.miss
            yield from (rule.action for rule in table.rules)


def _repeated(what: str, values: Iterable[str]) -> Iterator[str]:
    return (f"{what} {value} appears {count} times" for value, count in Counter(values).items() if count > 1)
