"""Read both clusters once. What cannot be read is a finding like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack

from kubelb_ccm.controllers.home import IDENTITY_NAMESPACE
from kubelb_ccm.controllers.kinds import served
from kubelb_ccm.options import Options
from kubelb_ccm.status.facts import Cluster, Facts
from kubelb_common import console
from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import ConfigError, KubeError
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.objects import view

_HUB_KINDS = (resources.LOAD_BALANCERS, resources.ROUTES, resources.ADDRESSES, resources.TENANT_STATES)


async def read(options: Options) -> Facts:
    """Read both clusters by the agent's own credentials; never raises for what a cluster or a file can do."""
    async with AsyncExitStack() as stack:
        tenant = await _connected(stack, "tenant", options.kubeconfig)
        hub = await _connected(stack, "management", options.kubelb_kubeconfig)
        return await gathered(options, tenant, hub)


async def gathered(options: Options, tenant: KubeClient | Cluster, hub: KubeClient | Cluster) -> Facts:
    """Read what there is through these clients; a `Cluster` stands for one that there is no client for."""
    kinds = tuple(served(options))
    own = [resources.NODES, *(each.kind.resource for each in kinds)]
    (tenant_cluster, tenant_objects), (hub_cluster, hub_objects) = await asyncio.gather(
        _look("tenant", tenant, own, None), _look("management", hub, _HUB_KINDS, options.tenant_namespace)
    )
    identity = "" if isinstance(tenant, Cluster) else await _identity(tenant)
    return Facts(options, kinds, tenant_cluster, hub_cluster, tenant_objects, hub_objects, identity)


async def _connected(stack: AsyncExitStack, name: str, path: str | None) -> AioClient | Cluster:
    try:
        client = AioClient(kubeconfig.load(path), user_agent="kubelb-ccm-status")
    except ConfigError as error:
        return Cluster(name, problems=(str(error),))
    stack.push_async_callback(client.close)
    return client


async def _look(
    name: str, client: KubeClient | Cluster, kinds: Iterable[Resource], namespace: str | None
) -> tuple[Cluster, dict[Resource, list[Object]]]:
    if isinstance(client, Cluster):
        return client, {}
    server = getattr(client, "server", "")
    try:
        version = view.text(await client.server_version(), "gitVersion")
    except KubeError as error:
        return Cluster(name, server, problems=(console.explained(error),)), {}
    found: dict[Resource, list[Object]] = {}
    problems: list[str] = []
    for kind in kinds:
        try:
            found[kind] = (await client.list(kind, namespace)).items
        except KubeError as error:
            problems.append(f"{kind} cannot be read: {console.explained(error)}")
    return Cluster(name, server, version, tuple(problems)), found


async def _identity(tenant: KubeClient) -> str:
    try:
        listed = await tenant.list(resources.NAMESPACES, field_selector=f"metadata.name={IDENTITY_NAMESPACE}")
    except KubeError:
        return ""
    return view.uid(listed.items[0]) if listed.items else ""
