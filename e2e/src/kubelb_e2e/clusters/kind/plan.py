"""What a kind lab consists of: names, ranges and configuration, decided before anything starts. Pure.

The plan is a value and is written to `lab.json` in the lab's folder. Clusters are named
`kubelb-<lab>-<cluster>`, so that they stand beside other kind clusters of this machine without mixing;
each has pod and Service ranges of its own, so that what leaks from one cluster to another is seen by
its address. Docker numbers the containers of the lab's network from its beginning; LoadBalancer
addresses are taken from its end.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kubelb_e2e.clusters.base import MANAGEMENT, tenant_cluster
from kubelb_e2e.errors import LabError

#: Each cluster takes one /16 of 10.128-191.* for pods and one of 10.192-255.* for Services.
MAX_TENANTS = 60
POOL_SIZE = 256
#: A node's name becomes a host name.
_HOST_NAME_MAX = 63


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """One cluster.

    Attributes:
        name: in the lab: `management` or `tenant-<n>`.
        kind_name: as kind knows it.
        nodes: how many, the first is the control plane.
        pods: range of pod addresses.
        services: range of ClusterIPs.
        api_port: of the host, for the API server; None lets kind choose.
    """

    name: str
    kind_name: str
    nodes: int
    pods: str
    services: str
    api_port: int | None

    @property
    def node_names(self) -> tuple[str, ...]:
        """Names of the nodes, which are those of their containers."""
        workers = [f"{self.kind_name}-worker{'' if number == 1 else number}" for number in range(1, self.nodes)]
        return (f"{self.kind_name}-control-plane", *workers)

    def configuration(self) -> dict[str, Any]:
        """Return kind's configuration; see https://kind.sigs.k8s.io/docs/user/configuration."""
        networking: dict[str, Any] = {
            "ipFamily": "ipv4",
            "podSubnet": self.pods,
            "serviceSubnet": self.services,
            # An agent in another cluster asks by the container's address; people ask by the host's loopback.
            "apiServerAddress": "127.0.0.1",
        }
        if self.api_port is not None:
            networking["apiServerPort"] = self.api_port
        return {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "networking": networking,
            "nodes": [{"role": "control-plane"}, *({"role": "worker"} for _ in range(1, self.nodes))],
        }


@dataclass(frozen=True, slots=True)
class LabPlan:
    """A whole lab.

    Attributes:
        name: the lab's name.
        directory: its folder.
        node_image: of all nodes.
        kind: the program.
        kubectl: the program.
        clusters: the management cluster, then tenants in order.
        without: parts of the product that are not deployed.
    """

    name: str
    directory: Path
    node_image: str
    kind: Path
    kubectl: Path
    clusters: tuple[ClusterPlan, ...]
    without: tuple[str, ...]

    @property
    def network(self) -> str:
        """Name of the Docker network."""
        return network_name(self.name)

    def kubeconfig(self, cluster: str) -> Path:
        """Return where kind writes the admin's kubeconfig of a cluster."""
        return self.directory / "clusters" / f"{cluster}.kubeconfig"

    def dump(self) -> None:
        """Write this plan to `lab.json` in the lab's folder."""
        text = json.dumps(asdict(self), indent=1, default=str)
        (self.directory / "lab.json").write_text(text)

    @classmethod
    def load(cls, directory: Path) -> LabPlan | None:
        """Read what `dump` wrote; None if it is not there or unreadable."""
        try:
            raw = json.loads((directory / "lab.json").read_text())
            clusters = tuple(ClusterPlan(**item) for item in raw["clusters"])
            return cls(
                name=raw["name"],
                directory=Path(raw["directory"]),
                node_image=raw["node_image"],
                kind=Path(raw["kind"]),
                kubectl=Path(raw["kubectl"]),
                clusters=clusters,
                without=tuple(raw["without"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def network_name(lab: str) -> str:
    """Return the name of a lab's Docker network."""
    return f"kubelb-{lab}"


def plan(
    name: str,
    directory: Path,
    *,
    tenants: int,
    nodes: int,
    node_image: str,
    kind: Path,
    kubectl: Path,
    api_port: int | None = None,
    without: tuple[str, ...] = (),
) -> LabPlan:
    """Return the plan of a lab with one management cluster and `tenants` tenants of `nodes` nodes each.

    Raises LabError for what kind cannot make.
    """
    if tenants > MAX_TENANTS:
        raise LabError(
            f"--tenants {tenants}: at most {MAX_TENANTS} with kind, for so many ranges of addresses there are"
        )
    clusters = [MANAGEMENT, *(tenant_cluster(number) for number in range(1, tenants + 1))]
    found = LabPlan(
        name=name,
        directory=directory,
        node_image=node_image,
        kind=kind,
        kubectl=kubectl,
        clusters=tuple(
            ClusterPlan(
                name=cluster,
                kind_name=f"kubelb-{name}-{cluster}",
                nodes=nodes,
                pods=f"10.{128 + index}.0.0/16",
                services=f"10.{192 + index}.0.0/16",
                api_port=None if api_port is None else api_port + index,
            )
            for index, cluster in enumerate(clusters)
        ),
        without=without,
    )
    longest = max((node for cluster in found.clusters for node in cluster.node_names), key=len)
    if len(longest) > _HOST_NAME_MAX:
        shorter = len(name) - (len(longest) - _HOST_NAME_MAX)
        raise LabError(f"lab name {name!r} is too long for kind's node names: at most {shorter} characters")
    return found


def pool(subnet: str) -> Iterator[str]:
    """Return the LoadBalancer addresses of a Docker network, in order of allocation; raises LabError.

    The last ones that are addresses of hosts: Docker gives the first ones to containers.
    """
    network = ipaddress.ip_network(subnet)
    if network.version != 4 or network.num_addresses <= 2 * POOL_SIZE:
        raise LabError(
            f"Docker network {subnet}: too small for containers and {POOL_SIZE} LoadBalancer addresses; "
            "let Docker make larger ones (default-address-pools in its daemon.json)"
        )
    first = int(network.broadcast_address) - POOL_SIZE
    return (str(ipaddress.ip_address(first + number)) for number in range(POOL_SIZE))
