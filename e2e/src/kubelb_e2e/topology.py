"""A running lab as a scenario sees it: clusters with clients, tenants by number."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from kubelb_common import names
from kubelb_common.kube.port import KubeClient
from kubelb_e2e.clusters.base import Lab
from kubelb_e2e.clusters.local import client as door
from kubelb_e2e.clusters.local.model import MANAGEMENT, tenant_name


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster, through its admin's credential."""

    name: str
    client: KubeClient
    node_addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant: its cluster, its Tenant object's name, and its agent's generated credential.

    Attributes:
        cluster: its own cluster.
        name: of the Tenant object.
        ccm: client of the *management* cluster with the generated credential; None without the product.
    """

    cluster: Cluster
    name: str
    ccm: KubeClient | None

    @property
    def namespace(self) -> str:
        """Its namespace in the management cluster."""
        return names.tenant_namespace(self.name)


@dataclass(frozen=True, slots=True)
class Topology:
    """All clusters of a lab."""

    lab: Lab
    management: Cluster
    tenants: tuple[Tenant, ...]

    def tenant(self, number: Literal[1, 2, 3, 4]) -> Tenant:
        """Return the tenant of cluster `tenant-<number>`."""
        return self.tenants[number - 1]


@asynccontextmanager
async def connect(lab: Lab, *, with_agents: bool = True) -> AsyncIterator[Topology]:
    """Open clients to all clusters of `lab` for the running loop, and close them at the end."""
    async with AsyncExitStack() as stack:

        def client(name: str) -> KubeClient:
            opened = door.connect(lab.kubeconfig(name))
            stack.push_async_callback(opened.close)
            return opened

        def cluster(name: str) -> Cluster:
            return Cluster(name, client(name), lab.node_addresses(name))

        tenants = [name for name in lab.cluster_names if name != MANAGEMENT]
        yield Topology(
            lab,
            cluster(MANAGEMENT),
            tuple(
                Tenant(
                    cluster(name),
                    tenant_name(name),
                    client(name.replace("tenant-", "ccm-")) if with_agents else None,
                )
                for name in tenants
            ),
        )
