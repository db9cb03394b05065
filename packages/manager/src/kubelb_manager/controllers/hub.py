"""The management cluster as controllers see it: what our caches hold, plus what we wrote a moment ago.

A pass that read the caches alone would, until the watch has brought the last pass's writes, make them once more:
refused at best, and a write while nothing changes in any case (ruling 35). All controllers share one hub, because
some kinds have two writers.
"""

from __future__ import annotations

from contextlib import suppress

from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.fresh import Fresh
from kubelb_common.runtime.informer import Change
from kubelb_manager.gather.stores import Informers


class Hub:
    """Reads that see our own writes, and the writes.

    Args:
        client: the management cluster.
        informers: the kinds that are followed; others are written too, and read by `get` alone.
        clock: for how long an answer is believed.
    """

    def __init__(self, client: KubeClient, informers: Informers, clock: Clock) -> None:
        self.client = client
        self.informers = informers
        self._fresh = {informer.resource: Fresh(informer, clock) for informer in informers.all()}

    def live(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """Return the newest known state of an object of a kind that is followed, or None."""
        return self._fresh[resource].get(namespace, name)

    def is_echo(self, resource: Resource, change: Change) -> bool:
        """Tell whether a change of a kind that is followed is only our own write coming back; see `Fresh.is_echo`."""
        return self._fresh[resource].is_echo(change)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Ask the API server; see KubeClient."""
        return await self.client.get(resource, name, namespace)

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        """See KubeClient."""
        return self._noted(resource, await self.client.create(resource, obj, namespace))

    async def replace(
        self, resource: Resource, obj: Object, namespace: str | None = None, *, subresource: str | None = None
    ) -> Object:
        """See KubeClient."""
        return self._noted(resource, await self.client.replace(resource, obj, namespace, subresource=subresource))

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Object:
        """See KubeClient."""
        answer = await self.client.patch(resource, name, patch, namespace, subresource=subresource)
        return self._noted(resource, answer)

    async def delete(self, resource: Resource, obj: Object) -> None:
        """Ask for the deletion of exactly this object; nothing is asked twice, and one that is gone is no error."""
        fresh = self._fresh.get(resource)
        if fresh is not None and fresh.is_going(obj):
            return
        with suppress(NotFound):
            await self.client.delete(resource, view.name(obj), view.namespace(obj) or None, uid=view.uid(obj))
        if fresh is not None:
            fresh.note_gone(obj)

    def _noted(self, resource: Resource, answer: Object) -> Object:
        fresh = self._fresh.get(resource)
        return answer if fresh is None else fresh.note(answer)
