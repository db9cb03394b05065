"""Config and Tenant as one value: the precedence, and nothing else.

Classes, lists and numbers: the Tenant's if set, else Config's. `disable`: either. An absent Config
means the defaults. Of a malformed object the last good version holds (`in_force`). Both objects are an
admin's, yet read with the same care as a tenant's: a value of a wrong type counts as unset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager import untrusted
from kubelb_manager.settings.annotations import AnnotationPolicy, annotation_policy
from kubelb_manager.settings.durations import seconds
from kubelb_manager.settings.in_force import in_force
from kubelb_manager.settings.limits import Limits, limits

#: Which objects share Envoys: all of a tenant's, none, or all of all tenants.
TOPOLOGIES = ("shared", "dedicated", "global")
DEFAULT_REPLICAS = 3
DEFAULT_GRACE_SECONDS = 300
DEFAULT_HOLD_DOWN = timedelta(hours=24)
FLEET_HOLD_DOWN_SECONDS = 300.0
#: What a pod's grace period has beyond its drain: to be killed in the middle of it would be worse than no drain.
_GRACE_MARGIN = 15
#: What Envoy takes at most: the number of headers is 32 bits wide.
_HEADERS_MAX_KIB, _HEADERS_MAX_COUNT = 8192, 2**32 - 1


@dataclass(frozen=True, slots=True)
class GracefulShutdown:
    """How a pod leaves; see `agent.drain`. Times in seconds.

    Attributes:
        drain: whether it drains at all.
        timeout: longest wait for connections to end.
        minimum: shortest wait, in which kube-proxies and load balancers forget the pod.
    """

    drain: bool = True
    timeout: float = 60.0
    minimum: float = 5.0


@dataclass(frozen=True, slots=True)
class Overload:
    """Limits of one Envoy, None for none: connections from clients, bytes of heap. They hold where `enabled`."""

    enabled: bool = False
    max_connections: int | None = None
    max_heap_bytes: int | None = None


class HeaderLimits(NamedTuple):
    """Sizes of HTTP headers: KiB of a request's, number of either's, KiB of a response's."""

    request_kib: int = 8192
    number: int = 4096
    response_kib: int = 8192


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """How an HTTP listener tells who its client is (ruling 9); by default whoever connects.

    Attributes:
        trusted_hops: so many proxies in front are believed to have written X-Forwarded-For.
        trusted_cidrs: blocks in which proxies are believed, however many; excludes `trusted_hops`.
        proxy_protocol: every connection begins with a PROXY protocol header.
    """

    trusted_hops: int = 0
    trusted_cidrs: tuple[str, ...] = ()
    proxy_protocol: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides about a tenant's traffic and objects; equal settings give equal translations.

    Attributes:
        hosts_allowed: host patterns, empty = any host.
        endpoints_allowed: CIDRs that the tenant may name as endpoints, with any port (ruling 4).
        addresses_allowed: CIDRs from which the tenant may ask for addresses of load balancers (ruling 10).
        denied_addresses: CIDRs in which no endpoint may lie, Config's and the Tenant's together.
        limits: upper bounds, each the Tenant's own or Config's.
        legacy_agent: the tenant runs the original's agent, which writes status itself (ruling 32).
    """

    annotations: AnnotationPolicy = field(default_factory=AnnotationPolicy)
    load_balancer_class: str = ""
    load_balancer_disabled: bool = False
    ingress_class: str = ""
    ingress_disabled: bool = False
    hosts_allowed: tuple[str, ...] = ()
    endpoints_allowed: tuple[str, ...] = ()
    addresses_allowed: tuple[str, ...] = ()
    denied_addresses: tuple[str, ...] = ()
    legacy_agent: bool = False
    client_address: ClientAddress = field(default_factory=ClientAddress)
    limits: Limits = field(default_factory=Limits)
    header_limits: HeaderLimits = field(default_factory=HeaderLimits)

    @property
    def delegated_to(self) -> str:
        """The class of the third-party controller that serves Ingresses; empty where we do."""
        return "" if self.ingress_class == names.CLASS else self.ingress_class


@dataclass(frozen=True, slots=True)
class HubSettings:
    """What no tenant has for itself.

    Attributes:
        hold_down: how long a host stays its tenant's when nothing names it any more.
    """

    hold_down: timedelta = DEFAULT_HOLD_DOWN


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """How the pods of a fleet run. The mappings are Kubernetes core types, passed on as written.

    Attributes:
        grace_seconds: grace period of a pod, longer than its drain in any case.
        hold_down: seconds for which a fleet without anything to serve is kept.
        pod_monitor: whether the Prometheus operator scrapes, instead of annotations on the pods.
        network_policy: whether the pods' traffic is fenced in.
    """

    image: str = ""
    use_daemon_set: bool = False
    replicas: int = DEFAULT_REPLICAS
    single_pod_per_node: bool = False
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    shutdown: GracefulShutdown = GracefulShutdown()
    overload: Overload = Overload()
    hold_down: float = FLEET_HOLD_DOWN_SECONDS
    pod_monitor: bool = False
    network_policy: bool = True
    node_selector: Mapping[str, Any] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)


def merged(config: Object | None, tenant: Object | None) -> Settings:
    """Return the settings that hold for `tenant` under `config`; None stands for an object that is absent."""
    own, general = _spec(tenant), _spec(config)
    hosts = _first_list(own, general, "hosts", "allowed")
    return Settings(
        annotations=annotation_policy(general, own, hosts),
        load_balancer_class=_first_text(own, general, "loadBalancer", "class"),
        load_balancer_disabled=_either(own, general, "loadBalancer", "disable"),
        ingress_class=_first_text(own, general, "ingress", "class"),
        ingress_disabled=_either(own, general, "ingress", "disable"),
        hosts_allowed=hosts,
        endpoints_allowed=_first_list(own, general, "endpoints", "allowed"),
        addresses_allowed=_first_list(own, general, "addresses", "allowed"),
        denied_addresses=tuple(sorted({*_texts(own.get("deniedAddresses")), *_texts(general.get("deniedAddresses"))})),
        legacy_agent=own.get("legacyAgent") is True,
        client_address=_client_address(untrusted.at(general, "clientAddress")),
        limits=limits(own.get("limits"), general.get("limits")),
        header_limits=_header_limits(untrusted.at(general, "envoyProxy", "headerLimits")),
    )


def _client_address(raw: Any) -> ClientAddress:
    """Config's alone: what stands in front of the fleets is the hub's, not a tenant's."""
    hops = untrusted.integer(untrusted.at(raw, "trustedHops")) or 0
    return ClientAddress(
        max(0, hops), _texts(untrusted.at(raw, "trustedCIDRs")), untrusted.at(raw, "proxyProtocol") is True
    )


