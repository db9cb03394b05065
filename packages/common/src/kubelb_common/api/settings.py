"""Settings that the admin gives for the whole hub (Config) and for one tenant (Tenant)."""

from __future__ import annotations

from collections.abc import Mapping

from kubelb_common.api.codecs import Raw
from kubelb_common.api.meta import ObjectReference
from kubelb_common.api.record import Record, field, record

#: Syntax of Go's `time.ParseDuration`, which the original reads, without negative values.
DURATION = {"pattern": r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$"}
CIDR_LIST = {"maxItems": 256, "items": {"minLength": 1, "maxLength": 49}}
HOST_LIST = {"maxItems": 1024, "items": {"minLength": 1, "maxLength": 253}}


@record
class InForce(Record):
    """The settings that hold while those of the spec are malformed; written by the manager, never by hand."""

    observed_generation: int | None = field(
        "The last generation whose settings could be used.", default=None, schema={"format": "int64"}
    )
    spec: Raw = field("Its spec.", default_factory=dict)


@record
class AnnotationSettings(Record):
    """Which annotations of a tenant's objects reach the objects in the management cluster."""

    propagated_annotations: Mapping[str, str] = field(
        "Annotations that pass: pattern of the key to a comma-separated list of allowed values; empty allows any.",
        default_factory=dict,
    )
    propagate_all_annotations: bool | None = field(
        "Let all annotations pass; propagatedAnnotations is then without effect. The built-in deny list stands above.",
        default=None,
        schema={"nullable": True},
    )
    denied_annotations: tuple[str, ...] = field("Patterns of keys that never pass.", default=())
    default_annotations: Mapping[str, Mapping[str, str]] = field(
        "Annotations to set on generated objects, by resource: all, service, ingress, gateway, httproute, grpcroute, "
        "tcproute, udproute, tlsroute.",
        default_factory=dict,
    )


@record
class LoadBalancerSettings(Record):
    """Layer 4 load balancing."""

    class_: str | None = field(
        "Load-balancer class of the Services in the management cluster; set at creation only.",
        json="class",
        default=None,
    )
    disable: bool = field("Stop traffic and remove what was generated.", default=False)


@record
class IngressSettings(Record):
    """Ingresses."""

    class_: str | None = field("Class of the Ingresses in the management cluster.", json="class", default=None)
    disable: bool = field("Stop traffic and remove what was generated.", default=False)


@record
class GatewaySettings(Record):
    """Gateway API."""

    class_: str | None = field("GatewayClass of the Gateways in the management cluster.", json="class", default=None)
    default_gateway: ObjectReference | None = field(
        "Gateway for routes of LoadBalancer host names; name and namespace count.", default=None
    )
    disable: bool = field("Stop traffic and remove what was generated.", default=False)


@record
class CertificateSettings(Record):
    """Certificates of generated hosts."""

    default_cluster_issuer: str | None = field("cert-manager ClusterIssuer.", default=None)


@record
class AllowedHosts(Record):
    """Hosts that may be claimed."""

    allowed: tuple[str, ...] = field(
        "Globs of host names, for example `*.example.com`; empty allows any host without DNS and certificate "
        "annotations. `*` alone also allows catch-alls in a global fleet.",
        default=(),
        schema=HOST_LIST,
    )


@record
class HostSettings(AllowedHosts):
    """Hosts that may be claimed, and for how long a claim outlives its last use."""

    hold_down: str = field(
        "How long a host stays its tenant's when nothing of the tenant names it any more.",
        default="24h",
        schema={"default": "24h", **DURATION},
    )


@record
class AllowedAddresses(Record):
    """Address blocks that a tenant may use."""

    allowed: tuple[str, ...] = field("CIDR blocks.", default=(), schema=CIDR_LIST)


@record
class Limits(Record):
    """Upper bounds per tenant; what is not given is not limited."""

    load_balancers: int | None = field("LoadBalancer objects.", default=None, schema={"minimum": 0})
    routes: int | None = field("Route objects.", default=None, schema={"minimum": 0})
    gateways: int | None = field("Gateways.", default=None, schema={"minimum": 0})
    hosts: int | None = field("Distinct host names over all routes.", default=None, schema={"minimum": 0})
    connections: int | None = field(
        "Simultaneous connections; divided among the ready Envoys of the tenant's fleet.",
        default=None,
        schema={"minimum": 1},
    )
    requests_per_second: int | None = field(
        "Requests per second; divided among the ready Envoys of the tenant's fleet.",
        default=None,
        schema={"minimum": 1},
    )
