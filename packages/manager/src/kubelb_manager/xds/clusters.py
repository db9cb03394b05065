"""Clusters: how Envoy reaches a tenant's Service port. Where it is, comes by EDS.

Layer 7 has no active check: Envoy withholds the acknowledgement of clusters while any of them warms,
and a node port's failure is seen by the request itself, which is tried on another node (`routes`).
Layer 4 cannot try again once bytes have flowed, so its nodes are checked (ruling 27). A UDP port says nothing to
a check: UDP follows the readiness of the nodes, which comes with the endpoints.
"""

from __future__ import annotations

from typing import Any

from kubelb_manager.ir.model import Cluster, HeaderLimits, Layer, Protocol
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.filters import over_ads

#: Seconds. One lost SYN is sent again after 1 s; two are a dead node.
CONNECT_TIMEOUT = 2
#: Seconds. Below the shortest keep-alive that is common among servers (5 s: Node.js, Apache, uvicorn), so that
#: the side that closes an idle connection is Envoy, which knows whether a request is on its way (ruling 19).
UPSTREAM_IDLE = 4
#: Seconds that a node has to take a connection of the active check (ruling 27).
CHECK_TIMEOUT = 1
#: In effect no limit: a tenant's limits are its own setting, not Envoy's defaults of 1024 (and 3 retries).
_NO_LIMIT = 1_000_000

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(of: Cluster, limits: HeaderLimits) -> bytes:
    """Return the serialised cluster; its endpoints are the assignment of the same name.

    A response beyond `limits` is answered with 502 in its place.
    """
    message = pb.Cluster(
        name=of.name,
        type=pb.Cluster.EDS,
        eds_cluster_config=pb.Cluster.EdsClusterConfig(eds_config=over_ads()),
        connect_timeout=pb.duration(CONNECT_TIMEOUT),
        lb_policy=pb.Cluster.MAGLEV if of.source_affinity else pb.Cluster.ROUND_ROBIN,
        circuit_breakers=_no_limits(),
        # All nodes looking dead is more often our own view than the truth, but then a refused connection is the
        # honest answer: a wrong node would be tried and time out.
        common_lb_config=pb.Cluster.CommonLbConfig(
            healthy_panic_threshold={"value": 0.0},
        ),
        # A node that left must get no new connection, whatever its last check said.
        ignore_health_on_host_removal=True,
    )
    if of.layer is Layer.L4:
        if of.protocol is Protocol.TCP:
            message.health_checks.append(_tcp_check(healthy=1 if of.local_only else 2))
        if of.proxy_protocol:
            message.transport_socket.CopyFrom(_proxy_protocol())
    else:
        message.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(pb.any_of(_http1(limits)))
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _http1(limits: HeaderLimits) -> Any:
    return pb.UpstreamHttpOptions(
        common_http_protocol_options=pb.HttpProtocolOptions(
            idle_timeout=pb.duration(UPSTREAM_IDLE),
            max_headers_count=pb.UInt32Value(value=limits.number),
            max_response_headers_kb=pb.UInt32Value(value=limits.response_kib),
        ),
        explicit_http_config=pb.UpstreamHttpOptions.ExplicitHttpConfig(http_protocol_options=pb.Http1ProtocolOptions()),
    )


def _tcp_check(*, healthy: int) -> Any:
    return pb.HealthCheck(
        timeout=pb.duration(CHECK_TIMEOUT),
        interval=pb.duration(5),
        no_traffic_interval=pb.duration(5),
        # A node that comes late, or back, must not wait out a whole interval.
        unhealthy_interval=pb.duration(1),
        unhealthy_threshold=pb.UInt32Value(value=3),
        healthy_threshold=pb.UInt32Value(value=healthy),
        tcp_health_check=pb.HealthCheck.TcpHealthCheck(),
    )


def _proxy_protocol() -> Any:
    """Return the transport socket that names the client first; a check connects and says nothing (seen)."""
    raw = pb.TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=pb.any_of(pb.RawBuffer()))
    header = pb.ProxyProtocolUpstreamTransport(
        config=pb.ProxyProtocolConfig(version=pb.ProxyProtocolConfig.V2), transport_socket=raw
    )
    return pb.TransportSocket(name="envoy.transport_sockets.upstream_proxy_protocol", typed_config=pb.any_of(header))


def _no_limits() -> Any:
    limit = pb.UInt32Value(value=_NO_LIMIT)
    return pb.CircuitBreakers(
        thresholds=[
            pb.CircuitBreakers.Thresholds(
                max_connections=limit, max_pending_requests=limit, max_requests=limit, max_retries=limit
            )
        ]
    )
