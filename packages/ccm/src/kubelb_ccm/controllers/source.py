"""Layer 7 source objects become Routes: one loop for all kinds, what differs is in `sources`."""

from __future__ import annotations

from dataclasses import dataclass

from kubelb_ccm.controllers.twins import Backends
from kubelb_ccm.export.meta import Destination
from kubelb_ccm.export.route import route
from kubelb_ccm.export.services import exported_service
from kubelb_ccm.sources.adapter import Adapter, ServiceRef
from kubelb_common.kube.port import Object, Resource


@dataclass(frozen=True, slots=True)
class SourceKind:
    """A kind of source objects, in the words of `lifecycle.Kind`."""

    resource: Resource
    adapter: Adapter
    subject: str = "route"

    def in_scope(self, source: Object) -> bool:
        """Tell whether the object is ours to serve."""
        return self.adapter.in_scope(source)

    def services(self, source: Object) -> frozenset[ServiceRef]:
        """Return the Services that the object names."""
        return self.adapter.services(source)

    async def prepare(self, source: Object, backends: Backends) -> None:
        """Nothing has to be there before a Route."""

    def export(self, source: Object, backends: Backends, destination: Destination) -> Object | None:
        """Return the Route; Services that do not exist are not in it, which the manager reports."""
        services = [exported_service(service, twin) for service, twin in backends.services.values()]
        return route(source, services, destination)

    async def settle(self, source: Object, exported: Object) -> None:
        """Nothing follows a Route."""

    def answer(self, exported: Object) -> Object | None:
        """Return the status that the Route gives to its source."""
        return self.adapter.answer(exported)

    def status_patch(self, source: Object, answer: Object) -> Object | None:
        """Return the merge patch that makes the source's status say `answer`; None if it does."""
        return self.adapter.status_patch(source, answer)
