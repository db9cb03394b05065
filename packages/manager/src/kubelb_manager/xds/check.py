"""Consistency of a table: every name that is used exists, and nothing is left over.

Envoy waits for endpoints and routes that were promised; a name without a resource would hold up a
whole Envoy, and a resource without a use is a leak of memory there. Parses the bytes, so it is for
tests and for looking into a live manager, not for each change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES, Resource, ResourceTable


def check(table: ResourceTable) -> list[str]:
    """Return what is wrong with `table`, sorted; an empty list if nothing is."""
    clusters = set(table.get(CLUSTER, {}))
    used_routes: set[str] = set()
    used_extensions: set[str] = set()
    for each in _parsed(table.get(LISTENER, {}), pb.Listener):
        used_routes |= _route_names(each)
        used_extensions |= _extension_names(each)
    faults = [
        *_compare("endpoints", set(table.get(ENDPOINTS, {})), clusters),
        *_compare("routes", set(table.get(ROUTES, {})), used_routes),
        *_compare("extensions", set(table.get(EXTENSIONS, {})), used_extensions),
        *(f"cluster {name!r} is used but does not exist" for name in referenced_clusters(table) - clusters),
        *_misnamed(table),
    ]
    return sorted(faults)


def referenced_clusters(table: ResourceTable) -> set[str]:
    """Return the names of all clusters that a listener, extension or route of `table` sends to."""
    names: set[str] = set()
    for each in _parsed(table.get(LISTENER, {}), pb.Listener):
        names |= _proxied(each)
    for each in _parsed(table.get(EXTENSIONS, {}), pb.TypedExtensionConfig):
        if each.typed_config.Is(pb.TcpProxy.DESCRIPTOR):
            names.add(_unpacked(each.typed_config, pb.TcpProxy).cluster)
    for each in _parsed(table.get(ROUTES, {}), pb.RouteConfiguration):
        names |= {r.route.cluster for host in each.virtual_hosts for r in host.routes if r.HasField("route")}
    return names


def _compare(what: str, have: set[str], need: set[str]) -> Iterator[str]:
    yield from (f"{what} {name!r} are used but do not exist" for name in need - have)
    yield from (f"{what} {name!r} exist but are not used" for name in have - need)


def _misnamed(table: ResourceTable) -> Iterable[str]:
    for url, by_name in table.items():
        for name, each in by_name.items():
            if each.name != name:
                yield f"{url} {each.name!r} stands under the name {name!r}"


def _parsed(resources: Mapping[str, Resource], kind: type) -> Iterator[pb.AnyMessage]:
    for each in resources.values():
        yield kind.FromString(each.body)  # type: ignore[attr-defined]  # messages are untyped


def _route_names(listener: pb.AnyMessage) -> set[str]:
    return {hcm.rds.route_config_name for hcm in _filters(listener, pb.HttpConnectionManager)}


def _extension_names(listener: pb.AnyMessage) -> set[str]:
    filters = (each for chain in listener.filter_chains for each in chain.filters)
    own = {each.name for each in filters if each.HasField("config_discovery")}
    http = (each for hcm in _filters(listener, pb.HttpConnectionManager) for each in hcm.http_filters)
    return own | {each.name for each in http if each.HasField("config_discovery")}


def _proxied(listener: pb.AnyMessage) -> set[str]:
    proxies = [each for each in listener.listener_filters if each.typed_config.Is(pb.UdpProxyConfig.DESCRIPTOR)]
    matchers = [_unpacked(each.typed_config, pb.UdpProxyConfig).matcher for each in proxies]
    return {_unpacked(_action(matcher).typed_config, pb.UdpRoute).cluster for matcher in matchers}


def _action(matcher: pb.AnyMessage) -> pb.AnyMessage:
    """Return the one action of a matcher of `filters.from_sources`."""
    if matcher.HasField("on_no_match"):
        return matcher.on_no_match.action
    return matcher.matcher_list.matchers[0].on_match.action


def _unpacked(packed: pb.AnyMessage, kind: type) -> pb.AnyMessage:
    message = kind()
    packed.Unpack(message)
    return message


def _filters(listener: pb.AnyMessage, kind: type) -> Iterator[pb.AnyMessage]:
    for chain in listener.filter_chains:
        for each in chain.filters:
            message = kind()
            if each.typed_config.Unpack(message):
                yield message
