"""Key: a Route. Its copies in the management cluster and its status.

Natively the copy is shown only, and publication never waits for it (ruling 28). The status is written when
there is a word on Programmed, or after a short while without: one write for what goes well at once, two otherwise.

Delegated, a third-party controller serves the copy, by Services that lead to Envoy. The order is: ports of Envoy
into the status, Envoys listen, the Services, the copy; then the address that the controller writes into it. What
a copy named before stays for `HANDOVER` seconds, because the controller needs a moment to take the new one.

When the class changes, the copy of the new class is made beside the old one. The tenant's object shows the old
address until the new one serves; then the old copy goes after the same time, and what served it after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, KubeError
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import conditions, view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result, owner_key
from kubelb_common.runtime.keys import ObjectKey
from kubelb_manager.controllers import apply, status
from kubelb_manager.controllers.address_gate import AddressGate
from kubelb_manager.controllers.board import PROGRAMMED, Board, Outcome
from kubelb_manager.controllers.events import Events
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.controllers.port_ledger import PortLedger
from kubelb_manager.desired import copies, delegated
from kubelb_manager.desired import service as desired_service
from kubelb_manager.gather import synced
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.gather.stores import BY_OWNER
from kubelb_manager.ir.model import Endpoint, FleetId, Origin
from kubelb_manager.ports.table import PortKey, from_status
from kubelb_manager.probes.nodeport import Connect, connects
from kubelb_manager.translate.delegation import status_entries
from kubelb_manager.translate.result import Reason, Verdict

KIND = "Route"
#: How long a first status waits for Programmed, so that the two are one write.
PATIENCE = 0.5
#: How long what a third-party controller was told before stays, and an address that is shown no more.
HANDOVER = 30.0
_APPLIED = "ResourceAppliedSuccessfully"
#: A copy that was refused, and a port that was not left, are asked for again.
_RETRY = 30.0
#: The shared Service's port for plain HTTP.
HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class _Copies:
    """What is there in the management cluster on a Route's account.

    Attributes:
        target: the copy that the settings ask for, None while it is not there.
        others: copies of other classes.
        services: Services that copies name.
    """

    target: Object | None
    others: tuple[Object, ...]
    services: tuple[Object, ...]


class RouteController:
    """The one writer of Route status (ruling 31)."""

    def __init__(
        self,
        hub: Hub,
        fleets: Fleets,
        board: Board,
        events: Events,
        ledger: PortLedger,
        clock: Clock,
        connect: Connect = connects,
    ) -> None:
        self._hub = hub
        self._fleets = fleets
        self._events = events
        self._ledger = ledger
        self._informers = informers = hub.informers
        self._board = board
        self._clock = clock
        #: Seconds; see the module.
        self.handover = HANDOVER
        self._first_seen: dict[tuple[str, int], float] = {}
        #: By UID: since when nobody needs what the copies of before were made of.
        self._superseded: dict[str, float] = {}
        self.controller = Controller("route", self.reconcile, workers=2, clock=clock, on_start=self._forget)
        self._asking: set[ObjectKey] = set()
        self.gate = AddressGate(clock, connect, self._on_answer)
        self.controller.watch(informers.routes)
        self.controller.watch(informers.ingresses, owner_key(KIND))
        self.controller.watch(informers.services, owner_key(KIND))
        self.controller.watch(informers.services, self._sharers)
        self.controller.watch(informers.secrets, self._users)
        board.on_change(self._on_outcome)
        ledger.on_moved(self._on_outcome)

    def _forget(self) -> None:
        """A term begins."""
        self._first_seen.clear()
        self._superseded.clear()
        self._asking.clear()

    def _on_outcome(self, origin: Origin) -> None:
        if origin.kind == KIND:
            self.controller.enqueue(ObjectKey(origin.namespace, origin.name))

    def _on_answer(self, _endpoint: Endpoint) -> None:
        for key in sorted(self._asking):
            self.controller.enqueue(key)
        self._asking.clear()

    def _sharers(self, service: Object) -> list[ObjectKey]:
        """The address of all Ingresses of a tenant moved: every Route shows it."""
        if view.name(service) != names.INGRESS_SERVICE:
            return []
        return [ObjectKey.of(route) for route in self._informers.routes.store.list(view.namespace(service))]

    def _users(self, secret: Object) -> list[ObjectKey]:
        """A synced Secret came or went: delegated copies name it, or do not (defect 69)."""
        store = self._informers.routes.store
        return [
            ObjectKey.of(route) for place in synced.origins(secret) for route in store.by_index(synced.BY_SECRET, place)
        ]

    def _secrets(self, route: Object) -> dict[str, str]:
        """Return the synced Secrets that the Ingress names, by the names that they have in the copy without."""
        store, home = self._informers.secrets.store, view.namespace(route)
        found = {origin: synced.find(store, home, *origin) for origin in delegated.tls_secrets(route)}
        return {delegated.secret_name(*origin): view.name(obj) for origin, obj in found.items() if obj is not None}

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring copies and status to what the spec and the data plane say."""
        route = self._hub.live(resources.ROUTES, *key)
        if route is None:
            self._ledger.release(Origin(KIND, key.namespace, key.name))
            return DONE
        origin = Origin(KIND, key.namespace, key.name)
        outcome = self._board.get(origin, self._fleets.serving(origin))
        if outcome is not None and outcome.uid != view.uid(route):
            outcome = None
        if view.deleting(route):
            await self._clean_up(route, outcome)
            return DONE
        route = await apply.hold(self._hub, resources.ROUTES, route)
        if outcome is None or outcome.generation != view.generation(route):
            return DONE
        ports, refused = self._ports(route, outcome)
        if ports != from_status([route]):
            # Ports are in the status before anything listens on them; the snapshot follows.
            await self._write_ports(route, ports)
            return DONE
        patience = self._patience_left(route, outcome)
        if patience > 0:
            return Again(patience)
        return await self._show(route, outcome, ports, refused)

    async def _clean_up(self, route: Object, outcome: Outcome | None) -> None:
        """The copies go at once, the finalizer when no Envoy uses the tenant's node ports any more."""
        self._first_seen.pop((view.uid(route), view.generation(route)), None)
        self._superseded.pop(view.uid(route), None)
        found = self._copies(route, None)
        await self._remove(resources.INGRESSES, found.others)
        await self._remove(resources.SERVICES, found.services)
        if outcome is not None and outcome.released:
            await apply.finish(self._hub, resources.ROUTES, route)
            self._ledger.release(_origin(route))

    def _patience_left(self, route: Object, outcome: Outcome) -> float:
        version = (view.uid(route), view.generation(route))
        if outcome.settled:
            self._first_seen.pop(version, None)
            return 0.0
        since = self._first_seen.setdefault(version, self._clock.monotonic())
        return since + PATIENCE - self._clock.monotonic()

    # Ports ---------------------------------------------------------------------------------------

    def _ports(self, route: Object, outcome: Outcome) -> tuple[dict[PortKey, int], tuple[PortKey, ...]]:
        """Return Envoy's ports of this Route, those of before included, and the keys for which none is left."""
        known = from_status([route])
        if not known and not outcome.wants:
            return {}, ()
        found = self._ledger.assign(_origin(route), {*known, *outcome.wants})
        return dict(found.ports), found.unserved

    async def _write_ports(self, route: Object, ports: Mapping[PortKey, int]) -> None:
        before: Any = route.get("status") or {}
        held = view.get(before, "resources", "services", default={})
        listed = {**{name: _service_entry(name) for name in held}, **status_entries(route, ports)}
        wanted = {**before, "resources": {**view.get(before, "resources", default={}), "services": listed}}
        await status.write(self._hub, resources.ROUTES, route, wanted)

    # Copies --------------------------------------------------------------------------------------

    def _copies(self, route: Object, wanted: Object | None) -> _Copies:
        """Return the copies that are there; those that are going are not."""
        uid = view.uid(route)
        found = [item for item in self._informers.ingresses.store.by_index(BY_OWNER, uid) if not view.deleting(item)]
        own = self._informers.services.store.by_index(BY_OWNER, uid)
        name = "" if wanted is None else view.name(wanted)
        target = self._hub.live(resources.INGRESSES, view.namespace(route), name) if name else None
        if target is not None and view.labels(target).get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
            target = None
        return _Copies(
            target,
            tuple(item for item in found if view.name(item) != name),
            tuple(item for item in own if not view.deleting(item)),
        )

    def _fleet(self, route: Object, outcome: Outcome) -> FleetId:
        """Return the fleet that Services lead to: the one before, until the target serves (make before break)."""
        origin = _origin(route)
        target, serving = self._fleets.target(origin), self._fleets.serving(origin)
        there = self._board.get(origin, target)
        shared = self._hub.live(resources.SERVICES, origin.namespace, names.INGRESS_SERVICE)
        if serving == target or shared is not None or there is None or there.generation != outcome.generation:
            return serving
        return target if _is_listened_to(there) else serving

    async def _make(self, route: Object, outcome: Outcome) -> tuple[Object | None, bool]:
        """Make Services and copy as wanted, as soon as nothing would be answered wrongly by them.

        Returns the condition that tells of it, and whether to try again later.
        """
        wanted = outcome.copy
        if wanted is None:
            return None, False
        try:
            fleet = self._fleet(route, outcome) if outcome.backends else None
            for service in outcome.backends:
                assert fleet is not None
                live = self._hub.live(resources.SERVICES, view.namespace(service), view.name(service))
                await apply.ensure(self._hub, resources.SERVICES, desired_service.bound(service, fleet), live)
            if copies.is_native(wanted) or _is_listened_to(outcome):
                goal = wanted if copies.is_native(wanted) else delegated.with_secrets(wanted, self._secrets(route))
                live = self._hub.live(resources.INGRESSES, view.namespace(wanted), view.name(wanted))
                await apply.ensure(self._hub, resources.INGRESSES, goal, live)
        except (AlreadyExists, Conflict):
            raise
        except (Forbidden, Invalid, apply.NotOurs) as error:
            return _applied("False", "InstallationFailed", _cause(error)), True
        return _applied("True", "InstallationSuccessful", "Success"), False

    async def _remove(self, resource: Resource, objects: Iterable[Object]) -> None:
        for live in objects:
            await apply.remove(self._hub, resource, live)

    async def _hand_over(self, route: Object, outcome: Outcome, found: _Copies, *, done: bool) -> float | None:
        """Remove what was needed before, a while after it was needed last.

        Args:
            route: the Route.
            outcome: what is wanted.
            found: what is there.
            done: what is wanted serves.

        Returns:
            Seconds until it is to go; None if nothing is left of it, or if it is needed.
        """
        uid, wanted = view.uid(route), {view.name(item) for item in outcome.backends}
        stale = [item for item in found.services if view.name(item) not in wanted]
        spare = from_status([route]).keys() - set(outcome.wants)
        if not (found.others or stale or spare) or not done:
            self._superseded.pop(uid, None)
            return None
        now = self._clock.monotonic()
        left = self._superseded.setdefault(uid, now) + self.handover - now
        if left > 0 and outcome.copy is not None:
            return left
        await self._remove(resources.INGRESSES, found.others)
        await self._remove(resources.SERVICES, stale)
        if not found.others and not stale:
            self._superseded.pop(uid, None)
        return None

    # Status --------------------------------------------------------------------------------------

    async def _show(
        self, route: Object, outcome: Outcome, ports: dict[PortKey, int], refused: tuple[PortKey, ...]
    ) -> Result:
        applied, failed = await self._make(route, outcome)
        found = self._copies(route, outcome.copy)
        address = self._address(route, outcome, found)
        if address is None:
            self._asking.add(ObjectKey.of(route))
            return DONE  # the gate tells
        serves = self._serves(route, outcome, found, address)
        later = await self._hand_over(route, outcome, found, done=serves or outcome.copy is None)
        if later is None and (serves or outcome.copy is None):
            ports = {key: port for key, port in ports.items() if key in outcome.wants}
        wanted = self._status(route, outcome, address, applied, ports, refused)
        await self._events.tell(route, view.objects(wanted, "conditions"))
        await status.write(self._hub, resources.ROUTES, route, wanted)
        if found.target is not None and copies.is_native(found.target):
            shown = {"loadBalancer": _load_balancer(address)}
            await status.write(self._hub, resources.INGRESSES, found.target, shown)
        if failed or refused:
            return Again(_RETRY)
        return DONE if later is None else Again(later)

    def _shared_address(self, route: Object) -> list[Object] | None:
        """Return the address of all Ingresses; None while there is no such Service."""
        service = self._hub.live(resources.SERVICES, view.namespace(route), names.INGRESS_SERVICE)
        return None if service is None else _spoken(view.objects(service, "status", "loadBalancer", "ingress"))

    def _address(self, route: Object, outcome: Outcome, found: _Copies) -> list[Object] | None:
        """Return the addresses to show; None while the gate asks one.

        None are shown before every ready Envoy serves. While the class changes, that of the copy of before
        stays until the new one serves.
        """
        shown = _given(route)
        if not outcome.accepted or outcome.copy is None or not (shown or outcome.programmed):
            return []
        if not copies.is_native(outcome.copy):
            own = _written(found.target)
            if own or not shown:
                return own
            natives = [item for item in found.others if copies.is_native(item)]
            return self._shared_address(route) or [] if natives else _first(found.others)
        before = _first(item for item in found.others if not copies.is_native(item))
        native = self._shared_address(route)
        if before and not (native and outcome.everywhere):
            return before
        if native is None:
            return shown  # somebody took the Service, or its label, away: it is put back
        if native and native != shown and (before or not shown) and not self.gate.passes(native, HTTP_PORT):
            return None
        return native

    def _serves(self, route: Object, outcome: Outcome, found: _Copies, address: list[Object]) -> bool:
        """Whether what is wanted serves, so that what was before need not."""
        if found.target is None or outcome.copy is None:
            return False
        if copies.is_native(outcome.copy):
            moved = bool(address) and outcome.everywhere and address == self._shared_address(route)
        else:
            moved = _is_listened_to(outcome) and bool(_written(found.target))
        return moved or (not found.others and (copies.is_native(outcome.copy) or _is_listened_to(outcome)))

    def _status(
        self,
        route: Object,
        outcome: Outcome,
        address: list[Object],
        applied: Object | None,
        ports: Mapping[PortKey, int],
        refused: tuple[PortKey, ...],
    ) -> Object:
        before: Any = route.get("status") or {}
        now = status.now(self._clock)
        told: Object = {}
        if outcome.copy is not None:
            known = view.objects(before, "resources", "route", "conditions")
            fresh = conditions.merge(known, [applied] if applied else [], now)
            told = copies.status_entry(outcome.copy, {"loadBalancer": _load_balancer(address)}, fresh)
        in_use = {name: _service_entry(name) for name in outcome.services}
        verdicts = [*outcome.verdicts, *([_no_port(refused)] if refused else [])]
        return {
            **before,
            "resources": {
                **({"route": told} if told else {}),
                "services": {**in_use, **status_entries(route, ports)},
            },
            "conditions": status.with_verdicts(view.objects(before, "conditions"), verdicts, outcome.generation, now),
        }


