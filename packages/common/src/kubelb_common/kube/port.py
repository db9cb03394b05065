"""What the rest of the project knows of a cluster: a client Protocol over raw dicts.

Objects are plain JSON dicts as the API server speaks them. Typed models would drop fields they do
not know, and a tenant's object must arrive as it was written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

Object = dict[str, Any]
Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API server keeps it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`v1` for the core group, else `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of the collection, an object or a subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{tail}"

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


class ObjectList(NamedTuple):
    """A complete list and the resourceVersion from which to watch."""

    items: list[Object]
    resource_version: str


class WatchEvent(NamedTuple):
    """One line of a watch. A BOOKMARK carries only a resourceVersion."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Object


class KubeClient(Protocol):
    """One cluster, seen through one credential.

    Every method raises a subclass of `kube.errors.KubeError` and nothing else for what a network or
    an API server can do. `namespace` is needed for one namespaced object; for list and watch None
    means all namespaces.
    """

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return the object; raises NotFound."""

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> ObjectList:
        """Return all objects, read in pages of 500; items carry apiVersion and kind."""

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
        """Open a watch after `resource_version`, with bookmarks.

        The iterator ends when the server ends the watch; it raises Gone when the version is too old
        (also when that comes as an ERROR event) and Unreachable when the connection breaks.
        """

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        """Create and return the stored object; raises AlreadyExists, Invalid, Forbidden."""

    async def replace(
        self, resource: Resource, obj: Object, namespace: str | None = None, *, subresource: str | None = None
    ) -> Object:
        """Replace by metadata.name; raises Conflict if metadata.resourceVersion is stale."""

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Object:
        """Apply a JSON merge patch (RFC 7386); a metadata.resourceVersion in it is a precondition."""

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
        """Ask for deletion with preconditions; raises NotFound, and Conflict if a precondition fails.

        `grace_period_seconds` counts for Pods alone: 0 removes the object, None takes the Pod's own period.
        """

    async def create_subresource(
        self, resource: Resource, name: str, subresource: str, body: Object, namespace: str | None = None
    ) -> Object:
        """POST to a subresource, for example a TokenRequest to `serviceaccounts/NAME/token`."""

    async def get_subresource(
        self, resource: Resource, name: str, subresource: str, namespace: str | None = None
    ) -> Object:
        """GET a JSON object from a subresource, for example `proxy/PATH` of the Pod `NAME:PORT`."""

    async def server_version(self) -> Object:
        """Return `/version`; the cheapest question to see whether a server answers."""

    async def close(self) -> None:
        """End all connections."""
