"""The life of a tenant's object that is exported to the management cluster, the same for every kind.

What happens to one object, in which order
------------------------------------------
* *Served* (in scope, not being deleted): finalizer, then NodePort twins, then the export. The finalizer comes
  first, so that a crash in between leaves nothing that nobody cleans up. What the manager says of the export goes
  back into the object's status, and problems into an Event and an annotation.
* *Given up* (being deleted, or out of scope): the export is asked to go, and only when the management cluster says
  that it is gone (its finalizer is the manager's promise that no Envoy uses it) twins are collected and the
  finalizer is dropped. An object that merely left our scope also loses the address that it had from us.
* *Orphaned* (the export is there, its source is not, or is another one of the same name): the export is removed,
  after the tenant's API server has been asked itself, and only if this cluster made it (ruling 21).
* The *tenant is removed* (TenantState says Terminating): finalizers are dropped and nothing is waited for. No error
  of the management cluster alone, 404 included, ever counts as that (ruling 22).

Each pass does what is due now and ends; the next change brings the next pass. No pass lists anything from an API
server. While the management cluster does not answer, nothing is given up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from kubelb_ccm.controllers.exports import Exports, NotKeptError
from kubelb_ccm.controllers.home import Home, owner_changes, removal_changes
from kubelb_ccm.controllers.reporter import Reporter
from kubelb_ccm.controllers.twins import Backends, Twins
from kubelb_ccm.export.meta import Destination
from kubelb_ccm.export.problems import Problem, reported
from kubelb_ccm.export.twins import origin_of_twin
from kubelb_ccm.sources.adapter import ServiceRef
from kubelb_common import names
from kubelb_common.kube.errors import Invalid, NotFound
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.controller import DONE, Again, Controller, Result
from kubelb_common.runtime.fresh import Fresh
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.telemetry import logs

_log = logs.get(__name__)
_NAMED = "named services"
_CACHE_LAGS_SECONDS = 1.0
_REFUSED_SECONDS = 60.0
_WISHES = ("uid", "labels", "annotations", "deletionTimestamp")
_OUR_FINALIZERS = (names.FINALIZER, *names.LEGACY_FINALIZERS)
_NO_ADDRESS: Object = {"loadBalancer": {}}


class Kind(Protocol):
    """What differs between the kinds of exported objects."""

    @property
    def resource(self) -> Resource:
        """The kind in the tenant cluster."""

    @property
    def subject(self) -> str:
        """What the export is called in the status annotation."""

    def in_scope(self, source: Object) -> bool:
        """Tell whether the object is ours to serve."""

    def services(self, source: Object) -> frozenset[ServiceRef]:
        """Return the Services that must be reachable on the nodes for it."""

    async def prepare(self, source: Object, backends: Backends) -> None:
        """Make what the export refers to, and say what of the object cannot be exported."""

    def export(self, source: Object, backends: Backends, destination: Destination) -> Object | None:
        """Return the export, or None while there is nothing to export."""

    async def settle(self, source: Object, exported: Object) -> None:
        """Tie what `prepare` made to the export, or remove what no export refers to."""

    def answer(self, exported: Object) -> Object | None:
        """Return the status that the export gives to its source, or None while it says nothing of it."""

    def status_patch(self, source: Object, answer: Object) -> Object | None:
        """Return the merge patch that makes the source's status say `answer`; None if it does."""


