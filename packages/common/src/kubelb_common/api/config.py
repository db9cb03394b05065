"""Config: settings of the whole hub. One object, `default`, in the manager's namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kubelb_common.api.codecs import Raw
from kubelb_common.api.kind import Column, Kind, KindInfo
from kubelb_common.api.meta import CONDITION_LIST, Condition
from kubelb_common.api.record import Record, field, record
from kubelb_common.api.settings import (
    CIDR_LIST,
    DURATION,
    AllowedAddresses,
    AnnotationSettings,
    CertificateSettings,
    GatewaySettings,
    HostSettings,
    InForce,
    IngressSettings,
    Limits,
    LoadBalancerSettings,
)
from kubelb_common.api.version import Version

TOPOLOGY = {"enum": ["shared", "dedicated", "global"]}
_NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
_QUANTITY_MAP = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": rf"^(\+|-)?{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{_NUMBER}))?$",
        "x-kubernetes-int-or-string": True,
    },
}
RESOURCES = {
    "properties": {
        "limits": _QUANTITY_MAP,
        "requests": _QUANTITY_MAP,
        "claims": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "request": {"type": "string"}},
                "required": ["name"],
            },
        },
    },
    "x-kubernetes-preserve-unknown-fields": None,
}
_TOLERATION = {
    "properties": {
        "key": {"type": "string"},
        "operator": {"type": "string"},
        "value": {"type": "string"},
        "effect": {"type": "string"},
        "tolerationSeconds": {"type": "integer", "format": "int64"},
    },
    "x-kubernetes-preserve-unknown-fields": None,
}


@record
class GracefulShutdown(Record):
    """How an Envoy pod leaves without cutting connections."""

    disabled: bool = field("Stop at once.", default=False, schema={"default": False})
    drain_timeout: str = field(
        "Longest wait for connections to end.", default="60s", schema={"default": "60s", **DURATION}
    )
    min_drain_duration: str = field("Shortest wait.", default="5s", schema={"default": "5s", **DURATION})
    termination_grace_period_seconds: int = field(
        "Grace period of the pod in seconds; 15 s more than drainTimeout where it is less than that.",
        default=300,
        schema={"default": 300, "minimum": 30, "format": "int64"},
    )


@record
class OverloadManager(Record):
    """Limits at which Envoy refuses load; nothing is limited where a value is absent."""

    enabled: bool = field("Whether the limits apply.", default=False, schema={"default": False})
    max_active_downstream_connections: int | None = field(
        "Connections per Envoy.", default=None, schema={"format": "int64", "minimum": 0}
    )
    max_heap_size_bytes: int | None = field(
        "Heap per Envoy in bytes.", default=None, schema={"format": "int64", "minimum": 0}
    )


@record
class PodMonitorSettings(Record):
    """Scraping of Envoy's metrics by the Prometheus operator."""

    enabled: bool = field("Create PodMonitors.", default=False, schema={"default": False})


@record
class NetworkPolicySettings(Record):
    """The NetworkPolicies of the fleets; they need a network that enforces them."""

    disable: bool = field("Make none.", default=False, schema={"default": False})


@record
class HeaderLimits(Record):
    """Sizes of HTTP headers."""

    max_request_headers_kb: int | None = field(
        "Request headers in KiB; 8192 if absent.", default=None, schema={"minimum": 1, "maximum": 8192}
    )
    max_request_headers_count: int | None = field(
        "Number of request headers; 4096 if absent.", default=None, schema={"minimum": 1}
    )
    max_response_headers_kb: int | None = field(
        "Response headers in KiB; 8192 if absent.", default=None, schema={"minimum": 1, "maximum": 8192}
    )


