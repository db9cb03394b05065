"""Endpoints of a Service without selector, mirrored for its NodePort twin (ruling 17).

Kubernetes keeps EndpointSlices only for Services with a selector. Where somebody else writes those of the original,
the twin gets one of the same content for each, owned by the twin, so they go with it.
"""

from __future__ import annotations

from kubelb_ccm.export.twins import SLICE_MANAGER, SLICE_MANAGER_LABEL, SLICE_SERVICE_LABEL, mirrored_slices
from kubelb_common.kube.errors import AlreadyExists, NotFound
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import ENDPOINT_SLICES
from kubelb_common.objects import view
from kubelb_common.runtime.fresh import Fresh
from kubelb_common.runtime.informer import Informer

#: Who makes the slices of Services with a selector; these need no mirror.
_KUBERNETES = "endpointslice-controller.k8s.io"
_BY_SERVICE = "service"
_COMPARED = ("addressType", "endpoints", "ports")


class Mirror:
    """Keeps mirrored EndpointSlices in step.

    Args:
        client: the tenant cluster.
        slices: its EndpointSlices.
    """

    def __init__(self, client: KubeClient, slices: Informer) -> None:
        self._client = client
        self._slices = Fresh(slices)
        slices.store.add_index(_BY_SERVICE, _service)

    async def keep(self, service: Object, twin: Object) -> None:
        """Make the twin's slices equal to those of `service`; one with a selector needs none of ours."""
        wanted = {} if view.get(service, "spec", "selector") else self._wanted(service, twin)
        namespace = view.namespace(twin)
        for found in self._of(twin):
            if _is_ours(found) and view.name(found) not in wanted:
                await self._delete(found)
        for name, desired in wanted.items():
            live = self._slices.get(namespace, name)
            if live is None:
                await self._create(desired)
            elif _differs(live, desired):
                metadata = {**desired["metadata"], "resourceVersion": view.resource_version(live)}
                replaced = await self._client.replace(ENDPOINT_SLICES, {**desired, "metadata": metadata}, namespace)
                self._slices.note(replaced)

    def _wanted(self, service: Object, twin: Object) -> dict[str, Object]:
        return {view.name(found): found for found in mirrored_slices(twin, self._of(service))}

    def _of(self, service: Object) -> list[Object]:
        return self._slices.store.by_index(_BY_SERVICE, f"{view.namespace(service)}/{view.name(service)}")

    async def _create(self, desired: Object) -> None:
        namespace = view.namespace(desired)
        try:
            self._slices.note(await self._client.create(ENDPOINT_SLICES, desired, namespace))
        except AlreadyExists:
            self._slices.note(await self._client.get(ENDPOINT_SLICES, view.name(desired), namespace))
            raise

    async def _delete(self, found: Object) -> None:
        try:
            await self._client.delete(ENDPOINT_SLICES, view.name(found), view.namespace(found), uid=view.uid(found))
        except NotFound:
            return


def _differs(live: Object, desired: Object) -> bool:
    if view.owner_references(live) != view.owner_references(desired):
        return True  # the twin was made anew, and its former slices are about to be collected
    return any((live.get(part) or []) != desired[part] for part in _COMPARED)


def _is_ours(found: Object) -> bool:
    return view.labels(found).get(SLICE_MANAGER_LABEL) == SLICE_MANAGER


def may_need_mirror(found: Object) -> bool:
    """Tell whether this slice is one of ours, or one that ours are made from."""
    return view.labels(found).get(SLICE_MANAGER_LABEL) != _KUBERNETES


def _service(found: Object) -> list[str]:
    name = view.labels(found).get(SLICE_SERVICE_LABEL) if may_need_mirror(found) else None
    return [f"{view.namespace(found)}/{name}"] if name else []
