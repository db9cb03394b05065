"""Listeners: a port and one filter chain. Everything that may change while connections live is elsewhere.

A changed listener drains its connections, so routes come by RDS, endpoints by EDS, and a listener's
own bytes depend only on its name, port and (layer 4) cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubelb_manager.ir.model import HeaderLimits, HttpListener, TcpListener
from kubelb_manager.xds import filters
from kubelb_manager.xds import protos as pb


def http_listener(listener: HttpListener, fleet: str, limits: HeaderLimits, *, ipv6: bool) -> bytes:
    """Return the serialised listener whose requests are routed by the RouteConfiguration of the same name."""
    manager = filters.http_connection_manager(listener.name, fleet, listener.client, limits)
    before = [filters.proxy_protocol()] if listener.client.proxy_protocol else []
    return _listener(listener.name, listener.port, manager, ipv6=ipv6, before=before)


def tcp_listener(listener: TcpListener, fleet: str, *, ipv6: bool) -> bytes:
    """Return the serialised listener whose connections go to one cluster."""
    proxy = filters.tcp_proxy(listener.name, listener.cluster, fleet)
    return _listener(listener.name, listener.port, proxy, ipv6=ipv6)


def _listener(name: str, port: int, network_filter: Any, *, ipv6: bool, before: Iterable[Any] = ()) -> bytes:
    message = pb.Listener(
        name=name,
        address=pb.Address(
            socket_address=pb.SocketAddress(
                address="::" if ipv6 else "0.0.0.0",  # noqa: S104 -- the pod's own network is the border
                port_value=port,
                ipv4_compat=ipv6,
            )
        ),
        listener_filters=before,
        filter_chains=[pb.FilterChain(filters=[network_filter])],
    )
    data: bytes = message.SerializeToString(deterministic=True)
    return data
