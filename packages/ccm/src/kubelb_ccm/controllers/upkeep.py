"""The controller of NodePort twins: what can change whether one is needed, mapped to its Service.

A Service is often shared by many objects. One that is added, or only changes otherwise, cannot make a twin needless,
and making twins is the work of `Twins.ensure`: so sources and exports count here only where they give something up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kubelb_ccm.controllers.home import removal_changes
from kubelb_ccm.controllers.lifecycle import Lifecycle, service_matters
from kubelb_ccm.controllers.mirror import may_need_mirror
from kubelb_ccm.controllers.twins import Twins
from kubelb_ccm.export.twins import SLICE_SERVICE_LABEL, origin_of_twin
from kubelb_ccm.export.usage import given_up
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.controller import Controller
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.keys import ObjectKey


def twins_controller(
    twins: Twins,
    *,
    sources: Iterable[tuple[Informer, Lifecycle]],
    services: Informer,
    slices: Informer,
    exports: Iterable[Informer],
    tenant_states: Informer,
    workers: int,
) -> Controller:
    """Return the controller; its keys are Services, the originals of twins.

    Args:
        twins: does the work.
        sources: each kind whose objects name Services.
        services: the tenant's Services, originals and twins.
        slices: EndpointSlices that may have to be mirrored.
        exports: each kind in the management cluster that may hold a twin.
        tenant_states: says when nothing is held any more.
        workers: how many twins are looked after side by side.
    """
    controller = Controller("twins", twins.reconcile, workers=workers)
    for informer, lifecycle in sources:
        _on_given_up(controller, informer, lifecycle.given_up)
    controller.watch(services, original, when=service_matters)
    controller.watch(slices, lambda found: _service_of(found, services))
    for informer in exports:
        _on_given_up(controller, informer, _freed)
    controller.watch(
        tenant_states,
        lambda _state: [key for twin in services.store.list() for key in _if_twin(twin)],
        when=removal_changes,
    )
    return controller


def _on_given_up(controller: Controller, informer: Informer, given_up: Callable[[Change], Iterable[str]]) -> None:
    def on_change(change: Change) -> None:
        for service in sorted(given_up(change)):
            controller.enqueue(ObjectKey.parse(service))

    informer.on_change(on_change)


def original(service: Object) -> list[ObjectKey]:
    """Map a twin to the Service that it serves, and any other Service to itself."""
    return _if_twin(service) or [ObjectKey.of(service)]


def _if_twin(service: Object) -> list[ObjectKey]:
    name = origin_of_twin(service)
    return [ObjectKey(view.namespace(service), name)] if name else []


def _service_of(found: Object, services: Informer) -> list[ObjectKey]:
    """Map an EndpointSlice to its Service, and one that we mirrored to the Service behind the twin."""
    if not may_need_mirror(found):
        return []
    service = services.store.get(view.namespace(found), view.labels(found).get(SLICE_SERVICE_LABEL, ""))
    return [] if service is None else original(service)


def _freed(change: Change) -> Iterable[str]:
    return given_up(change.old, change.new)
