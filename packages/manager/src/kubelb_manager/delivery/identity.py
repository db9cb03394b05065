"""Who an Envoy is: its node id, and what its certificate must say. The one place for both sides.

A fleet's client certificate has one URI name, `spiffe://kubelb/tenant/<tenant namespace>/fleet/<fleet>`.
The node id `<tenant namespace>/<fleet>/<pod>` is what Envoy claims; the certificate is what it can prove, and
all pods of a fleet share it, because they are served the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_TRUST_DOMAIN = "spiffe://kubelb"
_PART = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

#: URI names of a client's certificate; empty on a plaintext connection.
PeerCertUris = tuple[str, ...]


class NodeIdentity(NamedTuple):
    """An Envoy's claim: the tenant's namespace, its fleet there, and its pod."""

    namespace: str
    fleet: str
    pod: str

    @property
    def fleet_key(self) -> str:
        """Key of the fleet in cache and IR: `<tenant namespace>/<fleet>`."""
        return f"{self.namespace}/{self.fleet}"


def parse_node(node_id: str) -> NodeIdentity | None:
    """Return the parts of a node id, None if it is not `<tenant namespace>/<fleet>/<pod>` of Kubernetes names."""
    parts = node_id.split("/")
    if len(parts) != len(NodeIdentity._fields) or not all(_PART.fullmatch(part) for part in parts):
        return None
    return NodeIdentity(*parts)


def certificate_uri(namespace: str, fleet: str) -> str:
    """Return the URI name that the client certificate of a fleet carries."""
    return f"{_TRUST_DOMAIN}/tenant/{namespace}/fleet/{fleet}"


def manager_uri() -> str:
    """Return the URI name that only the manager's own certificates carry."""
    return f"{_TRUST_DOMAIN}/manager"


def is_manager(uris: Iterable[str]) -> bool:
    """Whether a certificate with these names is a manager's."""
    return manager_uri() in uris


def refusal(node: NodeIdentity, uris: Iterable[str]) -> str | None:
    """Return why a stream of `node` with a certificate of these names is refused, None if it is not."""
    expected = certificate_uri(node.namespace, node.fleet)
    presented = sorted(uris)
    if expected in presented:
        return None
    shown = ", ".join(presented) or "none"
    return f"node {'/'.join(node)!r} needs a client certificate with the URI name {expected!r}; presented: {shown}"


def plaintext(_node: NodeIdentity, _uris: Iterable[str]) -> str | None:
    """Refuse nobody: for tests over loopback, where there are no certificates."""
    return None
