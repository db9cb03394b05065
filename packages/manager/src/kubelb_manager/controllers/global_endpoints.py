"""Key: a Service of ours. Its EndpointSlices, where its fleet runs in another namespace (topology global)."""

from __future__ import annotations

from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Controller, Result
from kubelb_common.runtime.keys import ObjectKey
from kubelb_manager.controllers import apply
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.desired import endpoints as desired
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.gather.stores import BY_SERVICE, members, service_of


class GlobalEndpointsController:
    """Copies the global fleet's pods to the Services of all tenants, and takes away what a Service no longer needs."""

    def __init__(self, hub: Hub, fleets: Fleets, *, clock: Clock) -> None:
        self._hub = hub
        self._fleet = fleets.shared_by_all
        self.controller = Controller("global-endpoints", self.reconcile, workers=2, clock=clock)
        self.controller.watch(hub.informers.services)
        self.controller.watch(hub.informers.slices, self._services_of)

    def _services_of(self, piece: Object) -> list[ObjectKey]:
        """A slice concerns its Service; one of the fleet's own, every Service that leads there."""
        if view.namespace(piece) != self._fleet.namespace:
            return [ObjectKey(view.namespace(piece), service_of(piece))]
        return [ObjectKey.of(service) for service in self._hub.informers.services.store.list() if self._is_led(service)]

    def _is_led(self, service: Object) -> bool:
        return view.namespace(service) != self._fleet.namespace and not view.get(service, "spec", "selector")

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring a Service's slices to what the fleet's pods are."""
        service = self._hub.live(resources.SERVICES, *key)
        if service is None or view.deleting(service):
            return DONE  # slices go with their owner
        slices = self._hub.informers.slices.store
        present = slices.by_index(BY_SERVICE, str(key))
        wanted: list[Object] = []
        if self._is_led(service):
            wanted = desired.slices(service, self._fleet, members(slices, self._fleet))
        for goal in wanted:
            live = self._hub.live(resources.ENDPOINT_SLICES, key.namespace, view.name(goal))
            await apply.ensure(self._hub, resources.ENDPOINT_SLICES, goal, live)
        await self._remove_others(present, wanted)
        return DONE

    async def _remove_others(self, present: list[Object], wanted: list[Object]) -> None:
        """Ours go when the cluster's own controller has taken over, its own when we have."""
        kept = {view.name(goal) for goal in wanted}
        foreign = [piece for piece in present if view.labels(piece).get(desired.MANAGED_BY) != desired.MANAGER]
        if wanted and any(view.objects(goal, "endpoints") for goal in wanted):
            # A Service that lost its selector keeps the slices that it had.
            for piece in foreign:
                await self._hub.delete(resources.ENDPOINT_SLICES, piece)
        if wanted or any(_is_ready(piece) for piece in foreign):
            for piece in present:
                if piece not in foreign and view.name(piece) not in kept:
                    await self._hub.delete(resources.ENDPOINT_SLICES, piece)


def _is_ready(piece: Object) -> bool:
    return any(view.get(endpoint, "conditions", "ready") is True for endpoint in view.objects(piece, "endpoints"))
