"""An in-memory API server behind the `KubeClient` Protocol.

What can happen: everything that the contract suite (`testing.contract`) runs against a real API
server happens here in the same way: resourceVersions, generations, the status subresource, conflicts,
finalizers, selectors, watches with bookmarks and an end of history, node ports, CRD schemas. Requests
are atomic and take effect in the order in which they are awaited; each yields to the event loop once
first, as a real request would. Timers (a watch's timeout, bookmarks) use the running loop's time, so
virtual time works. One event loop only.

What does not exist here: CEL rules, webhooks, quotas, server-side apply, field management, and the
controllers behind Deployments, Services or EndpointSlices.

    kube = FakeKube(namespaces=["tenant-a"])
    await kube.create(SERVICES, {...}, "tenant-a")
    assert kube.writes() == [Request("create", "services", "tenant-a", "web")]
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeVar

from kubelb_common.kube.errors import KubeError, Unreachable
from kubelb_common.kube.port import Object, ObjectList, Propagation, Resource, WatchEvent
from kubelb_common.kube.resources import CRDS, NAMESPACES
from kubelb_common.testing.fake import errors, rbac, subresources
from kubelb_common.testing.fake.history import Watch
from kubelb_common.testing.fake.selectors import selector
from kubelb_common.testing.fake.store import Options, Store

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete"]
Authorizer = Callable[[str, str, str | None, str], bool]
SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
Objects = list[Object]
Requests = list["Request"]
T = TypeVar("T")
_READS = {"get", "list", "watch"}
_CHANGES = {"update", "patch", "delete"}  # a create without effect is a question, such as a TokenReview


@dataclass(frozen=True, slots=True)
class Request:
    """One request in the words of RBAC; `resource` is `plural` or `plural.group`, then `/subresource` if any."""

    verb: Verb
    resource: str
    namespace: str | None
    name: str


@dataclass(slots=True)
class _Fault:
    verb: str
    resource: str
    name: str | None
    act: KubeError | Callable[[], object]
    after: bool
    times: int


@dataclass(slots=True)
class _Cluster:
    """What all clients of one fake cluster share."""

    store: Store
    requests: list[Request] = field(default_factory=list)
    wasted: list[Request] = field(default_factory=list)
    faults: list[_Fault] = field(default_factory=list)
    reachable: bool = True


def _system_now() -> datetime:
    return datetime.now(UTC)


class FakeKube:
    """A client of a fake cluster, and the handle that tests steer that cluster with.

    Args:
        namespaces: are created; `default` and the `kube-*` namespaces are there anyway.
        crds: CustomResourceDefinition objects to install. With any (or `strict_kinds`), custom kinds
            without a CRD answer 404, and objects are pruned, defaulted and validated.
        strict_kinds: None means "if crds are given".
        strict_namespaces: refuse creation in a namespace that does not exist.
        garbage_collection: follow owner references.
        history_limit: changes that watches can resume over.
        authorize: `(verb, resource, namespace, name) -> allowed` for this client; see `as_client`.
        now: wall clock for creation and deletion times.
        seed: of names and UIDs; clusters that meet in one test need different ones.
    """

    def __init__(
        self,
        *,
        namespaces: Iterable[str] = (),
        crds: Iterable[Object] = (),
        strict_kinds: bool | None = None,
        strict_namespaces: bool = True,
        garbage_collection: bool = False,
        history_limit: int = 10_000,
        service_cidr: str = "10.96.0.0/16",
        authorize: Authorizer | None = None,
        now: Callable[[], datetime] = _system_now,
        seed: int = 0,
    ) -> None:
        crds = list(crds)
        strict = bool(crds) if strict_kinds is None else strict_kinds
        options = Options(strict_namespaces, strict, garbage_collection, history_limit, service_cidr, now, seed)
        self._cluster = _Cluster(Store(options))
        self._authorize = authorize
        self.latency = 0.0
        #: What programs in pods answer through the API server: `pods/NAMESPACE/NAME:PORT/proxy/PATH` to an object.
        self.proxied: dict[str, Object] = {}
        for name in (*SYSTEM_NAMESPACES, *namespaces):
            self.store.create(NAMESPACES, {"metadata": {"name": name}}, None)
        for crd in crds:
            self.store.create(CRDS, crd, None)
        self.store.history.expire()

    # -- the KubeClient Protocol

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return the object; raises NotFound."""
        return await self._do("get", resource, namespace, name, lambda: self.store.get(resource, name, namespace))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> ObjectList:
        """Return all objects as one consistent snapshot."""

        def act() -> ObjectList:
            return self.store.list(resource, namespace, label_selector, field_selector)

        return await self._do("list", resource, namespace, "", act)

    @asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: int = 300,
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Open a watch; version "" or "0" begins with an ADDED event for all that exists."""
        history = self.store.history

        def act() -> Watch:
            existing = self.store.list(resource, namespace, label_selector, field_selector)
            matches = selector(resource, label_selector, field_selector)
            watch = Watch(history, resource, namespace, matches, timeout_seconds)
            if resource_version in {"", "0"}:
                for obj in existing.items:
                    watch.offer_existing(obj)
                history.open(watch, history.version)
            else:
                history.open(watch, _version(resource_version))
            return watch

        watch = await self._do("watch", resource, namespace, "", act)
        try:
            yield watch
        finally:
            history.close(watch)

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        """Create and return the stored object; raises AlreadyExists, Invalid, Forbidden."""
        name, namespace = _address(resource, obj, namespace)
        if answer := subresources.review(self.store, resource):
            return await self._do("create", resource, namespace, name, lambda: answer(obj))
        return await self._do("create", resource, namespace, name, lambda: self.store.create(resource, obj, namespace))

    async def replace(
        self, resource: Resource, obj: Object, namespace: str | None = None, *, subresource: str | None = None
    ) -> Object:
        """Replace by metadata.name; raises Conflict if metadata.resourceVersion is stale."""
        name, namespace = _address(resource, obj, namespace)

        def act() -> Object:
            return self.store.replace(resource, obj, namespace, subresource=subresource)

        return await self._do("update", resource, namespace, name, act, subresource=subresource)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Object:
        """Apply a JSON merge patch (RFC 7386); a metadata.resourceVersion in it is a precondition."""

        def act() -> Object:
            return self.store.patch(resource, name, patch, namespace, subresource=subresource)

        return await self._do("patch", resource, namespace, name, act, subresource=subresource)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
        grace_period_seconds: int | None = None,
    ) -> None:
        """Ask for deletion with preconditions; raises NotFound, and Conflict if a precondition fails."""
        del grace_period_seconds  # nothing here takes time to end

        def act() -> None:
            self.store.delete(
                resource, name, namespace, uid=uid, resource_version=resource_version, propagation=propagation
            )

        await self._do("delete", resource, namespace, name, act)

    async def create_subresource(
        self, resource: Resource, name: str, subresource: str, body: Object, namespace: str | None = None
    ) -> Object:
        """POST to a subresource; `serviceaccounts/NAME/token` is the one that exists here."""

        def act() -> Object:
            return subresources.create(self.store, resource, name, subresource, body, namespace=namespace)

        return await self._do("create", resource, namespace, name, act, subresource=subresource)

    async def get_subresource(
        self, resource: Resource, name: str, subresource: str, namespace: str | None = None
    ) -> Object:
        """GET a subresource; `status`, and what `proxied` says of pods, exist here."""

        def act() -> Object:
            if subresource == "status":
                return self.store.get(resource, name, namespace)
            answer = self.proxied.get(f"{resource}/{namespace}/{name}/{subresource}")
            if answer is None:
                raise errors.no_such_kind()
            return copy.deepcopy(answer)

        return await self._do("get", resource, namespace, name, act, subresource=subresource.partition("/")[0])

    async def server_version(self) -> Object:
        """Return `/version`."""
        await asyncio.sleep(self.latency)
        self._check_reachable()
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.3", "platform": "fake"}

    async def close(self) -> None:
        """Nothing to end."""

    # -- steering, for tests

    @property
    def store(self) -> Store:
        """The storage behind this client; synchronous, without log, faults or authorisation."""
        return self._cluster.store

    def as_client(self, authorize: Authorizer | None = None) -> FakeKube:
        """Return another client of the same cluster with its own authorisation (None = admin)."""
        other = copy.copy(self)
        other._authorize = authorize  # noqa: SLF001 - a copy of this very object
        return other

    def as_user(self, name: str, groups: Iterable[str] = ()) -> FakeKube:
        """Return another client whose rights come from the Roles and bindings stored in the cluster."""
        return self.as_client(rbac.authorizer(self.store, name, tuple(groups)))

    def put(self, resource: Resource, *objects: Object) -> Objects:
        """Create or replace objects, status too, outside the request log; returns what is stored."""
        return [self._put(resource, obj) for obj in objects]

    def peek(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """Return a copy of an object or None, outside the request log."""
        found = self.objects(resource, namespace)
        return next((obj for obj in found if obj["metadata"]["name"] == name), None)

    def objects(self, resource: Resource, namespace: str | None = None) -> Objects:
        """Return copies of all objects of a kind, outside the request log."""
        return self.store.list(resource, namespace).items

    def requests(self) -> Requests:
        """Return every request so far, refused ones too."""
        return [*self._cluster.requests]

    def writes(self) -> Requests:
        """Return every request so far that asked to change something."""
        return [request for request in self._cluster.requests if request.verb not in _READS]

    def wasted_writes(self) -> Requests:
        """Return every write so far that was answered by an error or changed nothing."""
        return [*self._cluster.wasted]

    def forget_requests(self) -> None:
        """Begin a new request log."""
        self._cluster.requests.clear()
        self._cluster.wasted.clear()

    def fail_next(
        self,
        verb: Verb | Literal["*"],
        resource: Resource | str,
        error: KubeError,
        *,
        name: str | None = None,
        after: bool = False,
        times: int = 1,
    ) -> None:
        """Let the next matching requests fail.

        `resource` is a Resource, or text as in `Request.resource`, or "*". With `after` the request
        takes effect and only its answer is lost.
        """
        self._cluster.faults.append(_Fault(verb, str(resource), name, error, after, times))

    def before_next(
        self, verb: Verb | Literal["*"], resource: Resource | str, act: Callable[[], object], *, name: str | None = None
    ) -> None:
        """Run `act` just before the next matching request takes effect: somebody else was faster."""
        self._cluster.faults.append(_Fault(verb, str(resource), name, act, after=False, times=1))

    def break_watches(self, error: KubeError | None = None) -> None:
        """Cut every open watch, after the events it already has."""
        for watch in self.store.history.watches():
            watch.end(error or Unreachable("the connection was cut"))

    def end_watches(self) -> None:
        """End every open watch quietly, as a server does at its timeout."""
        for watch in self.store.history.watches():
            watch.end("end")

    def expire_history(self) -> None:
        """Compact: a watch from any older resourceVersion is Gone. Open watches go on."""
        self.store.history.expire()

    def send_bookmarks(self) -> None:
        """Send a bookmark on every open watch now."""
        for watch in self.store.history.watches():
            watch.bookmark()

    def stop(self) -> None:
        """The API server goes away: every request is Unreachable and all watches break."""
        self._cluster.reachable = False
        self.break_watches()

    def start(self) -> None:
        """The API server is back, with all it had."""
        self._cluster.reachable = True

    def hide(self, *resources: Resource) -> None:
        """Answer 404 for these kinds, as if their CRD were not installed."""
        self.store.hidden.update((resource.group, resource.plural) for resource in resources)
        self.break_watches()

    def show(self, *resources: Resource) -> None:
        """Serve hidden kinds again."""
        self.store.hidden.difference_update((resource.group, resource.plural) for resource in resources)

    # -- inner helpers

    async def _do(
        self,
        verb: Verb,
        resource: Resource,
        namespace: str | None,
        name: str,
        act: Callable[[], T],
        *,
        subresource: str | None = None,
    ) -> T:
        await asyncio.sleep(self.latency)
        self._check_reachable()
        text = f"{resource}/{subresource}" if subresource else str(resource)
        request = Request(verb, text, namespace, name)
        self._cluster.requests.append(request)
        before = self.store.history.version
        try:
            answer = self._answer(request, resource, act)
        except KubeError:
            if verb not in _READS:
                self._cluster.wasted.append(request)
            raise
        if verb in _CHANGES and self.store.history.version == before:
            self._cluster.wasted.append(request)
        return answer

    def _answer(self, request: Request, resource: Resource, act: Callable[[], T]) -> T:
        verb, text, namespace, name = request.verb, request.resource, request.namespace, request.name
        if self._authorize and not self._authorize(verb, text, namespace, name):
            raise errors.forbidden(resource, name, f"not allowed to {verb} {text} in namespace {namespace!r}")
        fault = self._take_fault(verb, text, name)
        if fault and isinstance(fault.act, KubeError):
            if fault.after:
                act()
            raise fault.act
        if fault and not isinstance(fault.act, KubeError):
            fault.act()
        return act()

    def _take_fault(self, verb: str, resource: str, name: str) -> _Fault | None:
        for fault in self._cluster.faults:
            if fault.verb in {verb, "*"} and fault.resource in {resource, "*"} and fault.name in {name, None}:
                fault.times -= 1
                if not fault.times:
                    self._cluster.faults.remove(fault)
                return fault
        return None

    def _check_reachable(self) -> None:
        if not self._cluster.reachable:
            raise Unreachable("connection refused: the fake API server is stopped")

    def _put(self, resource: Resource, obj: Object) -> Object:
        info = obj["metadata"]
        name, namespace = info["name"], info.get("namespace")
        typed = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
        body = {**typed, "metadata": {key: value for key, value in info.items() if key != "resourceVersion"}}
        if self.peek(resource, name, namespace) is None:
            stored = self.store.create(resource, body, namespace)
        else:
            version = self.store.get(resource, name, namespace)["metadata"]["resourceVersion"]
            body["metadata"]["resourceVersion"] = version
            stored = self.store.replace(resource, body, namespace, subresource=None)
        if "status" in obj and stored.get("status") != obj["status"]:
            return self.store.replace(resource, {**stored, "status": obj["status"]}, namespace, subresource="status")
        return stored


def _address(resource: Resource, obj: Object, namespace: str | None) -> tuple[str, str | None]:
    """Return name and namespace that a body is sent to."""
    info = obj.get("metadata") or {}
    return info.get("name", ""), namespace or (info.get("namespace") if resource.namespaced else None)


def _version(text: str) -> int:
    if not text.isdecimal():
        raise errors.internal(f"resourceVersion: Invalid value: {text!r}: invalid syntax")
    return int(text)