class Lifecycle:
    """Serves and gives up the objects of one kind.

    Args:
        kind: what differs.
        client: the tenant cluster.
        informer: the kind's objects in the tenant cluster.
        exports: where they go.
        twins: makes Services reachable; None for a kind that names none.
        reporter: tells the tenant.
        home: who we are.
    """

    def __init__(
        self,
        kind: Kind,
        client: KubeClient,
        informer: Informer,
        exports: Exports,
        *,
        twins: Twins | None,
        reporter: Reporter,
        home: Home,
    ) -> None:
        self._kind = kind
        self._client = client
        self._informer = informer
        self._sources = Fresh(informer)
        self._exports = exports
        self._twins = twins
        self._reporter = reporter
        self._home = home
        informer.store.add_index(_NAMED, self._named)
        if twins is not None:
            twins.serve(self.names_service, exports)

    def names_service(self, ref: ServiceRef) -> bool:
        """Tell whether a live object of ours names this Service."""
        return self._informer.store.has(_NAMED, str(ref))

    def given_up(self, change: Change) -> set[str]:
        """Return the Services (`<namespace>/<name>`) that an object of ours named and does not any more."""
        old, new = (set(self._named(source)) if source is not None else set() for source in change)
        return old - new

    def controller(
        self, name: str, services: Informer, tenant_states: Informer, addresses: Informer, *, workers: int
    ) -> Controller:
        """Return the controller that runs this, watching everything that it depends on."""
        controller = Controller(name, self.reconcile, workers=workers)
        controller.watch(self._informer, when=self._source_matters)
        controller.watch(self._exports.informer, self._exports.origin_keys, when=self._export_matters)
        if self._twins is not None:
            controller.watch(services, self._users, when=service_matters)
        controller.watch(tenant_states, lambda _state: self._informer.store.keys(), when=removal_changes)
        controller.watch(addresses, lambda _object: self._informer.store.keys(), when=owner_changes)
        return controller

    async def reconcile(self, key: ObjectKey) -> Result:
        """Do what is due for one object."""
        source = self._sources.get(*key)
        if self._home.removed:
            return await self._release(source)
        await self._remove_orphans(key, source)
        if source is None:
            return DONE
        if view.deleting(source) or not self._kind.in_scope(source):
            return await self._give_up(source)
        return await self._serve(source)

    # -- serving

    async def _serve(self, source: Object) -> Result:
        source = await self._hold(source)
        backends = await self._backends(source)
        await self._kind.prepare(source, backends)
        exported = await self._export(source, backends)
        if exported is not None and not view.deleting(exported):
            await self._kind.settle(source, exported)
        await self._tell(source, exported, backends.problems)
        return DONE if backends.again is None else Again(after=backends.again)

    async def _backends(self, source: Object) -> Backends:
        return Backends() if self._twins is None else await self._twins.ensure(self._kind.services(source))

    async def _hold(self, source: Object) -> Object:
        if view.has_finalizer(source, names.FINALIZER):
            return source
        wanted = [item for item in view.finalizers(source) if item not in names.LEGACY_FINALIZERS]
        return await self._patch(source, view.finalizer_patch(source, [*wanted, names.FINALIZER]))

    async def _export(self, source: Object, backends: Backends) -> Object | None:
        desired = self._kind.export(source, backends, self._home.destination)
        if desired is None:
            return self._exports.get(view.uid(source))
        try:
            exported = await self._exports.apply(desired)
        except NotKeptError as error:
            backends.problems.append(Problem("Accepted", "NotKept", str(error)))
            return None
        except Invalid as error:
            # Asked again at leisure: the object has to change, or the management cluster's CRDs.
            text = f"the management cluster refused this object: {error.message}"
            backends.problems.append(Problem("Accepted", "ExportRefused", text))
            backends.again = _REFUSED_SECONDS
            return self._exports.get(view.uid(source))
        if self._exports.is_foreign(exported):
            text = "another cluster exports an object of this UID with this tenant's credential"
            backends.problems.append(Problem("Accepted", "OwnedByAnotherCluster", text))
            return None
        return exported

    async def _tell(self, source: Object, exported: Object | None, own: list[Problem]) -> None:
        said = reported(exported) if exported is not None else ()
        if said is not None or own:
            patched = await self._reporter.report(
                self._kind.resource, source, self._kind.subject, view.uid(source), [*own, *(said or ())]
            )
            if patched is not None:
                source = self._sources.note(patched)
        answer = self._kind.answer(exported) if exported is not None else None
        if answer is not None:
            await self._answer(source, answer)

    async def _answer(self, source: Object, answer: Object) -> None:
        patch = self._kind.status_patch(source, answer)
        if patch is not None:
            await self._patch(source, patch, subresource="status")

    # -- giving up

    async def _give_up(self, source: Object) -> Result:
        exported = self._exports.get(view.uid(source))
        if exported is not None and not self._exports.is_foreign(exported):
            if not view.deleting(source):
                await self._withdraw_answer(source, exported)
            await self._exports.remove(exported)
            return DONE  # its going brings us back
        if not _is_held(source):
            return DONE
        if exported is None and not await self._exports.is_gone(view.uid(source)):
            return Again(after=_CACHE_LAGS_SECONDS)
        if self._twins is not None:
            for ref in sorted(self._kind.services(source)):
                await self._twins.collect(ref)
        await self._let_go(source)
        return DONE

    async def _withdraw_answer(self, source: Object, exported: Object) -> None:
        """Take back the address that the object had from us; another one is not ours to touch."""
        answer = self._kind.answer(exported)
        if answer is not None and self._kind.status_patch(source, answer) is None:
            await self._answer(source, _NO_ADDRESS)

    async def _let_go(self, source: Object) -> None:
        rest = view.finalizers(view.without_finalizers(source, _OUR_FINALIZERS))
        patch = view.finalizer_patch(source, rest)
        if names.ANNOTATION_STATUS in view.annotations(source):
            patch["metadata"]["annotations"] = {names.ANNOTATION_STATUS: None}
        try:
            await self._patch(source, patch)
        except NotFound:
            return

    async def _release(self, source: Object | None) -> Result:
        if source is not None and _is_held(source):
            await self._let_go(source)
        return DONE

    # -- orphans

    async def _remove_orphans(self, key: ObjectKey, source: Object | None) -> None:
        for exported in self._exports.of(key):
            if view.deleting(exported) or (source is not None and view.uid(source) == view.name(exported)):
                continue
            if not self._exports.is_ours(exported):
                _log.info("export of another cluster is left alone", source=str(key), export=view.name(exported))
            elif await self._is_orphan(key, exported):
                _log.info("export without a source is removed", source=str(key), export=view.name(exported))
                await self._exports.remove(exported)

    async def _is_orphan(self, key: ObjectKey, exported: Object) -> bool:
        """Ask the tenant's API server itself whether the source is gone."""
        try:
            live = await self._client.get(self._kind.resource, key.name, key.namespace)
        except NotFound:
            return True
        return view.uid(live) != view.name(exported)

    # -- helpers

    async def _patch(self, source: Object, patch: Object, *, subresource: str | None = None) -> Object:
        patched = await self._client.patch(
            self._kind.resource, view.name(source), patch, view.namespace(source), subresource=subresource
        )
        gone = view.deleting(patched) and not view.finalizers(patched)
        return patched if gone else self._sources.note(patched)

    def _source_matters(self, change: Change) -> bool:
        """Leave out our own writes coming back, unless somebody else's change came with them."""
        old, new = change
        return old is None or new is None or not self._sources.is_echo(change) or not _same_wish(old, new)

    def _export_matters(self, change: Change) -> bool:
        """Leave out our own writes coming back, unless they come after their source went."""
        old, new = change
        if new is None or not self._exports.is_echo(change) or (old is not None and _said(old) != _said(new)):
            return True
        sources = (self._informer.store.get_key(key) for key in self._exports.origin_keys(new))
        return not any(
            source is not None and view.uid(source) == view.name(new) and not view.deleting(source)
            for source in sources
        )

    def _named(self, source: Object) -> list[str]:
        if view.deleting(source) or not self._kind.in_scope(source):
            return []
        return [str(ref) for ref in self._kind.services(source)]

    def _users(self, service: Object) -> Iterable[ObjectKey]:
        """Map a Service, or a twin, or what has a twin's name, to the objects that name its original."""
        name, namespace = view.name(service), view.namespace(service)
        originals = {name, name.removesuffix(names.NODEPORT_SUFFIX)}
        if (original := origin_of_twin(service)) is not None:
            originals.add(original)
        for original in sorted(originals):
            for source in self._informer.store.by_index(_NAMED, f"{namespace}/{original}"):
                yield ObjectKey.of(source)


def _same_wish(old: Object, new: Object) -> bool:
    """Tell whether two states of a source ask for the same; the rest of them is what we write."""
    first, second = old["metadata"], new["metadata"]
    return view.content(old) == view.content(new) and all(first.get(part) == second.get(part) for part in _WISHES)


def _said(exported: Object) -> tuple[Any, ...]:
    """Return what others than us say of an export."""
    return exported.get("status"), view.deleting(exported)


def _is_held(source: Object) -> bool:
    return any(view.has_finalizer(source, finalizer) for finalizer in _OUR_FINALIZERS)


def service_matters(change: Change) -> bool:
    """Let through what can change an export or a twin; status and annotations of Services cannot."""
    old, new = change
    return old is None or new is None or _relevant(old) != _relevant(new)


_RELEVANT = ("uid", "labels", "deletionTimestamp", "finalizers", "ownerReferences")


def _relevant(service: Object) -> tuple[Any, ...]:
    metadata = service["metadata"]
    return service.get("spec"), *(metadata.get(part) for part in _RELEVANT)
