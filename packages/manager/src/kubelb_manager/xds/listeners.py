"""Listeners: a port and what stands behind it. Everything that may change while connections live is elsewhere.

A changed listener drains its connections, so routes come by RDS, endpoints by EDS, and what a layer-4 TCP listener
does with connections by ECDS. Its own bytes depend on its name and port, and on the clients that it lets in: the rule
that chooses its one filter chain may change under connections, the chain itself never does. A UDP listener has no
connections to drain; its change costs clients their session, seldom a datagram (measured).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubelb_manager.ir.model import HeaderLimits, HttpListener, L4Listener, Protocol
from kubelb_manager.xds import filters, shares
from kubelb_manager.xds import protos as pb

_CHAIN = "all"


def http_listener(listener: HttpListener, fleet: str, limits: HeaderLimits, *, ipv6: bool) -> bytes:
    """Return the serialised listener whose requests are routed by the RouteConfiguration of the same name."""
    requests = shares.http_filter(listener.name)
    manager = filters.http_connection_manager(listener.name, fleet, listener.client, limits, requests)
    chain = pb.FilterChain(filters=[manager])
    before = [filters.proxy_protocol()] if listener.client.proxy_protocol else []
    message = _listener(listener.name, listener.port, ipv6=ipv6, listener_filters=before, filter_chains=[chain])
    return _serialised(message)


def tcp_listener(listener: L4Listener, *, ipv6: bool) -> bytes:
    """Return the serialised listener whose connections are served by the extension of the same name."""
    chain = pb.FilterChain(name=_CHAIN, filters=[filters.extension(listener.name)])
    before = [filters.proxy_protocol()] if listener.behind_proxy else []
    message = _listener(listener.name, listener.port, ipv6=ipv6, listener_filters=before, filter_chains=[chain])
    if listener.source_ranges:
        message.filter_chain_matcher.CopyFrom(_allowed(listener.source_ranges))
    return _serialised(message)


def udp_listener(listener: L4Listener, fleet: str, *, ipv6: bool) -> bytes:
    """Return the serialised listener whose datagrams go to one cluster."""
    proxy = filters.udp_proxy(listener.name, listener.cluster, fleet, listener.source_ranges)
    size = pb.UInt64Value(value=filters.MAX_DATAGRAM)
    message = _listener(
        listener.name,
        listener.port,
        ipv6=ipv6,
        protocol=Protocol.UDP,
        listener_filters=[proxy],
        udp_listener_config=pb.UdpListenerConfig(
            downstream_socket_config=pb.UdpSocketConfig(max_rx_datagram_size=size)
        ),
    )
    return _serialised(message)


def tcp_extension(listener: L4Listener, fleet: str) -> bytes:
    """Return the serialised extension that a TCP listener names: where its connections go."""
    proxy = filters.tcp_proxy(listener.name, listener.cluster, fleet)
    return _serialised(pb.TypedExtensionConfig(name=listener.name, typed_config=pb.any_of(proxy)))


def _allowed(source_ranges: Sequence[str]) -> Any:
    chain = pb.MatcherAction(name=_CHAIN, typed_config=pb.any_of(pb.StringValue(value=_CHAIN)))
    return filters.from_sources(chain, source_ranges)


def _listener(name: str, port: int, *, ipv6: bool, protocol: Protocol = Protocol.TCP, **rest: Any) -> Any:
    address = pb.SocketAddress(
        address="::" if ipv6 else "0.0.0.0",  # noqa: S104 -- the pod's own network is the border
        port_value=port,
        ipv4_compat=ipv6,
        protocol=pb.SocketAddress.UDP if protocol is Protocol.UDP else pb.SocketAddress.TCP,
    )
    return pb.Listener(name=name, address=pb.Address(socket_address=address), **rest)


def _serialised(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
