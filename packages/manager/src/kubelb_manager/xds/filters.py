"""Network and HTTP filters, access logs, and the source "over this same stream" that several messages name.

Every text that reaches a formatted field of Envoy passes `literal` (ruling 2). Nothing here is code,
and nothing is an expression made from a tenant's text.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from kubelb_manager.ir.model import ClientAddress, HeaderLimits
from kubelb_manager.xds import protos as pb

#: A request may be silent this long, in seconds; a connection too.
IDLE = 3600
#: Seconds after which a client without datagrams begins anew; Envoy's own default.
UDP_IDLE = 60
#: Bytes; Envoy's default of 1500 would cut what arrives in fragments.
MAX_DATAGRAM = 65535
#: Seconds that a listener waits for its first configuration (measured: without a limit 16 s for the whole Envoy).
EXTENSION_WAIT = 1
_STREAMS = 256
_WINDOW = 1 << 20

_COMMON_LOG = {
    "time": "%START_TIME%",
    "duration_ms": "%DURATION%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream": "%UPSTREAM_HOST%",
    "flags": "%RESPONSE_FLAGS%",
    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
_HTTP_LOG = _COMMON_LOG | {
    "method": "%REQUEST_HEADER(:METHOD)%",
    "host": "%REQUEST_HEADER(:AUTHORITY)%",
    "path": "%PATH(NQ)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "route": "%ROUTE_NAME%",
    "request_id": "%REQUEST_HEADER(X-REQUEST-ID)%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
}


def literal(text: str) -> str:
    """Return `text` so that a formatted field shows it unchanged."""
    return text.replace("%", "%%")


def over_ads() -> Any:
    """Return the config source "the same stream", without a time limit for the first answer.

    With a limit, an Envoy whose manager dies between two messages would put a cluster without
    endpoints, or a listener without routes, in the place of one that serves. Without it the old one
    stays until the manager is back, and a new Envoy stays unready until it has everything.
    """
    return pb.ConfigSource(
        ads=pb.AggregatedConfigSource(),
        resource_api_version=pb.ApiVersion.V3,
        initial_fetch_timeout=pb.duration(0),
    )


def http_connection_manager(
    listener: str, fleet: str, client: ClientAddress, limits: HeaderLimits, requests: Any
) -> Any:
    """Return the HTTP connection manager of `listener`, whose routes are the RouteConfiguration of the same name.

    A request beyond `limits` is answered with 431. `requests` is the first filter, which limits their number.
    """
    hcm = pb.HttpConnectionManager
    manager = hcm(
        stat_prefix=listener,
        rds=pb.Rds(config_source=over_ads(), route_config_name=listener),
        http_filters=[
            requests,
            pb.HttpFilter(
                name="envoy.filters.http.router",
                typed_config=pb.any_of(pb.Router(suppress_envoy_headers=True)),
            ),
        ],
        common_http_protocol_options=pb.HttpProtocolOptions(
            idle_timeout=pb.duration(IDLE),
            max_headers_count=pb.UInt32Value(value=limits.number),
            headers_with_underscores_action=pb.HttpProtocolOptions.REJECT_REQUEST,
        ),
        http2_protocol_options=pb.Http2ProtocolOptions(
            max_concurrent_streams=pb.UInt32Value(value=_STREAMS),
            initial_stream_window_size=pb.UInt32Value(value=_WINDOW),
            initial_connection_window_size=pb.UInt32Value(value=_WINDOW),
        ),
        max_request_headers_kb=pb.UInt32Value(value=limits.request_kib),
        stream_idle_timeout=pb.duration(IDLE),
        server_header_transformation=hcm.PASS_THROUGH,
        upgrade_configs=[hcm.UpgradeConfig(upgrade_type="websocket")],
        # The client is who connects; what it says about itself is not believed, unless the hub's admin knows a
        # proxy in front (ruling 9).
        use_remote_address=pb.BoolValue(value=not client.trusted_cidrs),
        xff_num_trusted_hops=client.trusted_hops,
        original_ip_detection_extensions=_trusted(client),
        early_header_mutation_extensions=_no_orders(client),
        internal_address_config=hcm.InternalAddressConfig(unix_sockets=False),
        forward_client_cert_details=hcm.SANITIZE_SET,
        generate_request_id=pb.BoolValue(value=True),
        # A final dot does not make a host another one; nor does a port, see `routes`.
        strip_trailing_host_dot=True,
        # `..` must not climb out of a path that was routed. Doubled and escaped slashes stay as they are: they
        # mean something to applications (object stores, registries, URLs in paths) and reach no other route.
        normalize_path=pb.BoolValue(value=True),
        merge_slashes=False,
        path_with_escaped_slashes_action=hcm.KEEP_UNCHANGED,
        access_log=[access_log(_HTTP_LOG, fleet, listener)],
    )
    return pb.Filter(name="envoy.filters.network.http_connection_manager", typed_config=pb.any_of(manager))


#: What a client may tell Envoy's router to do. An edge Envoy strips these; one that has trusted blocks
#: does not count as one.
_ORDERS = "x-envoy-"


def _trusted(client: ClientAddress) -> list[Any]:
    """Return the extension that reads X-Forwarded-For from the right as long as trusted proxies wrote it."""
    if not client.trusted_cidrs:
        return []
    cidrs = [
        pb.CidrRange(address_prefix=address, prefix_len=pb.UInt32Value(value=length))
        for address, length in client.trusted_cidrs
    ]
    config = pb.XffConfig(xff_trusted_cidrs=pb.XffTrustedCidrs(cidrs=cidrs), skip_xff_append=pb.BoolValue(value=False))
    return [_extension("envoy.http.original_ip_detection.xff", config)]


def _no_orders(client: ClientAddress) -> list[Any]:
    if not client.trusted_cidrs:
        return []
    removal = pb.HeaderMutation.RemoveOnMatch(key_matcher=pb.StringMatcher(prefix=_ORDERS))
    config = pb.EarlyHeaderMutation(mutations=[pb.HeaderMutation(remove_on_match=removal)])
    return [_extension("envoy.http.early_header_mutation.header_mutation", config)]


def _extension(name: str, config: Any) -> Any:
    return pb.TypedExtensionConfig(name=name, typed_config=pb.any_of(config))


def proxy_protocol() -> Any:
    """Return the listener filter that takes the client's address from a PROXY protocol header, which must be there."""
    return pb.ListenerFilter(name="envoy.filters.listener.proxy_protocol", typed_config=pb.any_of(pb.ProxyProtocol()))


