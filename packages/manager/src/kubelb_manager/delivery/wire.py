"""Delta xDS messages as bytes: requests parsed, responses joined from the cached bytes of their resources.

Joining is about four times as fast as building protobuf objects and serialising them, and it copies
each resource once. A test holds the result equal to protobuf's own.
"""

from __future__ import annotations

from typing import NamedTuple

from kubelb_manager.delivery.messages import Request, Response
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import Resource
from kubelb_manager.xds.wire import framed

# Field numbers: DeltaDiscoveryResponse, its Resource, and google.protobuf.Any.
_RESOURCES, _TYPE_URL, _NONCE, _REMOVED = 2, 4, 5, 6
_VERSION, _BODY, _NAME = 1, 2, 3
_ANY_TYPE_URL, _ANY_VALUE = 1, 2


class Incoming(NamedTuple):
    """A request and the node id that it carries; Envoy says its node in a stream's first request only."""

    request: Request
    node_id: str


def decode(data: bytes) -> Incoming:
    """Parse a DeltaDiscoveryRequest.

    Raises:
        ValueError: if `data` is no such message.
    """
    try:
        message = pb.DeltaDiscoveryRequest.FromString(data)
    except pb.DecodeError as error:
        raise ValueError(f"not a DeltaDiscoveryRequest: {error}") from error
    request = Request(
        type_url=message.type_url,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else None,
    )
    return Incoming(request, message.node.id)


def encode(response: Response) -> bytes:
    """Return `response` as a serialised DeltaDiscoveryResponse."""
    url = response.type_url.encode()
    any_head = framed(_ANY_TYPE_URL, url)
    parts = [_resource(any_head, each) for each in response.resources]
    parts.append(framed(_TYPE_URL, url))
    parts.append(framed(_NONCE, response.nonce.encode()))
    parts.extend(framed(_REMOVED, name.encode()) for name in response.removed)
    return b"".join(parts)


def _resource(any_head: bytes, of: Resource) -> bytes:
    packed = any_head + framed(_ANY_VALUE, of.body)
    return framed(
        _RESOURCES, framed(_VERSION, of.version.encode()) + framed(_BODY, packed) + framed(_NAME, of.name.encode())
    )
