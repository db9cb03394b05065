"""Objects of one kind of our contract, which we keep in the management cluster.

Only objects of this cluster's identity are changed or deleted (ruling 21): a wrong kubeconfig or a second cluster
behind the same credential destroys nothing. An object without an identity (of the original's agent) is taken over
if it is named by the UID of a source that lives here, and else left alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubelb_ccm.controllers.home import Home
from kubelb_ccm.export.merge import merged
from kubelb_ccm.export.meta import origin, origin_cluster
from kubelb_common import names
from kubelb_common.kube.errors import AlreadyExists, NotFound
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.fresh import Fresh
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.telemetry import logs

_log = logs.get(__name__)
_BY_ORIGIN = "origin"


#: Fields of a spec without which an object would allow more than was asked for.
_GUARDED = ("sourceRanges",)


class NotKeptError(Exception):
    """The management cluster would drop a field that restricts; the text says which, and what to do."""


class Exports:
    """Our objects of one kind in the tenant's namespace of the management cluster.

    Args:
        client: the management cluster.
        informer: of the kind, restricted to the tenant's namespace.
        home: whose objects they are.
        origin_kind: value of the origin-kind label that these objects carry; None for a kind without that label.
        own_annotations: annotations are ours alone, see `export.merge`.
    """

    def __init__(
        self, client: KubeClient, informer: Informer, home: Home, *, origin_kind: str | None, own_annotations: bool
    ) -> None:
        self.informer = informer
        self._client = client
        self._fresh = Fresh(informer)
        self._home = home
        self._origin_kind = origin_kind
        self._own_annotations = own_annotations
        self._kept: dict[str, tuple[Object, int]] = {}
        #: Guarded fields that the server was seen to drop; its CRDs are older than we are.
        self._drops: set[str] = set()
        self._index = f"{_BY_ORIGIN} {origin_kind}"
        informer.store.add_index(self._index, self._origins)

    def origin_keys(self, exported: Object) -> list[ObjectKey]:
        """Return the key of the source, if `exported` came from a source of our kind."""
        source = origin(exported)
        same_kind = view.labels(exported).get(names.LABEL_ORIGIN_KIND) == self._origin_kind
        return [ObjectKey(*source)] if source and same_kind else []

    def get(self, name: str) -> Object | None:
        """Return the object, or None."""
        return self._fresh.get(self._home.namespace, name)

    def of(self, key: ObjectKey) -> list[Object]:
        """Return the objects that say they come from the source `key`."""
        return self.informer.store.by_index(self._index, str(key))

    def is_echo(self, change: Change) -> bool:
        """Tell whether a change is only our own write coming back; see `Fresh.is_echo`."""
        return self._fresh.is_echo(change)

    def is_foreign(self, exported: Object) -> bool:
        """Tell whether another cluster made this object."""
        cluster = origin_cluster(exported)
        return cluster is not None and cluster != self._home.destination.cluster

    def is_ours(self, exported: Object) -> bool:
        """Tell whether this cluster made this object."""
        return origin_cluster(exported) == self._home.destination.cluster

    async def apply(self, desired: Object) -> Object:
        """Create the object or make it say what `desired` says; nothing is written if it does.

        Returns the stored object. One that is being deleted, or another cluster's, comes back as it is.

        Raises:
            NotKeptError: the server drops what restricts the object, which therefore is not there.
        """
        resource, namespace, name = self.informer.resource, self._home.namespace, view.name(desired)
        guarded = {field for field in _GUARDED if field in view.get(desired, "spec", default={})}
        if guarded & self._drops:
            live = self.get(name)
            if live is not None and not self.is_foreign(live):
                await self.remove(live)
            raise _not_kept(guarded & self._drops)
        stored = await self._stored(resource, namespace, name, desired)
        lost = guarded - view.get(stored, "spec", default={}).keys()
        if lost and not view.deleting(stored) and not self.is_foreign(stored):
            self._drops |= lost
            await self.remove(stored)
            raise _not_kept(lost)
        return stored

    async def _stored(self, resource: Resource, namespace: str, name: str, desired: Object) -> Object:
        live = self.get(name)
        if live is None:
            try:
                return self._remember(desired, await self._client.create(resource, desired, namespace))
            except AlreadyExists:
                live = self._fresh.note(await self._client.get(resource, name, namespace))
        if view.deleting(live) or self.is_foreign(live) or self._is_kept(live, desired):
            return live
        change = merged(live, desired, own_annotations=self._own_annotations)
        if change is None:
            return live
        return self._remember(desired, await self._client.replace(resource, change, namespace))

    async def remove(self, exported: Object) -> None:
        """Ask for deletion of exactly this object; whoever holds a finalizer decides when it is gone."""
        if view.deleting(exported):
            return
        try:
            await self._client.delete(
                self.informer.resource, view.name(exported), self._home.namespace, uid=view.uid(exported)
            )
        except NotFound:
            return

    async def is_gone(self, name: str) -> bool:
        """Ask the management cluster itself; a cache may lag behind."""
        try:
            await self._client.get(self.informer.resource, name, self._home.namespace)
        except NotFound:
            return True
        return False

    def _remember(self, desired: Object, stored: Object) -> Object:
        """Note a server that keeps less than we send (an older CRD), so that we don't send it again and again."""
        name = view.name(stored)
        if view.content(stored) == view.content(desired):
            self._kept.pop(name, None)
        else:
            if name not in self._kept:
                _log.warning(
                    "the management cluster keeps less than was sent; update its CRDs",
                    resource=str(self.informer.resource),
                    name=name,
                )
            self._kept[name] = (desired, view.generation(stored))
        return self._fresh.note(stored)

    def _is_kept(self, live: Object, desired: Object) -> bool:
        sent = self._kept.get(view.name(live))
        return sent is not None and sent == (desired, view.generation(live))

    def _origins(self, exported: Object) -> list[str]:
        return [str(key) for key in self.origin_keys(exported)]


def _not_kept(fields: Iterable[str]) -> NotKeptError:
    return NotKeptError(
        f"the management cluster does not know {', '.join(sorted(fields))} and would serve this object to anybody; "
        "update KubeLB's CRDs there, then restart the agent"
    )