def hub(config: Object | None) -> HubSettings:
    """Return what is the hub's alone; a malformed duration counts as unset."""
    text = untrusted.string(untrusted.at(_spec(config), "hosts", "holdDown"))
    try:
        return HubSettings(view.parse_duration(text) if text else DEFAULT_HOLD_DOWN)
    except (ValueError, OverflowError):
        return HubSettings()


def topology(config: Object | None, tenant: Object | None) -> str:
    """Return which of `TOPOLOGIES` holds for the tenant: its own, else Config's, else shared."""
    found = _first_text(_spec(tenant), _spec(config), "envoyProxy", "topology")
    return found if found in TOPOLOGIES else TOPOLOGIES[0]


def envoy(config: Object | None, tenant: Object | None) -> EnvoySettings:
    """Return how the tenant's fleet runs."""
    own, general = (
        untrusted.mapping(_spec(tenant).get("envoyProxy")),
        untrusted.mapping(_spec(config).get("envoyProxy")),
    )
    shutdown = _shutdown(general)
    hold_down = seconds(general.get("holdDown"))
    replicas = untrusted.integer(own.get("replicas")) or untrusted.integer(general.get("replicas"))
    return EnvoySettings(
        image=_first_text(own, general, "image"),
        use_daemon_set=general.get("useDaemonset") is True,
        replicas=max(1, replicas or DEFAULT_REPLICAS),
        single_pod_per_node=general.get("singlePodPerNode") is True,
        grace_seconds=_grace(general, shutdown),
        shutdown=shutdown,
        overload=_overload(general),
        hold_down=FLEET_HOLD_DOWN_SECONDS if hold_down is None else hold_down,
        pod_monitor=untrusted.at(general, "podMonitor", "enabled") is True,
        network_policy=untrusted.at(general, "networkPolicy", "disable") is not True,
        node_selector=untrusted.mapping(general.get("nodeSelector")),
        tolerations=tuple(item for item in untrusted.sequence(general.get("tolerations")) if isinstance(item, dict)),
        affinity=untrusted.mapping(general.get("affinity")),
        resources=untrusted.mapping(own.get("resources") or general.get("resources")),
    )


