"""Objects that wait for a management cluster that does not answer (ruling 22).

A finalizer of ours waits for the manager's word that no Envoy uses an object any more. No refusal and no silence counts
as that word, so without a management cluster an object that is being deleted stays: rather that than a node
port which another application gets while Envoys still send to it. But a namespace must not hang for ever, because its
tenant was removed while this agent was down, or the management cluster is gone. So an object is let go when

* its namespace is being deleted, by which somebody said that all of it is to go, and
* every question to the management cluster has failed for the whole limit.

What is left there is removed as an orphan, if it ever answers again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubelb_common import names
from kubelb_common.kube.errors import Conflict, KubeError, NotFound
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.kube.resources import NAMESPACES, ROUTES
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.informer import Informer
from kubelb_common.telemetry import logs

_log = logs.get(__name__)
PERIOD = 30.0
_OURS = (names.FINALIZER, names.FINALIZER_TWIN, *names.LEGACY_FINALIZERS)


class Stranded:
    """Releases what waits in vain. Idle unless something that we hold is being deleted.

    Args:
        client: the tenant cluster.
        hub: the management cluster.
        followed: kinds that we hold objects of.
        hub_namespace: the tenant's namespace there.
        limit: seconds.
        clock: time.
    """

    def __init__(
        self,
        client: KubeClient,
        hub: KubeClient,
        followed: Sequence[tuple[Resource, Informer]],
        *,
        hub_namespace: str,
        limit: float,
        clock: Clock,
    ) -> None:
        self._client = client
        self._hub = hub
        self._followed = followed
        self._hub_namespace = hub_namespace
        self._limit = limit
        self._clock = clock
        self._silent_since: float | None = None

    async def run(self) -> None:
        """Look every half minute, until cancelled."""
        while True:
            await self._clock.sleep(PERIOD)
            try:
                await self.look()
            except KubeError as error:
                _log.warning("objects that wait for the management cluster are not released yet", error=str(error))

    async def look(self) -> None:
        """Release what has waited long enough; raises KubeError of the tenant cluster."""
        waiting = list(self._waiting())
        if not waiting or await self._answers():
            self._silent_since = None
            return
        now = self._clock.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        if now - self._silent_since < self._limit:
            return
        leaving = {
            namespace: await self._is_leaving(namespace) for namespace in {view.namespace(obj) for _, obj in waiting}
        }
        for resource, obj in waiting:
            if leaving[view.namespace(obj)]:
                await self._let_go(resource, obj)

    def _waiting(self) -> Iterable[tuple[Resource, Object]]:
        for resource, informer in self._followed:
            for obj in informer.store.list():
                if view.deleting(obj) and any(view.has_finalizer(obj, ours) for ours in _OURS):
                    yield resource, obj

    async def _answers(self) -> bool:
        try:
            await self._hub.list(ROUTES, self._hub_namespace)
        except KubeError:
            return False
        return True

    async def _is_leaving(self, namespace: str) -> bool:
        try:
            return view.deleting(await self._client.get(NAMESPACES, namespace))
        except NotFound:
            return True

    async def _let_go(self, resource: Resource, obj: Object) -> None:
        rest = view.finalizers(view.without_finalizers(obj, _OURS))
        try:
            patch = view.finalizer_patch(obj, rest)
            await self._client.patch(resource, view.name(obj), patch, view.namespace(obj))
        except (NotFound, Conflict):
            return  # it is looked at again
        _log.warning(
            "released without the management cluster, which has not answered for long; its namespace is being deleted",
            resource=str(resource),
            object=f"{view.namespace(obj)}/{view.name(obj)}",
        )
