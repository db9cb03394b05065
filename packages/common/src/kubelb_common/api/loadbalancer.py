"""LoadBalancer: a tenant's layer 4 load balancer, named by the UID of its Service."""

from __future__ import annotations

from typing import ClassVar

from kubelb_common import names
from kubelb_common.api.kind import AGE, Column, Kind, KindInfo, label_column
from kubelb_common.api.meta import (
    CONDITION_LIST,
    PORT_RANGE,
    PROTOCOL,
    Condition,
    LoadBalancerEndpoints,
    ServicePort,
)
from kubelb_common.api.record import Record, field, record
from kubelb_common.api.settings import CIDR_LIST


@record
class LoadBalancerPort(Record):
    """A port that clients connect to; layer 4 only."""

    name: str = field("Name; joins the port to the endpoint port of that name, else the position does.", default="")
    port: int = field("Port number.", schema=PORT_RANGE)
    protocol: str = field("Protocol; TCP if not given.", default="", schema=PROTOCOL)


@record
class Persistence(Record):
    """How clients stay with one endpoint."""

    type: str = field("SourceIP: by the client's address.", schema={"enum": ["SourceIP"]})


@record
class LoadBalancerSpec(Record):
    """What the tenant asks for."""

    endpoints: tuple[LoadBalancerEndpoints, ...] = field(
        "Where the tenant's cluster answers.", default=(), required=True, schema={"minItems": 1}
    )
    ports: tuple[LoadBalancerPort, ...] = field("Ports to listen on.", default=())
    hostname: str = field("Host name; adds an HTTP(S) route for the load balancer.", default="")
    type: str = field(
        "Type of the Service in the management cluster.", default="ClusterIP", schema={"default": "ClusterIP"}
    )
    external_traffic_policy: str = field("External traffic policy of the tenant's Service.", default="")
    persistence: Persistence | None = field("Session persistence; none if absent.", default=None)
    ip_families: tuple[str, ...] = field(
        "IP families in which the tenant's Service has its node ports; node addresses of others are left out. Any if "
        "empty.",
        json="ipFamilies",
        default=(),
        schema={"maxItems": 2, "items": {"enum": ["IPv4", "IPv6"]}},
    )
    source_ranges: tuple[str, ...] = field(
        "CIDR blocks from which clients are let in; from anywhere if empty.", default=(), schema=CIDR_LIST
    )
    load_balancer_ip: str = field(
        "Address to ask for; only from the blocks that Tenant.spec.addresses allows.",
        json="loadBalancerIP",
        default="",
    )


@record
class PortStatus(Record):
    """State of a port of an ingress address."""

    port: int = field("Port number.")
    protocol: str = field("Protocol.", required=True, default="")
    error: str | None = field("Why the port is not served.", default=None)


@record
class IngressAddress(Record):
    """An address at which clients reach the load balancer."""

    ip: str = field("Address.", default="")
    hostname: str = field("Host name.", default="")
    ip_mode: str | None = field("VIP or Proxy, as in the core API.", default=None)
    ports: tuple[PortStatus, ...] = field("State per port.", default=())


@record
class IngressStatus(Record):
    """The core API's LoadBalancerStatus, copied from the Service in the management cluster."""

    ingress: tuple[IngressAddress, ...] = field("Addresses.", default=())


@record
class ServicePortStatus(ServicePort):
    """A port of the Service in the management cluster and the tenant's port behind it."""

    upstream_target_port: int = field("Node port in the tenant's cluster.")


@record
class ServiceStatus(Record):
    """State of the Service in the management cluster."""

    ports: tuple[ServicePortStatus, ...] = field("Its ports; targetPort is the allocated Envoy port.", default=())


@record
class HostnameStatus(Record):
    """State of the load balancer's host name."""

    hostname: str = field("The host name.", default="")
    tls_enabled: bool = field("Whether a certificate is served.", default=False)
    dns_record_created: bool = field("Whether the name resolves.", default=False)


@record
class LoadBalancerStatus(Record):
    """What the manager found and did."""

    load_balancer: IngressStatus = field("Addresses for clients.", default_factory=IngressStatus)
    service: ServiceStatus = field("The Service's ports.", default_factory=ServiceStatus)
    hostname: HostnameStatus | None = field("State of the host name.", default=None)
    conditions: tuple[Condition, ...] = field(
        "Accepted, ResolvedRefs and Programmed.", default=(), schema=CONDITION_LIST
    )


@record
class LoadBalancer(Kind):
    """A load balancer that a tenant asks for, at layer 4; its name is the UID of the tenant's Service."""

    info: ClassVar[KindInfo] = KindInfo(
        "LoadBalancer",
        "loadbalancers",
        "loadbalancer",
        short_names=("lb",),
        columns=(
            label_column("OriginName", names.LABEL_ORIGIN_NAME),
            label_column("OriginNamespace", names.LABEL_ORIGIN_NAMESPACE),
            Column("Hostname", ".status.hostname.hostname"),
            Column("Programmed", ".status.conditions[?(@.type=='Programmed')].status"),
            AGE,
        ),
    )

    kind: str = field(default="LoadBalancer")
    spec: LoadBalancerSpec = field(default_factory=LoadBalancerSpec)
    status: LoadBalancerStatus = field(default_factory=LoadBalancerStatus)
