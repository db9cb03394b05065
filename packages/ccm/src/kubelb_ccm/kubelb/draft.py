"""The LoadBalancer that `kubelb lb create` writes.

One port, whose name is the same in `spec.ports` and in each endpoint set: the manager joins the two by name, and
with names that differ its status could not be read back (contract, defect 61). Endpoints of different ports are
several sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kubelb_ccm.kubelb.endpoints import Endpoint, by_port
from kubelb_common import names
from kubelb_common.kube.port import Object

Protocol = Literal["http", "tcp", "udp"]
ServiceType = Literal["ClusterIP", "LoadBalancer"]
_FIRST_SET = "default"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person asks for.

    Attributes:
        name: of the LoadBalancer.
        endpoints: where connections go, at least one.
        port: that clients connect to.
        protocol: `http` is TCP with a host name: `hostname`, else one below the tenant's wildcard domain.
        type: ClusterIP, or LoadBalancer for an address of its own.
        hostname: a host name that leads here; empty for none.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    port: int
    protocol: Protocol = "http"
    type: ServiceType = "ClusterIP"
    hostname: str = ""


def load_balancer(draft: Draft, namespace: str) -> Object:
    """Return the object for the tenant's namespace in the management cluster."""
    annotations = {names.ANNOTATION_CLI: "true"}
    if draft.protocol == "http" and not draft.hostname:
        annotations[names.ANNOTATION_WILDCARD] = "true"
    sets = by_port(draft.endpoints)
    spec: Object = {
        "type": draft.type,
        "endpoints": [
            {
                "name": _FIRST_SET if not index else f"{_FIRST_SET}-{index + 1}",
                "addresses": _addresses(sets[port]),
                "ports": [_port(draft, port)],
            }
            for index, port in enumerate(sets)
        ],
        "ports": [_port(draft, draft.port)],
    }
    if draft.hostname:
        spec["hostname"] = draft.hostname
    return {
        "apiVersion": names.API_VERSION,
        "kind": "LoadBalancer",
        "metadata": {
            "name": draft.name,
            "namespace": namespace,
            "labels": {
                names.LABEL_APP_MANAGED_BY: names.CLI_MANAGED_BY,
                names.LABEL_TENANT: names.label_value(namespace),
            },
            "annotations": annotations,
        },
        "spec": spec,
    }


def _port(draft: Draft, number: int) -> Object:
    return {"name": draft.protocol, "port": number, "protocol": "UDP" if draft.protocol == "udp" else "TCP"}


def _addresses(endpoints: Iterable[Endpoint]) -> list[Object]:
    return [{"ip" if endpoint.is_ip else "hostname": endpoint.host} for endpoint in endpoints]