def _shutdown(general: Mapping[str, Any]) -> GracefulShutdown:
    given = untrusted.mapping(general.get("gracefulShutdown"))
    default = GracefulShutdown()
    timeout, minimum = seconds(given.get("drainTimeout")), seconds(given.get("minDrainDuration"))
    timeout = default.timeout if timeout is None else timeout
    minimum = default.minimum if minimum is None else minimum
    return GracefulShutdown(given.get("disabled") is not True, max(timeout, minimum), minimum)


def _grace(general: Mapping[str, Any], shutdown: GracefulShutdown) -> int:
    given = untrusted.integer(untrusted.at(general, "gracefulShutdown", "terminationGracePeriodSeconds"))
    wanted = max(30, DEFAULT_GRACE_SECONDS if given is None else given)
    return max(wanted, math.ceil(shutdown.timeout) + _GRACE_MARGIN) if shutdown.drain else wanted


def _overload(general: Mapping[str, Any]) -> Overload:
    given = untrusted.mapping(general.get("overloadManager"))
    # 0 stands for "not given", as everywhere in the original's API.
    connections = untrusted.integer(given.get("maxActiveDownstreamConnections")) or None
    heap = untrusted.integer(given.get("maxHeapSizeBytes")) or None
    return Overload(given.get("enabled") is True, connections, heap)


def _header_limits(given: Any) -> HeaderLimits:
    default = HeaderLimits()

    def limit(key: str, otherwise: int, most: int) -> int:
        value = untrusted.integer(untrusted.at(given, key))
        return value if value is not None and 1 <= value <= most else otherwise

    return HeaderLimits(
        limit("maxRequestHeadersKb", default.request_kib, _HEADERS_MAX_KIB),
        limit("maxRequestHeadersCount", default.number, _HEADERS_MAX_COUNT),
        limit("maxResponseHeadersKb", default.response_kib, _HEADERS_MAX_KIB),
    )


def _spec(obj: Object | None) -> Mapping[str, Any]:
    """Return the spec that holds; of an object that was never good its own, for tools that only look."""
    return untrusted.mapping(untrusted.at(in_force(obj) or obj, "spec"))


def _first_text(own: Any, general: Any, *path: str) -> str:
    return untrusted.string(untrusted.at(own, *path)) or untrusted.string(untrusted.at(general, *path))


def _first_list(own: Any, general: Any, *path: str) -> tuple[str, ...]:
    return _texts(untrusted.at(own, *path)) or _texts(untrusted.at(general, *path))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(sorted({item for item in untrusted.sequence(value) if isinstance(item, str)}))


def _either(own: Any, general: Any, *path: str) -> bool:
    return untrusted.at(own, *path) is True or untrusted.at(general, *path) is True
