"""NodePort twins: made before a Route needs them, taken away when nobody can need them any more (ruling 17).

Who is asked, and in which order
--------------------------------
A twin is *wanted* while its Service exists without node ports of its own and a live object of ours names it; that
is recomputed from the stores on every pass, never counted. A twin that is not wanted is *held* while any export in
the management cluster asks for its node ports or lists its Service in status, because an Envoy may still use it.
An export that its manager has not looked at yet holds every unwanted twin, for a minute at most: managers of the
original write no conditions, so that is all that can be known of them. Unwanted and not held: it is deleted.

Nothing of this is asked when something is added: a twin is looked at when an object stops naming its Service, when an
export needs less of it, and when the Service or the twin itself changes.

What may never happen
---------------------
* A Service that is not our twin is written or deleted; one of that name is a problem that the tenant is told.
* A node port is freed while an Envoy may have a cluster for it. So a twin carries a finalizer: when its Service
  goes, its owner reference deletes it, but the port stays taken until the management cluster has let go.
* A twin gets other node ports by being updated, or by being made anew while an export still names the old ones.

One Service is worked on by one task at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakValueDictionary

from kubelb_ccm.controllers.exports import Exports
from kubelb_ccm.controllers.home import Home
from kubelb_ccm.controllers.mirror import Mirror
from kubelb_ccm.export.problems import Problem, is_settled
from kubelb_ccm.export.services import NodePorts
from kubelb_ccm.export.twins import is_twin_of, needs_twin, new_twin, updated_twin
from kubelb_ccm.export.usage import exported_node_ports, needs_node_ports, used_services
from kubelb_ccm.sources.adapter import ServiceRef
from kubelb_common import names
from kubelb_common.kube.errors import AlreadyExists, ApiError, Forbidden, Invalid, NotFound
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import SERVICES
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock, SystemClock
from kubelb_common.runtime.controller import DONE, Again, Result
from kubelb_common.runtime.fresh import Fresh
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.keys import ObjectKey

#: How long an export without conditions holds an unwanted twin.
GRACE_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.5
_REFUSED_SECONDS = 60.0
_USED = "used services"
_UNSETTLED = "unsettled"

IsNamed = Callable[[ServiceRef], bool]


class _Refusal(NamedTuple):
    """What kept the twin of a Service at this resourceVersion from being made, and until when that is believed."""

    problem: Problem
    version: str
    until: float


@dataclass(slots=True)
class Backends:
    """The Services behind one source object, as far as they exist.

    Attributes:
        services: each Service with the twin that serves it, None where it has node ports or got no twin.
        problems: what kept a Service from getting its twin, or a part of the object from being exported.
        again: seconds after which a refused twin is worth another try.
        addresses: name of the Addresses object with the nodes that serve them; empty: all of the cluster's.
    """

    services: dict[ServiceRef, tuple[Object, Object | None]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    again: float | None = None
    addresses: str = ""


class Twins:
    """The twins of a tenant cluster.

    Args:
        client: the tenant cluster.
        services: its Services.
        mirror: keeps EndpointSlices of twins without selector.
        home: whose twins they are.
        clock: for the grace of exports without conditions.
    """

    def __init__(
        self, client: KubeClient, services: Informer, mirror: Mirror, home: Home, clock: Clock | None = None
    ) -> None:
        self._client = client
        self._services = Fresh(services)
        self._mirror = mirror
        self._home = home
        self._clock = clock or SystemClock()
        self._named: list[IsNamed] = []
        self._exports: list[Exports] = []
        self._refused: dict[ServiceRef, _Refusal] = {}
        self._unwanted_since: dict[ServiceRef, float] = {}
        self._locks: WeakValueDictionary[ServiceRef, asyncio.Lock] = WeakValueDictionary()

    def serve(self, is_named: IsNamed, exports: Exports) -> None:
        """Register users of twins: which Services their live objects name, and where they are exported."""
        self._named.append(is_named)
        if any(known.informer is exports.informer for known in self._exports):
            return  # several kinds of sources are exported as Routes
        self._exports.append(exports)
        exports.informer.store.add_index(_USED, used_services)
        exports.informer.store.add_index(_UNSETTLED, lambda obj: () if is_settled(obj) else ("yes",))

    async def ensure(self, refs: Collection[ServiceRef]) -> Backends:
        """Return these Services with their twins, making or correcting twins where that is needed."""
        backends = Backends()
        for ref in refs:
            self._unwanted_since.pop(ref, None)
        await asyncio.gather(*(self._ensure(ref, backends) for ref in sorted(refs)))
        return backends

    async def collect(self, ref: ServiceRef) -> Result:
        """Delete the twin of a Service if nobody wants or holds it."""
        async with self._lock(ref):
            return await self._collect(ref)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Look after the twin of the Service `key`: keep its mirrored endpoints in step, or collect it."""
        ref = ServiceRef(key.namespace, key.name)
        service, twin = self._services.get(*ref), self._twin(ref)
        if twin is None:
            self._unwanted_since.pop(ref, None)
            return DONE
        if service is not None and self._is_wanted(ref):
            self._unwanted_since.pop(ref, None)
            await self._mirror.keep(service, twin)
            return DONE
        return await self.collect(ref)

    def _twin(self, ref: ServiceRef) -> Object | None:
        found = self._services.get(ref.namespace, names.twin_name(ref.name))
        return found if found is not None and is_twin_of(found, *ref) else None

    def _lock(self, ref: ServiceRef) -> asyncio.Lock:
        return self._locks.setdefault(ref, asyncio.Lock())

    # -- making

    async def _ensure(self, ref: ServiceRef, backends: Backends) -> None:
        service = self._services.get(*ref)
        if service is None:
            self._refused.pop(ref, None)
            return
        if not needs_twin(service) or (view.deleting(service) and self._twin(ref) is None):
            backends.services[ref] = (service, None)
            return
        async with self._lock(ref):
            twin, problem = await self._tried(ref, service)
        backends.services[ref] = (service, twin)
        if problem is not None:
            backends.problems.append(problem)
            backends.again = _REFUSED_SECONDS if ref in self._refused else backends.again

    async def _tried(self, ref: ServiceRef, service: Object) -> tuple[Object | None, Problem | None]:
        """Return the twin or the problem; what the API server refused is not asked again at each pass."""
        version, now = view.resource_version(service), self._clock.monotonic()
        before = self._refused.get(ref)
        if before is not None and before.version == version and now < before.until:
            return None, before.problem
        self._refused.pop(ref, None)
        try:
            twin = await self._made(ref, service)
        except (Forbidden, Invalid) as error:
            problem = _refused(ref, error)
            self._refused[ref] = _Refusal(problem, version, now + _REFUSED_SECONDS)
            return None, problem
        return twin, None if twin is not None else _name_taken(ref)

    async def _made(self, ref: ServiceRef, service: Object) -> Object | None:
        """Return the right twin of `service`; None if a Service of another owner has its name."""
        name = names.twin_name(ref.name)
        live = self._services.get(ref.namespace, name)
        if live is None:
            try:
                return await self._create(ref, service)
            except AlreadyExists:
                live = self._services.note(await self._client.get(SERVICES, name, ref.namespace))
        if not is_twin_of(live, *ref):
            return None
        if view.deleting(live):
            await self._let_go(live)
            return await self._create(ref, service)
        change = updated_twin(live, service)
        if change is None:
            return live
        return self._services.note(await self._client.replace(SERVICES, change, ref.namespace))

    async def _create(self, ref: ServiceRef, service: Object) -> Object:
        """Create the twin, with the node ports by which Envoys may still know an earlier one."""
        wished = self._exported_ports(ref)
        try:
            return await self._create_with(ref, service, wished)
        except Invalid:
            if not wished:
                raise
            return await self._create_with(ref, service, {})

    async def _create_with(self, ref: ServiceRef, service: Object, wished: NodePorts) -> Object:
        created = await self._client.create(SERVICES, new_twin(service, wished), ref.namespace)
        twin = self._services.note(created)
        await self._mirror.keep(service, twin)
        return twin

    def _exported_ports(self, ref: ServiceRef) -> NodePorts:
        for exports in self._exports:
            for exported in exports.informer.store.each(_USED, str(ref)):
                if exports.is_ours(exported) and (ports := exported_node_ports(exported, str(ref))):
                    return ports
        return {}

    # -- taking away

    def _is_wanted(self, ref: ServiceRef) -> bool:
        service = self._services.get(*ref)
        if service is None or self._home.removed or not needs_twin(service):
            return False
        return any(is_named(ref) for is_named in self._named)

    async def _collect(self, ref: ServiceRef) -> Result:
        twin = self._twin(ref)
        if twin is None or self._is_wanted(ref):
            self._unwanted_since.pop(ref, None)
            return DONE
        if not self._home.removed:
            if self._is_used(ref, twin):
                return DONE  # the export's next change brings us back
            if self._may_be_used(ref):
                return Again(after=_LOOK_AGAIN_SECONDS)
        if not view.deleting(twin):
            try:
                await self._client.delete(SERVICES, view.name(twin), ref.namespace, uid=view.uid(twin))
            except NotFound:
                return DONE
        await self._let_go(twin)
        self._unwanted_since.pop(ref, None)
        return DONE

    def _is_used(self, ref: ServiceRef, twin: Object) -> bool:
        return any(
            needs_node_ports(exported, str(ref), twin)
            for exports in self._exports
            for exported in exports.informer.store.each(_USED, str(ref))
            if not exports.is_foreign(exported)
        )

    def _may_be_used(self, ref: ServiceRef) -> bool:
        since = self._unwanted_since.setdefault(ref, self._clock.monotonic())
        if self._clock.monotonic() - since >= GRACE_SECONDS:
            return False
        return any(
            not exports.is_foreign(exported)
            for exports in self._exports
            for exported in exports.informer.store.each(_UNSETTLED, "yes")
        )

    async def _let_go(self, twin: Object) -> None:
        """Drop our finalizer, on whatever state the twin is in by now."""
        name, namespace = view.name(twin), view.namespace(twin)
        try:
            live = await self._client.get(SERVICES, name, namespace)
            if view.uid(live) != view.uid(twin) or not view.has_finalizer(live, names.FINALIZER_TWIN):
                return
            rest = view.finalizers(view.without_finalizers(live, (names.FINALIZER_TWIN,)))
            await self._client.patch(SERVICES, name, view.finalizer_patch(live, rest), namespace)
        except NotFound:
            return


def _refused(ref: ServiceRef, error: ApiError) -> Problem:
    name = names.twin_name(ref.name)
    text = f"the NodePort Service {name} for {ref.name} was refused by the API server: {error.message}"
    return Problem("ResolvedRefs", "NodePortServiceRefused", text)


def _name_taken(ref: ServiceRef) -> Problem:
    name = names.twin_name(ref.name)
    text = (
        f"Service {name}, by which {ref.name} would be reached, exists and belongs to somebody else; "
        f"rename or delete it, or make {ref.name} of type NodePort"
    )
    return Problem("ResolvedRefs", "NodePortServiceNameTaken", text)
