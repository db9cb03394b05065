"""Key: the Config. What runs, whether its settings can be used, and the last ones that could."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Controller, Result
from kubelb_common.runtime.keys import ObjectKey
from kubelb_manager.controllers import status
from kubelb_manager.controllers.events import Events
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.settings import in_force
from kubelb_manager.settings.faults import faults, told
from kubelb_manager.translate.result import Verdict

SETTINGS_VALID = "SettingsValid"
_EDITION = "CE"


def version() -> Object:
    """Return what Config and TenantState say of this manager."""
    return {"gitVersion": f"v{metadata.version('kubelb-manager')}", "edition": _EDITION}


def settings_verdict(obj: Object) -> Verdict:
    """Return the condition SettingsValid of a Config or Tenant."""
    found = faults(obj.get("spec"))
    if not found:
        return Verdict(SETTINGS_VALID, "True", "Valid", "The settings are in force.")
    kept = view.get(obj, "status", "inForce", "observedGeneration")
    if in_force.never_good(obj):
        meanwhile = "Nothing changes until this is mended: no settings before these could be used."
    else:
        meanwhile = f"The settings of generation {kept} stay in force."
    return Verdict(SETTINGS_VALID, "False", "InvalidSettings", f"{told(found)}. {meanwhile}")


def settings_status(obj: Object, verdicts: Iterable[Verdict], now: str) -> Object:
    """Return the status of a Config or Tenant with SettingsValid, these verdicts, and the settings in force."""
    before = obj.get("status") or {}
    fresh = status.with_verdicts(
        view.objects(before, "conditions"), [*verdicts, settings_verdict(obj)], view.generation(obj), now
    )
    return {**before, "conditions": fresh, "inForce": in_force.noted(obj) or None}


class ConfigController:
    """The one writer of Config status (ruling 31)."""

    def __init__(self, hub: Hub, events: Events, *, namespace: str, clock: Clock) -> None:
        self._hub = hub
        self._events = events
        self._namespace = namespace
        self._clock = clock
        self.controller = Controller("config", self.reconcile, clock=clock)
        self.controller.watch(hub.informers.configs)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Say what holds; other Configs than the one that counts are left alone."""
        if key != ObjectKey(self._namespace, names.CONFIG_NAME):
            return DONE
        config = self._hub.live(resources.CONFIGS, *key)
        if config is None or view.deleting(config):
            return DONE
        fresh = settings_status(config, [], status.now(self._clock))
        await self._events.tell(config, fresh["conditions"])
        await status.write(self._hub, resources.CONFIGS, config, {**fresh, "version": version()})
        return DONE