def tcp_proxy(listener: str, cluster: str, fleet: str) -> Any:
    """Return what the filter of `extension` is configured with: each connection of `listener` goes to `cluster`.

    The hash of the source address is always computed, and has an effect only where the cluster is Maglev.
    """
    return pb.TcpProxy(
        stat_prefix=listener,
        cluster=cluster,
        hash_policy=[pb.HashPolicy(source_ip=pb.HashPolicy.SourceIp())],
        max_connect_attempts=pb.UInt32Value(value=3),
        idle_timeout=pb.duration(IDLE),
        access_log=[access_log(_COMMON_LOG, fleet, listener)],
    )


def extension(name: str) -> Any:
    """Return the tcp_proxy filter whose configuration is the extension `name`, which may change under connections.

    A configuration that was promised and does not come holds back the start of the whole Envoy, so the wait is
    short; until it comes, the listener that waits for it, and no other, closes its connections.
    """
    source = over_ads()
    source.initial_fetch_timeout.CopyFrom(pb.duration(EXTENSION_WAIT))
    types = [pb.any_of(pb.TcpProxy()).type_url]
    return pb.Filter(name=name, config_discovery=pb.ExtensionConfigSource(config_source=source, type_urls=types))


def udp_proxy(listener: str, cluster: str, fleet: str, source_ranges: Sequence[str]) -> Any:
    """Return the listener filter that sends each client's datagrams to `cluster`.

    Datagrams from outside `source_ranges` (CIDRs; none: from anywhere) are dropped. As for `tcp_proxy`, the hash of the
    source address has an effect only where the cluster is Maglev.
    """
    route = pb.MatcherAction(name="cluster", typed_config=pb.any_of(pb.UdpRoute(cluster=cluster)))
    proxy = pb.UdpProxyConfig(
        stat_prefix=listener,
        matcher=from_sources(route, source_ranges),
        hash_policies=[pb.UdpProxyConfig.HashPolicy(source_ip=True)],
        idle_timeout=pb.duration(UDP_IDLE),
        upstream_socket_config=pb.UdpSocketConfig(max_rx_datagram_size=pb.UInt64Value(value=MAX_DATAGRAM)),
        access_log=[access_log(_COMMON_LOG, fleet, listener)],
    )
    return pb.ListenerFilter(name="envoy.filters.udp_listener.udp_proxy", typed_config=pb.any_of(proxy))


def from_sources(action: Any, source_ranges: Sequence[str]) -> Any:
    """Return a matcher that takes `action` for clients of these CIDRs and nothing for others; for all without CIDRs."""
    if not source_ranges:
        return pb.Matcher(on_no_match=pb.Matcher.OnMatch(action=action))
    parsed = [ipaddress.ip_network(each) for each in source_ranges]
    ranges = [
        pb.CidrRange(address_prefix=str(each.network_address), prefix_len=pb.UInt32Value(value=each.prefixlen))
        for each in parsed
    ]
    ip = pb.IpMatcher(cidr_ranges=ranges, stat_prefix="source_ranges")
    rules = pb.Matcher.MatcherList
    one_of = rules.Predicate.SinglePredicate(
        input=pb.MatcherAction(name="envoy.matching.inputs.source_ip", typed_config=pb.any_of(pb.SourceIPInput())),
        custom_match=pb.MatcherAction(name="envoy.matching.matchers.ip", typed_config=pb.any_of(ip)),
    )
    allowed = rules.FieldMatcher(
        predicate=rules.Predicate(single_predicate=one_of), on_match=pb.Matcher.OnMatch(action=action)
    )
    return pb.Matcher(matcher_list=rules(matchers=[allowed]))


def access_log(fields: dict[str, str], fleet: str, listener: str) -> Any:
    """Return an access log to standard output, one JSON object a line."""
    shape = pb.Struct()
    shape.update(fields | {"fleet": literal(fleet), "listener": literal(listener)})
    log = pb.StdoutAccessLog(log_format=pb.SubstitutionFormatString(json_format=shape))
    return pb.AccessLog(name="envoy.access_loggers.stdout", typed_config=pb.any_of(log))
