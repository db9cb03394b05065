"""Virtual hosts, one per host table, and the RouteConfiguration that is joined from their bytes.

Hosts (ruling 34, seen with Envoy): a final dot is stripped before anything is compared. The table is looked up
without regard to case and port; `:authority` is compared as the client wrote it, so that comparison says
both itself. The port is not stripped, because the application should see the Host that its client used. Envoy's
`*.example.com` covers any number of labels where ours covers one; each rule of such a host therefore also asks for
the one label, and what has more labels falls to the unknown host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from kubelb_manager.ir.model import ANY_HOST, Action, Forward, Host, PathKind, PathMatch, Respond, RouteTable
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.wire import framed

#: Field numbers of RouteConfiguration.
_NAME = 1
_VIRTUAL_HOSTS = 2

_IGNORE_PORT: bytes = pb.RouteConfiguration(ignore_port_in_host_matching=True).SerializeToString()

#: A request is tried again only where its headers cannot have reached an application (ruling 19).
_RETRY_ON = "connect-failure,refused-stream,reset-before-request"
_RETRIES = 2
_MISS = "miss"
_UNKNOWN_HOST = "unknown-host"


def virtual_host(table: RouteTable, unknown: RouteTable) -> bytes:
    """Return the serialised virtual host of one host's table.

    Args:
        table: the host's rules; for `ANY_HOST`, those of every host without a table.
        unknown: the table of `ANY_HOST`, to which a wildcard host leaves hosts of more than one label.
    """
    one_label = _one_label(table.host)
    message = pb.VirtualHost(name=table.host, domains=[table.host], retry_policy=_retry_policy())
    message.routes.extend(_routes(table, one_label))
    if one_label is not None:
        message.routes.extend(_routes(unknown, None))
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def is_wildcard(host: Host) -> bool:
    """Whether the host stands for one label before a suffix; `ANY_HOST` does not."""
    return host.startswith("*.")


def _routes(table: RouteTable, authority: Any | None) -> Iterator[Any]:
    for rule in table.rules:
        name = f"{rule.origin.kind}/{rule.origin.namespace}/{rule.origin.name}"
        yield _route(name, _match(rule.match, authority), rule.action)
    yield _route(_UNKNOWN_HOST if table.host == ANY_HOST else _MISS, _match(_ALL, authority), table.miss)


def route_configuration(name: str, virtual_hosts: Iterable[bytes]) -> bytes:
    """Join serialised virtual hosts to a serialised RouteConfiguration."""
    hosts = (framed(_VIRTUAL_HOSTS, each) for each in virtual_hosts)
    return b"".join([framed(_NAME, name.encode()), *hosts, _IGNORE_PORT])


_ALL = PathMatch(PathKind.PREFIX, "/")


def _route(name: str, match: Any, action: Action) -> Any:
    if isinstance(action, Respond):
        return pb.Route(name=name, match=match, direct_response=pb.DirectResponseAction(status=action.status))
    assert isinstance(action, Forward)
    return pb.Route(name=name, match=match, route=pb.RouteAction(cluster=action.cluster, timeout=pb.duration(0)))


def _match(path: PathMatch, authority: Any | None) -> Any:
    headers = [] if authority is None else [authority]
    if path.kind is PathKind.EXACT:
        return pb.RouteMatch(path=path.value, headers=headers)
    if path.value == "/":
        return pb.RouteMatch(prefix="/", headers=headers)
    return pb.RouteMatch(path_separated_prefix=path.value, headers=headers)


def _one_label(host: Host) -> Any | None:
    """Return the condition that `*` of a wildcard host stands for exactly one label; None for other hosts."""
    if not is_wildcard(host):
        return None
    pattern = r"(?i)[^.:]+" + re.escape(host[1:]) + r"(:[0-9]*)?"
    return pb.HeaderMatcher(name=":authority", string_match=pb.StringMatcher(safe_regex=pb.RegexMatcher(regex=pattern)))


def _retry_policy() -> Any:
    return pb.RetryPolicy(
        retry_on=_RETRY_ON,
        num_retries=pb.UInt32Value(value=_RETRIES),
        retry_host_predicate=[
            pb.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=pb.any_of(pb.PreviousHostsPredicate()),
            )
        ],
        host_selection_retry_max_attempts=3,
        # Default is 25 ms and then more; another node needs no rest.
        retry_back_off=pb.RetryPolicy.RetryBackOff(base_interval=pb.duration(0.005), max_interval=pb.duration(0.05)),
    )
