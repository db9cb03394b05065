"""Tenant: a cluster whose load is balanced here. The only cluster-scoped kind."""

from __future__ import annotations

from typing import ClassVar

from kubelb_common import names
from kubelb_common.api.codecs import Raw
from kubelb_common.api.config import RESOURCES, TOPOLOGY
from kubelb_common.api.kind import AGE, Column, Kind, KindInfo
from kubelb_common.api.meta import CONDITION_LIST, Condition
from kubelb_common.api.record import CelRule, Record, field, record
from kubelb_common.api.settings import (
    CIDR_LIST,
    AllowedAddresses,
    AllowedHosts,
    AnnotationSettings,
    CertificateSettings,
    GatewaySettings,
    InForce,
    IngressSettings,
    Limits,
    LoadBalancerSettings,
)

_INHERIT = {"nullable": True}


@record
class TenantEnvoyProxy(Record):
    """The tenant's fleets; what is absent comes from Config."""

    topology: str = field("Topology of the tenant's fleets.", default="", schema=TOPOLOGY)
    replicas: int | None = field("Pods per fleet.", default=None, schema={"minimum": 1})
    resources: Raw | None = field("Requests and limits of the Envoy container.", default=None, schema=RESOURCES)
    image: str = field("Image of Envoy.", default="")


@record
class TenantDnsSettings(Record):
    """Host names of load balancers; null inherits from Config, an explicit false or empty string overrides it."""

    wildcard_domain: str | None = field("Domain under which host names are generated.", default=None, schema=_INHERIT)
    allow_explicit_hostnames: bool | None = field("The tenant may choose host names.", default=None, schema=_INHERIT)
    use_dns_annotations: bool | None = field(
        "Set annotations for external-dns.", json="useDNSAnnotations", default=None, schema=_INHERIT
    )
    use_certificate_annotations: bool | None = field("Set annotations for cert-manager.", default=None, schema=_INHERIT)


@record
class TenantSpec(AnnotationSettings):
    """The tenant's settings; what is absent comes from Config."""

    envoy_proxy: TenantEnvoyProxy = field("The tenant's fleets.", default_factory=TenantEnvoyProxy)
    load_balancer: LoadBalancerSettings = field("Layer 4.", default_factory=LoadBalancerSettings)
    ingress: IngressSettings = field("Ingresses.", default_factory=IngressSettings)
    gateway_api: GatewaySettings = field("Gateway API.", json="gatewayAPI", default_factory=GatewaySettings)
    dns: TenantDnsSettings = field("Host names of load balancers.", default_factory=TenantDnsSettings)
    certificates: CertificateSettings = field("Certificates.", default_factory=CertificateSettings)
    limits: Limits = field("Bounds for the tenant.", default_factory=Limits)
    hosts: AllowedHosts = field("Hosts that the tenant may claim.", default_factory=AllowedHosts)
    endpoints: AllowedAddresses = field(
        "Blocks in which the tenant may use any endpoint address and port; else only node ports of its nodes.",
        default_factory=AllowedAddresses,
    )
    addresses: AllowedAddresses = field(
        "Blocks from which the tenant may ask for load-balancer addresses.", default_factory=AllowedAddresses
    )
    denied_addresses: tuple[str, ...] | None = field(
        "CIDR blocks that no endpoint of this tenant may lie in, beside Config's.", default=None, schema=CIDR_LIST
    )
    legacy_agent: bool = field(
        "The tenant runs the original's agent, which writes the status of its objects: its credential then may.",
        default=False,
    )


@record
class CredentialStatus(Record):
    """The credential of the tenant's agent."""

    generation: int = field("Which token the kubeconfig carries; each rotation counts on.", schema={"minimum": 1})
    secret: str = field("Secret with that token, in the tenant's namespace.", default="")
    issued_at: str = field("When that token was made.", default="", schema={"format": "date-time"})
    previous_until: str = field(
        "Until when the token before it is accepted; absent when it is not any more.",
        default="",
        schema={"format": "date-time"},
    )


@record
class TenantStatus(Record):
    """How far onboarding is."""

    observed_generation: int | None = field("Generation last handled.", default=None, schema={"format": "int64"})
    phase: str = field("State in a word.", default="", schema={"enum": ["Pending", "Ready", "Failed", "Terminating"]})
    credential: CredentialStatus | None = field("The credential of the tenant's agent.", default=None)
    conditions: tuple[Condition, ...] = field(
        "Ready, with the reason Reconciled, ReconciliationFailed, InvalidName or Terminating. SettingsValid: whether "
        "the spec can be used; while it cannot, the last good settings hold.",
        default=(),
        schema=CONDITION_LIST,
    )
    in_force: InForce | None = field("The last good settings.", default=None)


@record
class Tenant(Kind):
    """A tenant of the hub; its objects live in the namespace `tenant-<name>`."""

    #: A Tenant of before the rule can still be changed, and so removed.
    cel: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            f"oldSelf.hasValue() || (size(self.metadata.name) <= {names.TENANT_NAME_MAX} "
            f"&& !self.metadata.name.startsWith('{names.TENANT_NAMESPACE_PREFIX}') "
            "&& self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",
            f"a Tenant's name is a DNS label of at most {names.TENANT_NAME_MAX} characters that does not begin with "
            f"'{names.TENANT_NAMESPACE_PREFIX}': its namespace is '{names.TENANT_NAMESPACE_PREFIX}<name>'",
            optional_old_self=True,
        ),
    )
    info: ClassVar[KindInfo] = KindInfo(
        "Tenant", "tenants", "tenant", namespaced=False, columns=(Column("Phase", ".status.phase"), AGE)
    )

    kind: str = field(default="Tenant")
    spec: TenantSpec = field(default_factory=TenantSpec)
    status: TenantStatus = field(default_factory=TenantStatus)
