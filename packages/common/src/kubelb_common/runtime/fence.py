"""A client whose writes need leadership: what a replica that does not lead tries to write never leaves it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from kubelb_common.faults import Fault
from kubelb_common.kube.port import KubeClient, Object, ObjectList, Propagation, Resource, WatchEvent


class NotLeading(Fault):
    """This replica does not lead, or not any more; whoever leads does the work."""


class Fenced:
    """A `KubeClient` that passes reads on, and writes while `may_write` says so.

    Args:
        client: the cluster.
        may_write: asked before each write.
    """

    def __init__(self, client: KubeClient, may_write: Callable[[], bool]) -> None:
        self._client = client
        self._may_write = may_write

    def _check(self, what: str, resource: Resource, name: str) -> None:
        if not self._may_write():
            raise NotLeading(f"this replica does not lead and may not {what} {resource} {name}")

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """See KubeClient."""
        return await self._client.get(resource, name, namespace)

    async def get_subresource(
        self, resource: Resource, name: str, subresource: str, namespace: str | None = None
    ) -> Object:
        """See KubeClient."""
        return await self._client.get_subresource(resource, name, subresource, namespace)

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> ObjectList:
        """See KubeClient."""
        return await self._client.list(
            resource, namespace, label_selector=label_selector, field_selector=field_selector
        )

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: int = 300,
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        """See KubeClient."""
        return self._client.watch(
            resource,
            namespace,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
            timeout_seconds=timeout_seconds,
        )

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        """See KubeClient; raises NotLeading."""
        self._check("create", resource, str(obj.get("metadata", {}).get("name", "")))
        return await self._client.create(resource, obj, namespace)

    async def replace(
        self, resource: Resource, obj: Object, namespace: str | None = None, *, subresource: str | None = None
    ) -> Object:
        """See KubeClient; raises NotLeading."""
        self._check("replace", resource, str(obj.get("metadata", {}).get("name", "")))
        return await self._client.replace(resource, obj, namespace, subresource=subresource)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Object:
        """See KubeClient; raises NotLeading."""
        self._check("patch", resource, name)
        return await self._client.patch(resource, name, patch, namespace, subresource=subresource)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
        grace_period_seconds: int | None = None,
    ) -> None:
        """See KubeClient; raises NotLeading."""
        self._check("delete", resource, name)
        await self._client.delete(
            resource,
            name,
            namespace,
            uid=uid,
            resource_version=resource_version,
            propagation=propagation,
            grace_period_seconds=grace_period_seconds,
        )

    async def create_subresource(
        self, resource: Resource, name: str, subresource: str, body: Object, namespace: str | None = None
    ) -> Object:
        """See KubeClient; raises NotLeading."""
        self._check(f"create {subresource} of", resource, name)
        return await self._client.create_subresource(resource, name, subresource, body, namespace)

    async def server_version(self) -> Object:
        """See KubeClient."""
        return await self._client.server_version()

    async def close(self) -> None:
        """See KubeClient."""
        await self._client.close()
