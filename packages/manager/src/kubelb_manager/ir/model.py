"""What a fleet of Envoys must do, in words of our own.

Two shapes:

* `Part`: what *one* source object (a Route or a LoadBalancer) asks of its fleet. Translation makes
  it; it is adopted or held back as a whole (`rollout`).
* `Fleet`: what all adopted parts come to: listeners, one RouteTable per host, clusters. `merge`
  makes it; `xds` says it in Envoy's words.

Everything is frozen, hashable and compared by value; addresses are resolved IP literals, ports are
assigned, names are final, tuples are sorted where order has no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, NewType

#: `a.example.com` (exact), `*.example.com` (exactly one label, ruling 34) or `*` (any host). Lower case, no port.
Host = NewType("Host", str)
ANY_HOST = Host("*")


class Origin(NamedTuple):
    """The object of our contract that something comes from, in the management cluster."""

    kind: str
    namespace: str
    name: str


class FleetId(NamedTuple):
    """A fleet: the namespace that its pods run in, and its name there."""

    namespace: str
    name: str

    @property
    def key(self) -> str:
        """The xDS node cluster, and the key in the delivery's cache."""
        return f"{self.namespace}/{self.name}"


class Protocol(StrEnum):
    """Layer 4 protocol of a listener or endpoint."""

    TCP = "TCP"
    UDP = "UDP"


class Endpoint(NamedTuple):
    """An IP literal (v4 or v6, no brackets), a port and its protocol."""

    address: str
    port: int
    protocol: Protocol = Protocol.TCP


class Layer(StrEnum):
    """How Envoy uses a cluster: requests (no active check) or connections (TCP connect check) and datagrams (none)."""

    L7 = "L7"
    L4 = "L4"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A tenant's Service port behind its node port on the tenant's nodes.

    `name` contains everything that makes it another backend, the node port and the options below included, so a
    re-created Service is a new cluster, as is one that gets the PROXY protocol, and only node addresses ever change
    inside one.
    """

    name: str
    layer: Layer
    endpoints: tuple[Endpoint, ...]
    #: Of the endpoints; UDP only at layer 4.
    protocol: Protocol = Protocol.TCP
    #: True: only nodes that host a ready pod answer (externalTrafficPolicy Local), so one answer is enough.
    local_only: bool = False
    #: sessionAffinity ClientIP: Maglev over the source address.
    source_affinity: bool = False
    #: Each connection begins with a PROXY protocol v2 header that names the client; TCP only.
    proxy_protocol: bool = False


class PathKind(StrEnum):
    """How a path is compared."""

    EXACT = "Exact"
    #: By path elements: `/foo` matches `/foo` and `/foo/bar`, never `/foobar`. `/` matches all.
    PREFIX = "Prefix"


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A path condition. `value` starts with `/`; a PREFIX has no final `/` except the root itself."""

    kind: PathKind
    value: str


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request to a cluster."""

    cluster: str


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer directly with this HTTP status and no body."""

    status: int


Action = Forward | Respond


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One match and its action, and the object it came from."""

    match: PathMatch
    action: Action
    origin: Origin


@dataclass(frozen=True, slots=True)
class HostRules:
    """What one source object says about one host; rules in the object's own order."""

    host: Host
    rules: tuple[RouteRule, ...]


@dataclass(frozen=True, slots=True)
class L4Listener:
    """A port of Envoy whose connections or datagrams go to one cluster.

    Attributes:
        name: unique among listeners.
        port: Envoy's.
        cluster: where everything goes; may change while connections live.
        protocol: of the listener and its cluster.
        source_ranges: CIDRs (canonical, sorted) from which clients are let in; empty: from anywhere.
        behind_proxy: every connection begins with a PROXY protocol header that says who the client is; TCP only.
    """

    name: str
    port: int
    cluster: str
    protocol: Protocol = Protocol.TCP
    source_ranges: tuple[str, ...] = ()
    behind_proxy: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What one source object asks of its fleet.

    Attributes:
        origin: the object of our contract.
        age: sort key for conflicts, smaller is older: creation time of the source in seconds since
            the epoch, then `namespace/name` of the source (ruling 7).
        hosts: rules by host, for layer 7; each host once.
        default_backend: serves the path misses of this object's hosts, and unknown hosts if this is
            the fleet's oldest (ruling 34).
        listeners: ports whose connections go to one cluster: layer 4, and TLS that is passed through.
        http_listeners: ports whose requests all go to one cluster: Services of a delegated object.
        clusters: every cluster that an action or listener above names, each once, sorted by name.
    """

    origin: Origin
    age: tuple[float, str]
    hosts: tuple[HostRules, ...] = ()
    default_backend: Action | None = None
    listeners: tuple[L4Listener, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    http_listeners: tuple[HttpListener, ...] = ()

    @property
    def serves_http(self) -> bool:
        """Whether this part needs the fleet's HTTP listener."""
        return bool(self.hosts) or self.default_backend is not None


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All rules of one host, most specific first, and what happens to a path miss."""

    host: Host
    rules: tuple[RouteRule, ...]
    miss: Action


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """How an HTTP listener tells who its client is (ruling 9); by default whoever connects.

    Attributes:
        trusted_hops: so many proxies in front are believed to have written X-Forwarded-For.
        trusted_cidrs: blocks in which proxies are believed, however many; sorted. Excludes `trusted_hops`.
        proxy_protocol: every connection begins with a PROXY protocol header.
    """

    trusted_hops: int = 0
    trusted_cidrs: tuple[tuple[str, int], ...] = ()
    proxy_protocol: bool = False


@dataclass(frozen=True, slots=True)
class HttpListener:
    """A port of Envoy that chooses by host and path. `unknown_host` answers hosts without a table."""

    name: str
    port: int
    tables: tuple[RouteTable, ...]
    unknown_host: Action
    client: ClientAddress = ClientAddress()


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """What HTTP headers may come to, from clients and from backends. KiB stand for all headers of a message.

    `number` is for either direction, for there is one setting for it.
    """

    request_kib: int = 8192
    number: int = 4096
    response_kib: int = 8192


@dataclass(frozen=True, slots=True)
class Share:
    """What a tenant may have of *one* Envoy (ruling 20): its limits divided by the ready ones. None is no limit.

    Attributes:
        connections: open at once on one listener.
        requests: per second, over all hosts.
    """

    connections: int | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything a set of identical Envoys serves. `key` is the xDS node cluster, `<tenant namespace>/<fleet>`.

    `shares` are those of tenants with limits, by namespace, sorted. What belongs to all tenants of a fleet (an HTTP
    listener of the fleet of all tenants) has the share of nobody.
    """

    key: str
    http: tuple[HttpListener, ...] = ()
    l4: tuple[L4Listener, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    header_limits: HeaderLimits = HeaderLimits()
    shares: tuple[tuple[str, Share], ...] = ()

    def share(self, namespace: str) -> Share:
        """Return the share of a tenant; without limits for one that has none."""
        return next((share for name, share in self.shares if name == namespace), Share())
