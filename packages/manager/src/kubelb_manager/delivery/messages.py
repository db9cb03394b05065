"""What passes over a delta xDS stream, without protobuf: values for the protocol machine and its tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kubelb_manager.xds.resources import Resource, ResourceTable

#: The name that subscribes to everything of a type.
WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class Request:
    """A DeltaDiscoveryRequest.

    Attributes:
        type_url: the type that it is about.
        subscribe: names to add; may hold `*`.
        unsubscribe: names to take away; may hold `*`.
        initial_versions: name -> version of what the client already has; only in a type's first request.
        nonce: of the response that this acknowledges or refuses; empty in a request of its own accord.
        error: Envoy's text if it refused that response, else None.
    """

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A DeltaDiscoveryResponse: what is new or changed, and names that are no more."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a fleet is served since `generation`.

    `clusters_only`: nothing is said about listeners and routes yet, neither new ones nor that one is
    gone. A manager that has just started knows its clusters before it knows every route.
    """

    generation: int
    table: ResourceTable
    clusters_only: bool = False


@dataclass(frozen=True, slots=True)
class Nack:
    """Envoy refused resources, and still refuses them: it keeps what it had of them before.

    Attributes:
        type_url: their type.
        names: the refused resources; usually one, because a refused response is taken apart.
        message: Envoy's text. It may show other tenants' names: never pass it to a tenant unread.
        generation: in which they were sent.
    """

    type_url: str
    names: tuple[str, ...]
    message: str
    generation: int
