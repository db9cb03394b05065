"""The last question before an object is served: does it fit beside the tenant's other objects, and other tenants?

Fed from three sides: every change of an object as the API server tells it (what counts against a limit), the hosts
that an accepted object names as translation found them, and the record of claims. Listeners hear which *other* objects
have another answer because of a change; whoever judges an object asks for its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.admission import record
from kubelb_manager.admission.claims import Book, Standing, Wish
from kubelb_manager.admission.limits import Counted, Quota
from kubelb_manager.ir.model import ANY_HOST, Host, Origin
from kubelb_manager.settings.limits import Limits
from kubelb_manager.translate import acceptance
from kubelb_manager.translate.result import Problem, Reason, Translated, refused

Moved = Callable[[Iterable[Origin]], None]


@dataclass(slots=True)
class Gate:
    """State of all tenants. Args: `on_moved`: told which objects have to be judged again."""

    on_moved: Moved
    book: Book = field(default_factory=Book)
    _quotas: dict[str, Quota] = field(default_factory=dict)
    #: Objects that were not judged yet, by namespace: their hosts are not known.
    _unjudged: dict[str, set[Origin]] = field(default_factory=dict)
    _shards: dict[str, dict[Host, record.Claim]] = field(default_factory=dict)
    _listeners: list[Callable[[], None]] = field(default_factory=list)

    def on_work(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the record may have to be written."""
        self._listeners.append(listener)

    # Facts ---------------------------------------------------------------------------------------

    def object(self, origin: Origin, obj: Object | None) -> None:
        """Take an object as it is now, None for one that is gone. One that is being deleted counts no more."""
        quota = self._quotas.setdefault(origin.namespace, Quota())
        if obj is None or _is_leaving(obj):
            moved = quota.put(origin, None)
            self._judged(origin)
            self._wish(origin, None)
        else:
            if origin not in quota:
                self._unjudged.setdefault(origin.namespace, set()).add(origin)
            moved = quota.put(origin, counted(origin, obj))
        if quota.is_empty:
            del self._quotas[origin.namespace]
        if moved:
            self.on_moved(moved)

    def claims(self, name: str, data: Any) -> None:
        """Take one object of the record as it is now: its `data`, None if it is gone."""
        before = self._shards.get(name, {})
        now = {host: claim for host, claim in record.read(data) if record.object_name(host) == name}
        moved: set[Origin] = set()
        for host in before.keys() | now.keys():
            moved |= self.book.put(host, now.get(host))
        if now:
            self._shards[name] = now
        else:
            self._shards.pop(name, None)
        if moved:
            self.on_moved(moved)
            self._work()

    # Judgement -----------------------------------------------------------------------------------

    def judge(self, origin: Origin, obj: Object, result: Translated, limits: Limits) -> Translated | None:
        """Return what becomes of a translated object; None while the leader has not decided about its hosts.

        Args:
            origin: the object.
            obj: as it is now.
            result: what its translation says by itself.
            limits: of its tenant.
        """
        if _is_leaving(obj):
            return result
        quota = self._quotas.setdefault(origin.namespace, Quota())
        moved = quota.set_limits(limits) - {origin}
        if moved:
            self.on_moved(moved)
        problem = quota.refusal(origin) if result.accepted else None
        hosts = _hosts(result) if problem is None else frozenset()
        created = untrusted.string(untrusted.at(obj, "metadata", "creationTimestamp"))
        self._wish(origin, Wish(names.tenant_of_namespace(origin.namespace), created, hosts) if hosts else None)
        self._judged(origin)
        if problem is not None:
            return refused(problem)
        match self.book.standing(origin):
            case Standing.OPEN:
                return None
            case Standing.TAKEN:
                host = untrusted.quoted(self.book.taken(origin) or "")
                text = f"The host {host} is another tenant's, itself or by a wildcard. Ask the administrator."
                return refused(Problem(Reason.HOST_CLAIMED, text))
            case Standing.HELD:
                return result

    def unknown_tenants(self) -> list[str]:
        """Return the tenants of which not all objects were judged yet."""
        return [names.tenant_of_namespace(namespace) for namespace, origins in self._unjudged.items() if origins]

    def _judged(self, origin: Origin) -> None:
        waiting = self._unjudged.get(origin.namespace)
        if waiting is None:
            return
        waiting.discard(origin)
        if not waiting:
            del self._unjudged[origin.namespace]
            self._work()

    def _wish(self, origin: Origin, wish: Wish | None) -> None:
        if self.book.wish(origin, wish):
            self._work()

    def _work(self) -> None:
        for listener in self._listeners:
            listener()


def counted(origin: Origin, obj: Object) -> Counted:
    """Return what of an object counts against its tenant's limits, whatever else is wrong with it."""
    created = untrusted.string(untrusted.at(obj, "metadata", "creationTimestamp"))
    if origin.kind != "Route":
        return Counted(origin.kind, created)
    resource = untrusted.at(obj, "spec", "source", "kubernetes", "resource")
    kind = "Gateway" if untrusted.at(resource, "kind") == "Gateway" else "Route"
    return Counted(kind, created, frozenset(acceptance.named_hosts(resource)))


def _is_leaving(obj: Object) -> bool:
    return untrusted.at(obj, "metadata", "deletionTimestamp") is not None


def _hosts(result: Translated) -> frozenset[Host]:
    if not result.accepted:
        return frozenset()
    return result.hosts - {ANY_HOST}
