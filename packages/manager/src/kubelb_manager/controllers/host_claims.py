"""The persisted record of host claims: read by every replica, written by the leader before anything is published.

There is one key: a pass writes all that is to be decided. What was written is known here from the answer, not only
when the watch brings it, so a new host waits for one write. See `admission.claims` for what is decided and why.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Change
from kubelb_common.telemetry import logs
from kubelb_manager.admission.gate import Gate
from kubelb_manager.admission.record import Claim, config_map, written
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.ir.model import Host
from kubelb_manager.settings.merged import hub as hub_settings

_log = logs.get(__name__)
_KEY = ObjectKey("", names.HOST_CLAIMS)


class HostClaimsController:
    """Keeps `gate` and the record in step. On a replica that does not lead only the reading half is at work."""

    def __init__(self, hub: Hub, gate: Gate, *, namespace: str, clock: Clock) -> None:
        self._hub = hub
        self._gate = gate
        self._namespace = namespace
        self._clock = clock
        self._told: set[tuple[Host, str, str]] = set()
        self.controller = Controller("host-claims", self.reconcile, clock=clock, on_start=self._begin)
        self.controller.watch(hub.informers.configs, lambda _config: [_KEY])
        hub.informers.host_claims.on_change(self._on_record)
        gate.on_work(lambda: self.controller.enqueue(_KEY))

    def _begin(self) -> None:
        """A term begins, whether anything is watched yet or not."""
        self.controller.enqueue(_KEY)

    def _on_record(self, change: Change) -> None:
        obj = change.new if change.new is not None else change.old
        assert obj is not None
        newest = self._hub.live(resources.CONFIG_MAPS, self._namespace, view.name(obj))
        self._gate.claims(view.name(obj), (newest or {}).get("data"))

    async def reconcile(self, _key: ObjectKey) -> Result:
        """Write what the record should say."""
        config = self._hub.live(resources.CONFIGS, self._namespace, names.CONFIG_NAME)
        now = self._clock.now()
        decision = self._gate.book.decide(now, hub_settings(config).hold_down, unknown=self._gate.unknown_tenants())
        try:
            for name, patch in written(decision.changes).items():
                await self._write(name, patch)
        except BaseException:
            self._gate.book.undo(decision)
            raise
        self._tell(decision.refused, decision.changes)
        if decision.look_again is None:
            return DONE
        return Again(max(0.0, (decision.look_again - now).total_seconds()))

    async def _write(self, name: str, patch: Mapping[str, str | None]) -> None:
        live = self._hub.live(resources.CONFIG_MAPS, self._namespace, name)
        if live is None:
            wanted = config_map(name, self._namespace, patch)
            stored = await self._hub.create(resources.CONFIG_MAPS, wanted, self._namespace)
        else:
            # Two leaders at once, or an admin in between: who comes second looks again.
            body: Object = {"metadata": {"resourceVersion": view.resource_version(live)}, "data": dict(patch)}
            stored = await self._hub.patch(resources.CONFIG_MAPS, name, body, self._namespace)
        self._gate.claims(name, stored.get("data"))

    def _tell(self, refused: tuple[tuple[Host, str, str], ...], changes: Mapping[Host, Claim | None]) -> None:
        """Log for the admin what the tenant is not told: who has the host."""
        for entry in refused:
            if entry not in self._told:
                host, asking, owner = entry
                _log.warning("a tenant asks for another tenant's host", host=host, tenant=asking, owner=owner)
        self._told = {entry for entry in self._told if entry[0] not in changes} | set(refused)