@record
class EnvoyProxy(Record):
    """The fleets of Envoy proxies."""

    topology: str = field(
        "shared: a fleet per tenant; dedicated: a fleet per load balancer; global: one fleet for all tenants.",
        default="shared",
        schema={"default": "shared", **TOPOLOGY},
    )
    use_daemonset: bool = field("Run a DaemonSet; replicas is then ignored.", default=False, schema={"default": False})
    replicas: int = field("Pods per fleet.", default=3, schema={"default": 3, "minimum": 1})
    single_pod_per_node: bool = field("Spread the pods over nodes.", default=False, schema={"default": False})
    image: str = field("Image of Envoy; the manager's own choice if absent.", default="")
    node_selector: Mapping[str, str] = field("Nodes to run on.", default_factory=dict)
    tolerations: tuple[Raw, ...] = field("Taints to tolerate.", default=(), schema={"items": _TOLERATION})
    resources: Raw | None = field("Requests and limits of the Envoy container.", default=None, schema=RESOURCES)
    affinity: Raw | None = field("Affinity of the pods, as in the core API.", default=None)
    graceful_shutdown: GracefulShutdown | None = field("How pods leave.", default=None)
    overload_manager: OverloadManager | None = field("Limits under load.", default=None)
    pod_monitor: PodMonitorSettings | None = field("Scraping of metrics.", default=None)
    header_limits: HeaderLimits | None = field("Sizes of HTTP headers.", default=None)
    hold_down: str = field(
        "How long a fleet is kept that has nothing to serve any more, so that the next object finds it ready.",
        default="5m",
        schema={"default": "5m", **DURATION},
    )
    network_policy: NetworkPolicySettings | None = field("Border of the pods' traffic.", default=None)


@record
class DnsSettings(Record):
    """Host names and DNS records of load balancers."""

    wildcard_domain: str = field("Domain under which host names are generated.", default="")
    allow_explicit_hostnames: bool = field("Tenants may choose host names.", default=False)
    use_dns_annotations: bool = field("Set annotations for external-dns.", json="useDNSAnnotations", default=False)
    use_certificate_annotations: bool = field("Set annotations for cert-manager.", default=False)


@record
class ClientAddress(Record):
    """How the client's address is found."""

    trusted_hops: int = field(
        "Entries of X-Forwarded-For that proxies in front of Envoy wrote.", default=0, schema={"minimum": 0}
    )
    trusted_cidrs: tuple[str, ...] = field(
        "Blocks whose X-Forwarded-For is believed.", json="trustedCIDRs", default=(), schema=CIDR_LIST
    )
    proxy_protocol: bool = field("Expect PROXY protocol in front of every connection.", default=False)


@record
class ConfigSpec(AnnotationSettings):
    """The settings."""

    envoy_proxy: EnvoyProxy = field("The fleets of Envoy proxies.", default_factory=EnvoyProxy)
    load_balancer: LoadBalancerSettings = field("Layer 4.", default_factory=LoadBalancerSettings)
    ingress: IngressSettings = field("Ingresses.", default_factory=IngressSettings)
    gateway_api: GatewaySettings = field("Gateway API.", json="gatewayAPI", default_factory=GatewaySettings)
    dns: DnsSettings = field("Host names of load balancers.", default_factory=DnsSettings)
    certificates: CertificateSettings = field("Certificates.", default_factory=CertificateSettings)
    limits: Limits = field("Bounds for every tenant that has none of its own.", default_factory=Limits)
    hosts: HostSettings = field("Hosts that tenants may claim.", default_factory=HostSettings)
    endpoints: AllowedAddresses = field(
        "Endpoint addresses and ports beyond node ports that tenants may use.", default_factory=AllowedAddresses
    )
    addresses: AllowedAddresses = field(
        "Load-balancer addresses that tenants may ask for.", default_factory=AllowedAddresses
    )
    denied_addresses: tuple[str, ...] | None = field(
        "CIDR blocks that no endpoint may lie in, beside those that are always refused: the management cluster's pods, "
        "services and API server.",
        default=None,
        schema=CIDR_LIST,
    )
    reference_grants: str = field(
        "Enforce: a reference across namespaces needs a ReferenceGrant. Ignore: for agents that report none.",
        default="Enforce",
        schema={"default": "Enforce", "enum": ["Enforce", "Ignore"]},
    )
    client_address: ClientAddress = field("How the client's address is found.", default_factory=ClientAddress)


@record
class ConfigStatus(Record):
    """What runs."""

    version: Version | None = field("Version of the manager.", default=None)
    in_force: InForce | None = field("The last good settings.", default=None)
    conditions: tuple[Condition, ...] = field(
        "SettingsValid: whether the spec can be used; while it cannot, the last good settings hold.",
        default=(),
        schema=CONDITION_LIST,
    )


@record
class Config(Kind):
    """Settings of the whole hub; only the object `default` in the manager's namespace counts."""

    info: ClassVar[KindInfo] = KindInfo(
        "Config",
        "configs",
        "config",
        columns=(Column("Edition", ".status.version.edition"), Column("Version", ".status.version.gitVersion")),
    )

    kind: str = field(default="Config")
    spec: ConfigSpec = field(default_factory=ConfigSpec)
    status: ConfigStatus = field(default_factory=ConfigStatus)
