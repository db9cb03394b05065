"""Key: a LoadBalancer. Its ports of Envoy, its Service in the management cluster, its status.

The order matters: ports are in the status before anything is published with them, so that a restart
or another replica publishes the same (contract); the Service comes with the ports; Programmed and
the first address come when every ready Envoy serves (ruling 12).
"""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Controller, Result
from kubelb_common.runtime.keys import ObjectKey
from kubelb_manager.controllers import apply, status
from kubelb_manager.controllers.address_gate import AddressGate
from kubelb_manager.controllers.board import Board, Outcome
from kubelb_manager.controllers.events import Events
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.controllers.port_ledger import PortLedger
from kubelb_manager.desired import service as desired_service
from kubelb_manager.gather.fleets import Fleets
from kubelb_manager.ir.model import Endpoint, FleetId, Origin, Protocol
from kubelb_manager.ports import declared
from kubelb_manager.ports.table import PortKey
from kubelb_manager.probes.nodeport import Connect, connects
from kubelb_manager.translate.result import Reason

KIND = "LoadBalancer"


class LoadBalancerController:
    """The one writer of LoadBalancer status (ruling 31)."""

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
        self._informers = informers = hub.informers
        self._board = board
        self._clock = clock
        self._ledger = ledger
        self.controller = Controller("loadbalancer", self.reconcile, clock=clock, on_start=self._forget)
        self._asked_for: dict[Endpoint, ObjectKey] = {}
        self.gate = AddressGate(clock, connect, self._on_answer)
        self.controller.watch(informers.load_balancers)
        self.controller.watch(informers.services, _owner_key)
        board.on_change(self._on_outcome)
        ledger.on_moved(self._on_outcome)

    def _forget(self) -> None:
        """A term begins."""
        self._asked_for.clear()

    def _on_outcome(self, origin: Origin) -> None:
        if origin.kind == KIND:
            self.controller.enqueue(ObjectKey(origin.namespace, origin.name))

    def _on_answer(self, endpoint: Endpoint) -> None:
        key = self._asked_for.pop(endpoint, None)
        if key is not None:
            self.controller.enqueue(key)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring ports, Service and status to what the spec and the data plane say."""
        lb = self._hub.live(resources.LOAD_BALANCERS, *key)
        if lb is None:
            self._ledger.release(Origin(KIND, key.namespace, key.name))
            return DONE
        origin = _origin(lb)
        outcome = self._board.get(origin, self._fleets.serving(origin))
        if outcome is not None and outcome.uid != view.uid(lb):
            outcome = None
        service = self._hub.live(resources.SERVICES, key.namespace, names.load_balancer_service(key.name))
        if view.deleting(lb):
            await self._clean_up(lb, service, outcome)
            return DONE
        lb = await apply.hold(self._hub, resources.LOAD_BALANCERS, lb)
        ports = self._ports(lb)
        if outcome is not None and _is_overtaken(outcome, lb, ports):
            outcome = None
        if outcome is not None and outcome.generation == view.generation(lb):
            # The Service of one that is disabled keeps its address; Envoy has no listener behind it.
            if outcome.copy is None and not outcome.accepted and not outcome.disabled:
                await apply.remove(self._hub, resources.SERVICES, service)
                service = None
            elif outcome.copy is not None and _carries(outcome.copy, ports):
                goal = desired_service.bound(outcome.copy, self._fleet(origin, lb, service))
                service = await apply.ensure(self._hub, resources.SERVICES, goal, service)
        lb = self._hub.live(resources.LOAD_BALANCERS, *key) or lb
        if outcome is not None and outcome.programmed and not self._answers(key, lb, service):
            return DONE  # the gate tells
        wanted = self._status(lb, ports, service, outcome)
        await self._events.tell(lb, view.objects(wanted, "conditions"))
        await status.write(self._hub, resources.LOAD_BALANCERS, lb, wanted)
        return DONE

    def _fleet(self, origin: Origin, lb: Object, service: Object | None) -> FleetId:
        """Return the fleet that the Service leads to: the one before, until the target serves (make before break)."""
        target = self._fleets.target(origin)
        bound = None if service is None else self._fleets.bound_by(origin, service)
        if bound is None or bound == target:
            return target
        there = self._board.get(origin, target)
        ready = there is not None and there.everywhere and there.generation == view.generation(lb)
        return target if ready else bound

    def _answers(self, key: ObjectKey, lb: Object, service: Object | None) -> bool:
        """Whether the address that would be shown first takes connections."""
        addresses = view.objects(service or {}, "status", "loadBalancer", "ingress")
        ports = view.objects(service or {}, "spec", "ports")
        if not addresses or not ports or view.get(lb, "status", "loadBalancer", "ingress"):
            return True
        # A TCP port can answer; all are programmed together.
        port = next((item for item in ports if item.get("protocol", "TCP") == "TCP"), ports[0])
        number, protocol = port["port"], Protocol(port.get("protocol", "TCP"))
        self._asked_for |= {Endpoint(view.text(item, "ip"), number, protocol): key for item in addresses}
        return self.gate.passes(addresses, number, protocol)

    def _ports(self, lb: Object) -> dict[PortKey, int]:
        """Return Envoy's port for each port of `lb`; what is given out is remembered until the store has it."""
        return dict(self._ledger.assign(_origin(lb), declared.wanted(lb)).ports)

    def _status(self, lb: Object, ports: dict[PortKey, int], service: Object | None, outcome: Outcome | None) -> Object:
        before = lb.get("status") or {}
        wanted = {**before, "service": {"ports": declared.status_ports(lb, ports, service)}}
        given = view.get(before, "loadBalancer", "ingress", default=[])
        addresses = view.get(service or {}, "status", "loadBalancer", "ingress", default=[])
        if outcome is not None and outcome.generation == view.generation(lb):
            wanted["conditions"] = status.with_verdicts(
                view.objects(before, "conditions"), outcome.verdicts, outcome.generation, status.now(self._clock)
            )
            if not outcome.accepted:
                given, addresses = [], []
            elif outcome.programmed:
                given = addresses
        # An address once given stays while the object is accepted, unless its Service loses it.
        ingress = addresses if given else []
        wanted["loadBalancer"] = {"ingress": ingress} if ingress else {}
        return wanted

    async def _clean_up(self, lb: Object, service: Object | None, outcome: Outcome | None) -> None:
        """The Service goes at once, the finalizer when no Envoy uses the tenant's node ports any more."""
        await apply.remove(self._hub, resources.SERVICES, service)
        self.gate.forget(view.objects(service or {}, "status", "loadBalancer", "ingress"))
        if outcome is not None and outcome.released:
            await apply.finish(self._hub, resources.LOAD_BALANCERS, lb)
            self._ledger.release(_origin(lb))


def _origin(lb: Object) -> Origin:
    return Origin(KIND, view.namespace(lb), view.name(lb))


def _is_overtaken(outcome: Outcome, lb: Object, ports: dict[PortKey, int]) -> bool:
    """Whether the outcome misses ports only because they were not in the status yet when it was made."""
    missed = any(verdict.reason == Reason.NO_PORT_AVAILABLE for verdict in outcome.verdicts)
    return missed and set(ports) == set(declared.wanted(lb))


def _carries(service: Object, ports: dict[PortKey, int]) -> bool:
    """Whether the wanted Service was made from these ports; a translation may be one write behind."""
    targets = {port.get("targetPort") for port in view.objects(service, "spec", "ports")}
    return targets <= set(ports.values())


def _owner_key(service: Object) -> list[ObjectKey]:
    labels = view.labels(service)
    name, namespace = labels.get(names.LABEL_LB_NAME), labels.get(names.LABEL_LB_NAMESPACE)
    owner = view.controller(service)
    if owner is not None and owner.get("kind") == KIND:
        name = view.text(owner, "name")
    return [ObjectKey(namespace, name)] if name and namespace else []
