"""Key: a tenant's namespace. The Service that all Ingresses of a tenant share, and the fleet that it leads to."""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Controller, Result
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Change
from kubelb_manager.controllers import apply
from kubelb_manager.controllers.board import Board, Outcome
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.desired import copies
from kubelb_manager.desired import service as desired
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.ir.model import FleetId, Origin
from kubelb_manager.settings import in_force
from kubelb_manager.settings.merged import Settings, merged

_KIND = "Route"


class SharedAddressController:
    """Keeps `envoy-ingress` where a tenant has Routes; moves it when every Route is served elsewhere."""

    def __init__(self, hub: Hub, fleets: Fleets, board: Board, *, namespace: str, clock: Clock) -> None:
        self._hub = hub
        self._informers = informers = hub.informers
        self._fleets = fleets
        self._board = board
        self._namespace = namespace
        self.controller = Controller("shared-address", self.reconcile, clock=clock)
        self.controller.watch(informers.routes, _namespace_key, when=_comes_or_goes)
        self.controller.watch(informers.ingresses, _namespace_key, when=_comes_or_goes)
        self.controller.watch(informers.services, _namespace_key, when=_is_shared)
        self.controller.watch(informers.tenants, lambda obj: [ObjectKey("", names.tenant_namespace(view.name(obj)))])
        self.controller.watch(informers.namespaces, lambda obj: [ObjectKey("", view.name(obj))])
        self.controller.watch(informers.configs, lambda _obj: self._everybody())
        board.on_change(self._on_outcome)

    def _everybody(self) -> list[ObjectKey]:
        return [ObjectKey("", view.name(item)) for item in self._informers.namespaces.store.list()]

    def _on_outcome(self, origin: Origin) -> None:
        """A Service that points elsewhere than it should waits for its Routes."""
        if origin.kind == _KIND and self._fleets.bound(origin) not in (None, self._fleets.target(origin)):
            self.controller.enqueue(ObjectKey("", origin.namespace))

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring the Service to what the Routes and the settings ask for."""
        namespace = key.name
        home = self._informers.namespaces.store.get(None, namespace)
        tenant = self._informers.tenants.store.get(None, names.tenant_of_namespace(namespace))
        config = self._informers.configs.store.get(self._namespace, names.CONFIG_NAME)
        if home is None or view.deleting(home) or tenant is None or in_force.undecided(config, tenant):
            return DONE
        live = self._hub.live(resources.SERVICES, namespace, names.INGRESS_SERVICE)
        settings = merged(config, tenant)
        routes = [route for route in self._informers.routes.store.list(namespace) if not view.deleting(route)]
        if not routes or view.deleting(tenant) or not self._is_native(namespace, settings):
            await apply.remove(self._hub, resources.SERVICES, live)
            return DONE
        if settings.ingress_disabled:
            return DONE  # what is there keeps its address, with no listener behind it
        fleet = self._fleet(namespace, live, routes)
        goal = desired.bound(desired.ingress(tenant, namespace, settings=settings), fleet)
        await apply.ensure(self._hub, resources.SERVICES, goal, live)
        return DONE

    def _is_native(self, namespace: str, settings: Settings) -> bool:
        """Whether clients come to the shared address: it stays until the last Ingress is handed over."""
        if not settings.delegated_to:
            return True
        return any(copies.is_native(copy) for copy in self._informers.ingresses.store.list(namespace))

    def _fleet(self, namespace: str, live: Object | None, routes: list[Object]) -> FleetId:
        """Return the fleet to lead to: the one before, until the target serves whatever that one does."""
        any_route = Origin(_KIND, namespace, "")
        target = self._fleets.target(any_route)
        bound = None if live is None else self._fleets.bound_by(any_route, live)
        if bound is None or bound == target:
            return target
        origins = [Origin(_KIND, namespace, view.name(route)) for route in routes]
        ready = all(_may_move(self._board.get(each, bound), self._board.get(each, target)) for each in origins)
        return target if ready else bound


def _may_move(before: Outcome | None, there: Outcome | None) -> bool:
    if there is None:
        return False
    return there.everywhere or (there.settled and before is not None and not before.programmed)


def _namespace_key(obj: Object) -> list[ObjectKey]:
    return [ObjectKey("", view.namespace(obj))]


def _comes_or_goes(change: Change) -> bool:
    old, new = change
    return old is None or new is None or view.deleting(old) != view.deleting(new)


def _is_shared(change: Change) -> bool:
    return any(obj is not None and view.name(obj) == names.INGRESS_SERVICE for obj in change)
