"""Key: a Route. Its native copy in the management cluster and its status.

Publication never waits for any of this (ruling 28). The status is written when there is a word on
Programmed, or after a short while without one: one write for what goes well at once, two otherwise.
"""

from __future__ import annotations

from typing import Any

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, KubeError
from kubelb_common.kube.port import Object
from kubelb_common.objects import conditions, view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Again, Controller, Result, owner_key
from kubelb_common.runtime.keys import ObjectKey
from kubelb_manager.controllers import apply, status
from kubelb_manager.controllers.address_gate import AddressGate
from kubelb_manager.controllers.board import Board, Outcome
from kubelb_manager.controllers.events import Events
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.desired import copies
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.gather.stores import BY_OWNER
from kubelb_manager.ir.model import Endpoint, Origin
from kubelb_manager.probes.nodeport import Connect, connects

KIND = "Route"
#: How long a first status waits for Programmed, so that the two are one write.
PATIENCE = 0.5
_APPLIED = "ResourceAppliedSuccessfully"
_COPY_RETRY = 30.0
#: The shared Service's port for plain HTTP.
HTTP_PORT = 80


class RouteController:
    """The one writer of Route status (ruling 31)."""

    def __init__(
        self, hub: Hub, fleets: Fleets, board: Board, events: Events, clock: Clock, connect: Connect = connects
    ) -> None:
        self._hub = hub
        self._fleets = fleets
        self._events = events
        self._informers = informers = hub.informers
        self._board = board
        self._clock = clock
        self._first_seen: dict[tuple[str, int], float] = {}
        self.controller = Controller("route", self.reconcile, workers=2, clock=clock, on_start=self._forget)
        self._asking: set[ObjectKey] = set()
        self.gate = AddressGate(clock, connect, self._on_answer)
        self.controller.watch(informers.routes)
        self.controller.watch(informers.ingresses, owner_key(KIND))
        self.controller.watch(informers.services, self._sharers)
        board.on_change(self._on_outcome)

    def _forget(self) -> None:
        """A term begins."""
        self._first_seen.clear()
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

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring copy and status to what the spec and the data plane say."""
        route = self._hub.live(resources.ROUTES, *key)
        if route is None:
            return DONE
        origin = Origin(KIND, key.namespace, key.name)
        outcome = self._board.get(origin, self._fleets.serving(origin))
        if outcome is not None and outcome.uid != view.uid(route):
            outcome = None
        if view.deleting(route):
            self._first_seen.pop((view.uid(route), view.generation(route)), None)
            if outcome is not None and outcome.released:
                await self._remove_copies(route, keep=None)
                await apply.finish(self._hub, resources.ROUTES, route)
            return DONE
        route = await apply.hold(self._hub, resources.ROUTES, route)
        if outcome is None or outcome.generation != view.generation(route):
            return DONE
        patience = self._patience_left(route, outcome)
        if patience > 0:
            return Again(patience)
        return await self._show(route, outcome)

    def _patience_left(self, route: Object, outcome: Outcome) -> float:
        version = (view.uid(route), view.generation(route))
        if outcome.settled:
            self._first_seen.pop(version, None)
            return 0.0
        since = self._first_seen.setdefault(version, self._clock.monotonic())
        return since + PATIENCE - self._clock.monotonic()

    async def _show(self, route: Object, outcome: Outcome) -> Result:
        address = self._address(route, outcome)
        if address and not _given(route) and not self.gate.passes(address, HTTP_PORT):
            self._asking.add(ObjectKey.of(route))
            return DONE  # the gate tells
        copy, applied, failed = await self._copy(route, outcome)
        wanted = self._status(route, outcome, address, applied)
        await self._events.tell(route, view.objects(wanted, "conditions"))
        await status.write(self._hub, resources.ROUTES, route, wanted)
        if copy is not None:
            await status.write(self._hub, resources.INGRESSES, copy, {"loadBalancer": _load_balancer(address)})
        return Again(_COPY_RETRY) if failed else DONE

    def _address(self, route: Object, outcome: Outcome) -> list[Object]:
        """Return the addresses to show: none before every ready Envoy serves, then those of the shared Service."""
        if not outcome.accepted or not (_given(route) or outcome.programmed):
            return []
        service = self._hub.live(resources.SERVICES, view.namespace(route), names.INGRESS_SERVICE)
        if service is None:
            return _given(route)  # somebody took it, or its label, away: it is put back
        found = view.objects(service, "status", "loadBalancer", "ingress")
        # An Ingress' status knows fewer fields than a Service's.
        return [{key: item[key] for key in ("ip", "hostname") if item.get(key)} for item in found]

    async def _copy(self, route: Object, outcome: Outcome) -> tuple[Object | None, Object | None, bool]:
        """Keep the native copy; return it, the condition that tells of it, and whether to try again later."""
        wanted = outcome.copy
        await self._remove_copies(route, keep=wanted)
        if wanted is None:
            return None, None, False
        live = self._hub.live(resources.INGRESSES, view.namespace(wanted), view.name(wanted))
        try:
            stored = await apply.ensure(self._hub, resources.INGRESSES, wanted, live)
        except (AlreadyExists, Conflict):
            raise
        except (Forbidden, Invalid, apply.NotOurs) as error:
            return None, _applied("False", "InstallationFailed", _cause(error)), True
        return stored, _applied("True", "InstallationSuccessful", "Success"), False

    async def _remove_copies(self, route: Object, *, keep: Object | None) -> None:
        for live in self._informers.ingresses.store.by_index(BY_OWNER, view.uid(route)):
            if keep is None or view.name(live) != view.name(keep):
                await apply.remove(self._hub, resources.INGRESSES, live)

    def _status(self, route: Object, outcome: Outcome, address: list[Object], applied: Object | None) -> Object:
        before: Any = route.get("status") or {}
        now = status.now(self._clock)
        told: Object = {}
        if outcome.copy is not None:
            known = view.objects(before, "resources", "route", "conditions")
            fresh = conditions.merge(known, [applied] if applied else [], now)
            told = copies.status_entry(outcome.copy, {"loadBalancer": _load_balancer(address)}, fresh)
        return {
            **before,
            "resources": {
                **({"route": told} if told else {}),
                "services": {name: _service_entry(name) for name in outcome.services},
            },
            "conditions": status.with_verdicts(
                view.objects(before, "conditions"), outcome.verdicts, outcome.generation, now
            ),
        }


def _given(route: Object) -> list[Object]:
    """Return the addresses that the Route shows already; these stay."""
    return view.objects(route, "status", "resources", "route", "status", "loadBalancer", "ingress")


def _load_balancer(address: list[Object]) -> Object:
    return {"ingress": address} if address else {}


def _service_entry(name: str) -> Object:
    namespace, _, service = name.partition("/")
    return {"apiVersion": "v1", "kind": "Service", "namespace": namespace, "name": service}


def _applied(state: str, reason: str, message: str) -> Object:
    return {"type": _APPLIED, "status": state, "reason": reason, "message": message}


def _cause(error: KubeError | apply.NotOurs) -> str:
    return getattr(error, "message", None) or str(error)
