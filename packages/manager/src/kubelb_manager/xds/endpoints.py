"""Endpoint assignments: one locality, in the IR's order, which is sorted."""

from __future__ import annotations

from typing import Any

from kubelb_manager.ir.model import Cluster, Endpoint, Protocol
from kubelb_manager.xds import protos as pb


def assignment(of: Cluster) -> bytes:
    """Return the serialised assignment for a cluster; one without endpoints is an answer too."""
    message = pb.ClusterLoadAssignment(cluster_name=of.name)
    if of.endpoints:
        message.endpoints.append(pb.LocalityLbEndpoints(lb_endpoints=[_endpoint(each) for each in of.endpoints]))
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _endpoint(of: Endpoint) -> Any:
    protocol = pb.SocketAddress.UDP if of.protocol is Protocol.UDP else pb.SocketAddress.TCP
    address = pb.SocketAddress(address=of.address, port_value=of.port, protocol=protocol)
    return pb.LbEndpoint(endpoint=pb.Endpoint(address=pb.Address(socket_address=address)))
