"""The one door to `envoy.*`, `xds.*` and `google.*`: message classes by the names that the rest of this room uses.

xds-protos ships no stubs, so everything here is `Any` to a type checker. Only modules that are used
are imported: all of them would cost every process half a second at start.
"""

from __future__ import annotations

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.address_pb2 import Address, CidrRange, SocketAddress
from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent, TransportSocket
from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    ExtensionConfigSource,
)
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.health_check_pb2 import HealthCheck
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
)
from envoy.config.core.v3.proxy_protocol_pb2 import ProxyProtocolConfig
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.core.v3.udp_socket_config_pb2 import UdpSocketConfig
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.listener.v3.udp_listener_config_pb2 import UdpListenerConfig
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    HeaderMatcher,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.filters.udp.udp_proxy.v3.route_pb2 import Route as UdpRoute
from envoy.extensions.filters.udp.udp_proxy.v3.udp_proxy_pb2 import UdpProxyConfig
from envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy.extensions.http.original_ip_detection.xff.v3.xff_pb2 import XffConfig, XffTrustedCidrs
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import SourceIPInput
from envoy.extensions.matching.input_matchers.ip.v3.ip_pb2 import Ip as IpMatcher
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from envoy.extensions.transport_sockets.proxy_protocol.v3.upstream_proxy_protocol_pb2 import (
    ProxyProtocolUpstreamTransport,
)
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import (
    HttpProtocolOptions as UpstreamHttpOptions,
)
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from envoy.service.runtime.v3.rtds_pb2 import Runtime
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.hash_policy_pb2 import HashPolicy
from envoy.type.v3.percent_pb2 import FractionalPercent
from envoy.type.v3.token_bucket_pb2 import TokenBucket
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue, DoubleValue, StringValue, UInt32Value, UInt64Value
from xds.core.v3.extension_pb2 import TypedExtensionConfig as MatcherAction
from xds.type.matcher.v3.matcher_pb2 import Matcher

__all__ = [
    "AccessLog",
    "Address",
    "AggregatedConfigSource",
    "AnyMessage",
    "ApiVersion",
    "BoolValue",
    "CidrRange",
    "CircuitBreakers",
    "Cluster",
    "ClusterLoadAssignment",
    "ConfigSource",
    "DecodeError",
    "DeltaDiscoveryRequest",
    "DeltaDiscoveryResponse",
    "DirectResponseAction",
    "DoubleValue",
    "Duration",
    "EarlyHeaderMutation",
    "Endpoint",
    "ExtensionConfigSource",
    "Filter",
    "FilterChain",
    "FractionalPercent",
    "HashPolicy",
    "HeaderMatcher",
    "HeaderMutation",
    "HealthCheck",
    "Http1ProtocolOptions",
    "Http2ProtocolOptions",
    "HttpConnectionManager",
    "HttpFilter",
    "HttpProtocolOptions",
    "IpMatcher",
    "LbEndpoint",
    "Listener",
    "ListenerFilter",
    "LocalRateLimit",
    "LocalityLbEndpoints",
    "Matcher",
    "MatcherAction",
    "MessageToDict",
    "PreviousHostsPredicate",
    "ProxyProtocol",
    "ProxyProtocolConfig",
    "ProxyProtocolUpstreamTransport",
    "RawBuffer",
    "Rds",
    "RegexMatcher",
    "RetryPolicy",
    "Route",
    "RouteAction",
    "RouteConfiguration",
    "RouteMatch",
    "Router",
    "Runtime",
    "RuntimeFractionalPercent",
    "SocketAddress",
    "SourceIPInput",
    "StdoutAccessLog",
    "StringMatcher",
    "StringValue",
    "Struct",
    "SubstitutionFormatString",
    "TcpProxy",
    "TokenBucket",
    "TransportSocket",
    "TypedExtensionConfig",
    "UInt32Value",
    "UInt64Value",
    "UdpListenerConfig",
    "UdpProxyConfig",
    "UdpRoute",
    "UdpSocketConfig",
    "UpstreamHttpOptions",
    "VirtualHost",
    "XffConfig",
    "XffTrustedCidrs",
    "any_of",
    "duration",
]

_TYPE_PREFIX = "type.googleapis.com/"


def any_of(message: object) -> AnyMessage:
    """Pack `message` with map entries in key order, so that the same message has the same bytes.

    `Any.Pack` leaves the order of map entries open, which would change versions for nothing.
    """
    name = message.DESCRIPTOR.full_name
    return AnyMessage(type_url=_TYPE_PREFIX + name, value=message.SerializeToString(deterministic=True))


def duration(seconds: float) -> Duration:
    """Return `seconds` as a protobuf duration, exact to the millisecond."""
    milliseconds = round(seconds * 1000)
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)
