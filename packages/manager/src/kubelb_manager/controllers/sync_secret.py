"""Key: a SyncSecret. Its Secret in the management cluster, equal to it or gone, and its status.

A Secret whose type changed, or that was immutable and did, is deleted and made anew. One that the API server or we
refuse leaves none behind: an old value would pass for the new one.
"""

from __future__ import annotations

from contextlib import suppress

from kubelb_common.kube import resources
from kubelb_common.kube.errors import Forbidden, Invalid, NotFound
from kubelb_common.kube.port import Object
from kubelb_common.objects import conditions, view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result, owner_key
from kubelb_common.runtime.keys import ObjectKey
from kubelb_manager import untrusted
from kubelb_manager.controllers import apply, status
from kubelb_manager.controllers.events import Events
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.desired import sync_secret as desired
from kubelb_manager.gather.stores import BY_UID

SYNCED = "Synced"
FAILED = "SyncFailed"
TERMINATING = "Terminating"
_PHASES = {SYNCED: "Synced", FAILED: "Failed", TERMINATING: "Terminating"}
#: A quota or another admission rule may let it pass later.
_REFUSED_RETRY = 30.0


class SyncSecretController:
    """The one writer of SyncSecret status (ruling 31)."""

    def __init__(self, hub: Hub, events: Events, clock: Clock) -> None:
        self._hub = hub
        self._events = events
        self._informers = informers = hub.informers
        self._clock = clock
        self._of_owner = owner_key(desired.KIND)
        self.controller = Controller("sync-secret", self.reconcile, workers=2, clock=clock)
        # A status of ours that comes back must not have a refused Secret asked for again at once.
        self.controller.watch(
            informers.sync_secrets, when=lambda change: not hub.is_echo(resources.SYNC_SECRETS, change)
        )
        self.controller.watch(informers.secrets, self._keys)

    def _keys(self, secret: Object) -> set[ObjectKey]:
        """Map a Secret to whom it belongs, by its owner and, should somebody have taken that away, by its name."""
        named = self._informers.sync_secrets.store.by_index(BY_UID, view.name(secret))
        return {*self._of_owner(secret), *map(ObjectKey.of, named)}

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring Secret and status to what the SyncSecret says."""
        sync_secret = self._hub.live(resources.SYNC_SECRETS, *key)
        if sync_secret is None:
            return DONE
        live = self._hub.live(resources.SECRETS, key.namespace, view.uid(sync_secret))
        if view.deleting(sync_secret):
            await self._release(sync_secret, live)
            return DONE
        sync_secret = await apply.hold(self._hub, resources.SYNC_SECRETS, sync_secret)
        wanted = desired.secret(sync_secret)
        if isinstance(wanted, desired.Refused):
            await apply.remove(self._hub, resources.SECRETS, live)
            await self._say(sync_secret, FAILED, wanted.message)
            return DONE
        try:
            is_kept = await self._keep(wanted, live)
        except (Forbidden, Invalid, apply.NotOurs) as error:
            await apply.remove(self._hub, resources.SECRETS, live)
            await self._say(sync_secret, FAILED, getattr(error, "message", "") or str(error))
            return Again(_REFUSED_RETRY)
        if is_kept:
            await self._say(sync_secret, SYNCED, "The Secret in the management cluster is equal to this one.")
        return DONE  # else its going brings us back

    async def _keep(self, wanted: Object, live: Object | None) -> bool:
        """Make the Secret say what is wanted; return False while a former one is on its way out."""
        if live is not None and not desired.is_replaceable(live, wanted):
            await apply.remove(self._hub, resources.SECRETS, live)
            live = None
        elif live is not None and view.deleting(live):
            return False
        try:
            await apply.ensure(self._hub, resources.SECRETS, wanted, live)
        except Invalid:
            # Perhaps it is ours without our label, so that the cache has not got it, and cannot become what is wanted.
            found = await apply.read(self._hub, resources.SECRETS, view.name(wanted), view.namespace(wanted))
            if found is None or desired.is_replaceable(found, wanted):
                raise
            await self._hub.delete(resources.SECRETS, found)
            await apply.ensure(self._hub, resources.SECRETS, wanted, None)
        return True

    async def _release(self, sync_secret: Object, live: Object | None) -> None:
        """The Secret first: the finalizer is the promise that it is gone."""
        key = (view.namespace(sync_secret), view.uid(sync_secret))
        if live is None and self._informers.secrets.store.get(*key) is None:
            await apply.finish(self._hub, resources.SYNC_SECRETS, sync_secret)
            return
        with suppress(NotFound):
            await self._say(sync_secret, TERMINATING, "The Secret in the management cluster is being removed.")
        await apply.remove(self._hub, resources.SECRETS, live)

    async def _say(self, sync_secret: Object, reason: str, message: str) -> None:
        before = untrusted.mapping(sync_secret.get("status"))
        fresh = conditions.set_condition(
            view.objects(before, "conditions"),
            SYNCED,
            "True" if reason == SYNCED else "False",
            reason,
            message,
            view.generation(sync_secret),
            status.now(self._clock),
        )
        if reason == FAILED:
            await self._events.tell(sync_secret, fresh)
        wanted = {
            **before,
            "phase": _PHASES[reason],
            "observedGeneration": view.generation(sync_secret),
            "conditions": fresh,
        }
        await status.write(self._hub, resources.SYNC_SECRETS, sync_secret, wanted)