def _origin(route: Object) -> Origin:
    return Origin(KIND, view.namespace(route), view.name(route))


def _is_listened_to(outcome: Outcome) -> bool:
    """Whether every ready Envoy listens on all ports that the copy's Services lead to."""
    return outcome.everywhere and outcome.listening.issuperset(outcome.wants)


def _no_port(refused: tuple[PortKey, ...]) -> Verdict:
    said = ", ".join(f"{key.service} port {key.port}" for key in refused[:5])
    return Verdict(PROGRAMMED, "False", Reason.NO_PORT_AVAILABLE, f"The proxy has no port left for {said}.")


def _given(route: Object) -> list[Object]:
    """Return the address that the Route shows already; that one stays."""
    return view.objects(route, "status", "resources", "route", "status", "loadBalancer", "ingress")


def _spoken(ingress: list[Object]) -> list[Object]:
    """Return addresses in the words of an Ingress' status, which knows fewer fields than a Service's."""
    return [{key: item[key] for key in ("ip", "hostname") if item.get(key)} for item in ingress]


def _written(copy: Object | None) -> list[Object]:
    """Return the address that a third-party controller has written into a copy."""
    return _spoken(view.objects(copy or {}, "status", "loadBalancer", "ingress"))


def _first(found: Iterable[Object]) -> list[Object]:
    return next((address for item in found if (address := _written(item))), [])


def _load_balancer(address: list[Object]) -> Object:
    return {"ingress": address} if address else {}


def _service_entry(name: str) -> Object:
    namespace, _, service = name.partition("/")
    return {"apiVersion": "v1", "kind": "Service", "namespace": namespace, "name": service}


def _applied(state: str, reason: str, message: str) -> Object:
    return {"type": _APPLIED, "status": state, "reason": reason, "message": message}


def _cause(error: KubeError | apply.NotOurs) -> str:
    return getattr(error, "message", None) or str(error)
