"""Which of a tenant's annotations may reach an object in the management cluster.

Order: the built-in deny list (ruling 10) stands above everything; then the admin's denied
patterns; then propagateAll or the allow-list; the admin's defaults come last, fill gaps only and
are subject to no deny list. With nothing configured nothing passes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kubelb_common import names
from kubelb_manager import untrusted
from kubelb_manager.settings.globs import annotation_matches, host_allowed

#: Keys of `defaultAnnotations` in Config and Tenant.
ResourceKind = Literal["service", "ingress", "gateway", "httproute", "grpcroute", "tcproute", "udproute", "tlsroute"]

#: Never taken from a tenant: whose address, whose machine, whose configuration text an object gets.
BUILT_IN_DENIED = (
    f"{names.GROUP}/*",
    names.ANNOTATION_LAST_APPLIED,
    names.ANNOTATION_LEGACY_INGRESS_CLASS,
    # address pools
    "metallb.io/*",
    "metallb.universe.tf/*",
    "kube-vip.io/*",
    "lbipam.cilium.io/*",
    "io.cilium/*",
    "purelb.io/*",
    "porter.kubesphere.io/*",
    "projectcalico.org/*",
    # settings of cloud load balancers
    "service.beta.kubernetes.io/*",
    "service.kubernetes.io/*",
    "service.alpha.kubernetes.io/*",
    "alb.ingress.kubernetes.io/*",
    "cloud.google.com/*",
    "networking.gke.io/*",
    "kubernetes.io/ingress.*",
    "ingress.gcp.kubernetes.io/*",
    "appgw.ingress.kubernetes.io/*",
    "load-balancer.hetzner.cloud/*",
    "loadbalancer.openstack.org/*",
    "kubernetes.digitalocean.com/*",
    "oci.oraclecloud.com/*",
    "oci-network-load-balancer.oraclecloud.com/*",
    # where DNS names point, and who answers for them
    "external-dns.*/target",
    "external-dns.*/controller",
    "external-dns.*/access",
    "external-dns.*/internal-hostname",
    "external-dns.*/alias",
    # configuration text of proxies
    "*/*-snippet",
    "*/*-snippets",
    "haproxy*/backend-config*",
    "haproxy*/frontend-config*",
)
_HOST_NAMES = ("external-dns.*/hostname",)
_NEEDS_HOSTS = (*_HOST_NAMES, "external-dns.*/*", "cert-manager.io/*", "acme.cert-manager.io/*")
_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
#: The API's limit on the annotations of one object is 256 KiB; the rest is for others.
_TOTAL_MAX = 128 * 1024


@dataclass(frozen=True, slots=True)
class AnnotationPolicy:
    """The annotation settings of one tenant.

    Attributes:
        propagate_all: every annotation passes that no deny list covers.
        propagated: (key pattern, allowed values; none = any) that pass otherwise.
        denied: key patterns that never pass.
        defaults: (resource or `all`, key, value), set where the key is missing.
        hosts_allowed: `hosts.allowed`; DNS and certificate annotations need it to be non-empty (ruling 6).
    """

    propagate_all: bool = False
    propagated: tuple[tuple[str, tuple[str, ...]], ...] = ()
    denied: tuple[str, ...] = ()
    defaults: tuple[tuple[str, str, str], ...] = ()
    hosts_allowed: tuple[str, ...] = ()

    def apply(self, resource: ResourceKind, annotations: Any) -> dict[str, str]:
        """Return the annotations that an object of this kind gets in the management cluster, sorted by key."""
        kept: dict[str, str] = {}
        room = _TOTAL_MAX
        for key, value in sorted(untrusted.string_items(annotations)):
            room -= len(key) + len(value)
            if room >= 0 and self._passes(key, value):
                kept[key] = value
        for scope in (resource, "all"):
            for kind, key, value in self.defaults:
                if kind == scope:
                    kept.setdefault(key, value)
        return dict(sorted(kept.items()))

    def _passes(self, key: str, value: str) -> bool:
        if not is_annotation_key(key) or _matches(BUILT_IN_DENIED, key) or _matches(self.denied, key):
            return False
        if _matches(_NEEDS_HOSTS, key) and not self.hosts_allowed:
            return False
        if _matches(_HOST_NAMES, key) and not self._hosts_pass(value):
            return False
        return self.propagate_all or any(
            annotation_matches(pattern, key) and (not values or value in values) for pattern, values in self.propagated
        )

    def _hosts_pass(self, value: str) -> bool:
        hosts = [host.strip().lower() for host in value.split(",")]
        return all(
            untrusted.is_subdomain(host.removeprefix("*.")) and host_allowed(self.hosts_allowed, host) for host in hosts
        )


def _matches(patterns: tuple[str, ...], key: str) -> bool:
    return any(annotation_matches(pattern, key) for pattern in patterns)


def is_annotation_key(key: str) -> bool:
    """Whether this may be the key of an annotation or label: a name, perhaps with a domain and `/` before it."""
    prefix, slash, name = key.rpartition("/")
    return _KEY.fullmatch(name) is not None and (not slash or untrusted.is_subdomain(prefix))


def annotation_policy(config: Mapping[str, Any], tenant: Mapping[str, Any], hosts: tuple[str, ...]) -> AnnotationPolicy:
    """Return the policy from the specs of Config and Tenant.

    propagateAll and the allow-list are one unit, the Tenant's if it sets either; the denied list and
    the defaults are each the Tenant's as a whole if it has one.
    """
    own = tenant.get("propagateAllAnnotations") is not None or tenant.get("propagatedAnnotations") is not None
    source = tenant if own else config
    denied = tenant.get("deniedAnnotations") or config.get("deniedAnnotations")
    defaults = untrusted.mapping(tenant.get("defaultAnnotations") or config.get("defaultAnnotations"))
    return AnnotationPolicy(
        propagate_all=source.get("propagateAllAnnotations") is True,
        propagated=tuple(
            (pattern, tuple(value.strip() for value in values.split(",") if value.strip()))
            for pattern, values in sorted(untrusted.string_items(source.get("propagatedAnnotations")))
        ),
        denied=tuple(sorted(filter(None, map(untrusted.string, untrusted.sequence(denied))))),
        defaults=tuple(
            (kind, key, value)
            for kind, pairs in sorted(defaults.items())
            for key, value in sorted(untrusted.string_items(pairs))
        ),
        hosts_allowed=hosts,
    )
