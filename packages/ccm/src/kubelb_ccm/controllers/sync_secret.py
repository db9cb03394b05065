"""SyncSecrets of the tenant become SyncSecrets of the management cluster, and tell how their copies fare."""

from __future__ import annotations

from dataclasses import dataclass

from kubelb_ccm.controllers.twins import Backends
from kubelb_ccm.export.meta import Destination
from kubelb_ccm.export.secrets import carried_content, exported_sync_secret
from kubelb_ccm.sources.adapter import ServiceRef
from kubelb_common.kube.port import Object, Resource
from kubelb_common.kube.resources import SYNC_SECRETS
from kubelb_common.objects import diff, view


@dataclass(frozen=True, slots=True)
class SyncSecretKind:
    """SyncSecrets, in the words of `lifecycle.Kind`; who wrote them does not matter."""

    resource: Resource = SYNC_SECRETS
    subject: str = "syncSecret"

    def in_scope(self, _source: Object) -> bool:
        """Every SyncSecret is there to be synced."""
        return True

    def services(self, _source: Object) -> frozenset[ServiceRef]:
        """Return nothing: a Secret is not reached by anybody."""
        return frozenset()

    async def prepare(self, source: Object, backends: Backends) -> None:
        """Nothing has to be there before a SyncSecret."""

    def export(self, source: Object, _backends: Backends, destination: Destination) -> Object | None:
        """Return the SyncSecret of the management cluster."""
        return exported_sync_secret(source, destination)

    async def settle(self, source: Object, exported: Object) -> None:
        """Nothing follows a SyncSecret."""

    def answer(self, exported: Object) -> Object | None:
        """Return the manager's status together with what it is about; None if that is a former generation."""
        status = view.get(exported, "status", default={})
        if view.deleting(exported) or view.get(status, "observedGeneration", default=0) < view.generation(exported):
            return None
        return {"status": status, "content": view.content(exported)}

    def status_patch(self, source: Object, answer: Object) -> Object | None:
        """Return the merge patch that gives the source the same phase and conditions, about its own generation."""
        if answer["content"] != carried_content(source):
            return None  # the management cluster has not got this one
        generation = view.generation(source)
        told = view.objects(answer, "status", "conditions")
        conditions = [{**condition, "observedGeneration": generation} for condition in told]
        wanted = {**answer["status"], "observedGeneration": generation, "conditions": conditions}
        patch = diff.merge_patch(view.get(source, "status", default={}), wanted)
        return {"status": patch} if patch else None
