"""The border of a fleet's pods, as a NetworkPolicy: the second wall behind `translate.addresses` (ruling 4).

In come clients on listener ports, and whoever scrapes metrics or asks for health. Out go connections to the
control plane, to names' servers in the cluster, to the tenants' nodes on node ports, and to what was granted. The
kubelet's own probes need no rule: a network lets a pod's node reach it.

A rule without peers would mean "anywhere", so one that has none is left out.
"""

from __future__ import annotations

from typing import NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager.desired import meta
from kubelb_manager.desired.service import HTTP_PORT

NAME = "envoy-proxy"


class Grant(NamedTuple):
    """A block that may be reached on every port, but for the blocks within it that may not; all CIDRs."""

    block: str
    excepted: tuple[str, ...] = ()


class Egress(NamedTuple):
    """Where a fleet's Envoys may connect to.

    Attributes:
        nodes: CIDRs of the tenants' nodes, reached on node ports.
        grants: what tenants may reach beyond that.
        node_ports: the range of node ports.
    """

    nodes: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    node_ports: range = names.NODE_PORT_RANGE


def fleet_policy(namespace: str, egress: Egress, *, manager_namespace: str, owner: Object | None) -> Object:
    """Return the policy of all fleets in a namespace.

    Args:
        namespace: where the pods run.
        egress: where they may connect to.
        manager_namespace: where the control plane runs.
        owner: the Tenant object, if the namespace is a tenant's.
    """
    out = meta.obj(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        NAME,
        namespace,
        labels=meta.managed_labels(),
        ownerReferences=meta.owners(owner),
    )
    spec = {
        "podSelector": any_fleet(),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": _listeners()}],
        "egress": [*_to_control_plane(manager_namespace), *_to_tenants(egress)],
    }
    return {**out, "spec": spec}


def any_fleet() -> Object:
    """Return the selector of the pods of whatever fleet."""
    return {"matchExpressions": [{"key": names.LABEL_FLEET, "operator": "Exists"}]}


def _listeners() -> list[Object]:
    whole, own = names.LISTENER_PORT_RANGE, names.OWN_PORT_RANGE
    ranges = ((whole.start, own.start - 1), (own.stop, whole.stop - 1))
    dynamic = [{"protocol": kind, "port": first, "endPort": last} for first, last in ranges for kind in ("TCP", "UDP")]
    fixed = (HTTP_PORT, names.ENVOY_STATS_PORT, names.ENVOY_READY_PORT)
    return [*({"protocol": "TCP", "port": port} for port in fixed), *dynamic]


def _to_control_plane(manager_namespace: str) -> list[Object]:
    manager = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": manager_namespace}},
        "podSelector": {"matchLabels": {names.LABEL_APP_NAME: "kubelb-manager"}},
    }
    # 5353 is where some distributions' servers listen behind a Service's port 53. Envoy resolves the control plane's
    # name alone: names that tenants give are resolved by the manager.
    dns = [{"protocol": kind, "port": port} for port in (53, 5353) for kind in ("TCP", "UDP")]
    return [
        {"to": [manager], "ports": [{"protocol": "TCP", "port": names.XDS_PORT}]},
        {"to": [{"namespaceSelector": {}}], "ports": dns},
    ]


def _to_tenants(egress: Egress) -> list[Object]:
    rules: list[Object] = []
    if egress.nodes:
        first, last = egress.node_ports.start, egress.node_ports.stop - 1
        rules.append(
            {
                "to": [{"ipBlock": {"cidr": cidr}} for cidr in egress.nodes],
                "ports": [{"protocol": kind, "port": first, "endPort": last} for kind in ("TCP", "UDP")],
            }
        )
    if egress.grants:
        rules.append({"to": [{"ipBlock": _block(grant)} for grant in egress.grants]})
    return rules


def _block(grant: Grant) -> Object:
    return {"cidr": grant.block, **({"except": list(grant.excepted)} if grant.excepted else {})}
