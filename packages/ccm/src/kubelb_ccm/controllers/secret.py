"""Labelled Secrets and the SyncSecrets made for them, in the tenant cluster.

What happens to one Secret, in which order
------------------------------------------
* *Labelled*: the SyncSecret of the same name first, then the finalizer. So there is never a finalizer of ours that
  nothing points at: the store holds labelled Secrets alone (all others' contents are none of our business), and one
  that loses its label while nobody looks is found again by its SyncSecret.
* *Deleted*: the SyncSecret goes, which takes its copies along; then the finalizer.
* *Label removed*: the finalizer first, then the SyncSecret.
* *Made anew* under the same name (its type, say, cannot change): the former one's SyncSecret goes, then a new one is
  made, so that no copy of the new one is mistaken for one of the old.
* The *tenant is removed*: as if no Secret had a label.

A SyncSecret of that name that somebody wrote is never touched; the Secret's owner is told.
"""

from __future__ import annotations

from kubelb_ccm.controllers.home import Home, removal_changes
from kubelb_ccm.controllers.reporter import Reporter
from kubelb_ccm.export.problems import Problem, reported
from kubelb_ccm.export.secrets import (
    generated_sync_secret,
    is_generated,
    is_labelled,
    is_of_another_secret,
    updated_sync_secret,
)
from kubelb_common import names
from kubelb_common.kube.errors import AlreadyExists, NotFound
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import SECRETS, SYNC_SECRETS
from kubelb_common.objects import view
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.fresh import Fresh
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.keys import ObjectKey

_CACHE_LAGS_SECONDS = 1.0
_SUBJECT = "syncSecret"


class SecretController:
    """Keeps one SyncSecret beside each labelled Secret.

    Args:
        client: the tenant cluster.
        secrets: its Secrets, restricted by `export.secrets.SELECTOR`.
        sync_secrets: its SyncSecrets.
        reporter: tells the tenant.
        home: who we are.
    """

    def __init__(
        self, client: KubeClient, secrets: Informer, sync_secrets: Informer, *, reporter: Reporter, home: Home
    ) -> None:
        self._client = client
        self._secrets = Fresh(secrets)
        self._sync_secrets = Fresh(sync_secrets)
        self._reporter = reporter
        self._home = home

    def controller(self, tenant_states: Informer, *, workers: int) -> Controller:
        """Return the controller that runs this; its keys are the names that a Secret and its SyncSecret share."""
        controller = Controller("secret", self.reconcile, workers=workers)
        controller.watch(self._secrets.informer)
        controller.watch(self._sync_secrets.informer)
        controller.watch(tenant_states, lambda _state: self._known(), when=removal_changes)
        return controller

    def _known(self) -> list[ObjectKey]:
        return sorted({*self._secrets.store.keys(), *self._sync_secrets.store.keys()})

    async def reconcile(self, key: ObjectKey) -> Result:
        """Do what is due for the Secret and the SyncSecret of one name."""
        secret, sync_secret = self._secrets.get(*key), self._sync_secrets.get(*key)
        if secret is None or not is_labelled(secret) or self._home.removed:
            return await self._withdraw(key, sync_secret)
        if view.deleting(secret):
            return await self._give_up(secret, sync_secret)
        return await self._serve(secret, sync_secret)

    async def _serve(self, secret: Object, sync_secret: Object | None) -> Result:
        if sync_secret is not None and not is_generated(sync_secret):
            text = f"a SyncSecret {view.name(secret)} is there that was not made for this Secret; remove or rename one"
            await self._tell(secret, "", [Problem("Synced", "NotOurs", text)])
            return DONE
        if sync_secret is not None and is_of_another_secret(sync_secret, secret):
            await self._remove(sync_secret)
            return DONE  # its going brings us back
        if sync_secret is None and self._is_leaving(secret):
            return DONE
        sync_secret = await self._ensure(secret, sync_secret)
        secret = await self._hold(secret)
        said = reported(sync_secret)
        if said is not None:
            await self._tell(secret, view.uid(sync_secret), list(said))
        return DONE

    async def _ensure(self, secret: Object, live: Object | None) -> Object:
        destination = self._home.destination
        if live is None:
            desired = generated_sync_secret(secret, destination)
            try:
                return self._sync_secrets.note(await self._client.create(SYNC_SECRETS, desired, view.namespace(secret)))
            except AlreadyExists:
                self._sync_secrets.note(await self._client.get(SYNC_SECRETS, view.name(secret), view.namespace(secret)))
                raise
        change = None if view.deleting(live) else updated_sync_secret(live, secret, destination)
        if change is None:
            return live
        return self._sync_secrets.note(await self._client.replace(SYNC_SECRETS, change, view.namespace(secret)))

    async def _hold(self, secret: Object) -> Object:
        if view.has_finalizer(secret, names.FINALIZER):
            return secret
        return await self._patch(secret, view.finalizer_patch(secret, [*view.finalizers(secret), names.FINALIZER]))

    async def _tell(self, secret: Object, exported: str, problems: list[Problem]) -> None:
        patched = await self._reporter.report(SECRETS, secret, _SUBJECT, exported, problems)
        if patched is not None:
            self._secrets.note(patched)

    # -- giving up

    async def _give_up(self, secret: Object, sync_secret: Object | None) -> Result:
        if sync_secret is not None and is_generated(sync_secret):
            await self._remove(sync_secret)
        elif not self._is_leaving(secret):
            await self._let_go(secret)
        return DONE

    async def _withdraw(self, key: ObjectKey, sync_secret: Object | None) -> Result:
        """Take back the sync of a Secret that is not, or not any more, to be synced; it is asked for itself."""
        if sync_secret is not None and not is_generated(sync_secret):
            return DONE
        try:
            secret = await self._client.get(SECRETS, key.name, key.namespace)
        except NotFound:
            secret = None
        if secret is not None:
            if is_labelled(secret) and not self._home.removed:
                return Again(after=_CACHE_LAGS_SECONDS)
            await self._let_go(secret)
        if sync_secret is not None:
            await self._remove(sync_secret)
        return DONE

    def _is_leaving(self, secret: Object) -> bool:
        """Tell whether a SyncSecret of this name is on its way out, for all that the store knows."""
        return self._sync_secrets.store.get_key(ObjectKey.of(secret)) is not None

    async def _remove(self, sync_secret: Object) -> None:
        if view.deleting(sync_secret) or self._sync_secrets.is_going(sync_secret):
            return
        name, namespace = view.name(sync_secret), view.namespace(sync_secret)
        try:
            await self._client.delete(SYNC_SECRETS, name, namespace, uid=view.uid(sync_secret))
        except NotFound:
            return
        self._sync_secrets.note_gone(sync_secret)

    async def _let_go(self, secret: Object) -> None:
        rest = view.without_finalizers(secret, [names.FINALIZER])
        notes = view.annotations(secret)
        if names.ANNOTATION_STATUS not in notes and view.finalizers(rest) == view.finalizers(secret):
            return
        patch = view.finalizer_patch(secret, view.finalizers(rest))
        if names.ANNOTATION_STATUS in notes:
            patch["metadata"]["annotations"] = {names.ANNOTATION_STATUS: None}
        try:
            await self._patch(secret, patch)
        except NotFound:
            return

    async def _patch(self, secret: Object, patch: Object) -> Object:
        patched = await self._client.patch(SECRETS, view.name(secret), patch, view.namespace(secret))
        return self._secrets.note(patched)
