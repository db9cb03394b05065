"""Events in the management cluster: each refusal once, beside the object that was refused.

A condition is the memory: an Event is sent for a condition that tells a fault and says something that it did
not say before, so a restart repeats nothing. An Event's name is made from what it says, so even where a
status was not written there is one Event and not two. An Event that cannot be written is only logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kubelb_common import names
from kubelb_common.kube.errors import AlreadyExists, KubeError
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import EVENTS
from kubelb_common.objects import conditions, events, view
from kubelb_common.runtime.clock import Clock
from kubelb_common.telemetry import logs
from kubelb_manager.controllers.hub import Hub

_log = logs.get(__name__)
_COMPONENT = "kubelb-manager"
#: Reasons that only repeat what another condition of the object says better.
_ECHOES = ("NotAccepted", "NothingToServe")
#: Events of one namespace: so many at once, then one each so many seconds. Conditions tell the rest.
BURST, REFILL_SECONDS = 25.0, 5.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    since: float


@dataclass(slots=True)
class Events:
    """Writes Events about our kinds.

    Args:
        hub: the management cluster.
        clock: for their times, and for the limit that one tenant's objects have.
    """

    hub: Hub
    clock: Clock
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    async def tell(self, obj: Object, fresh: Iterable[Object]) -> None:
        """Send what `fresh`, the conditions to be written, says anew beside those that `obj` has.

        An Event is sent before the status that is its memory.
        """
        known = view.objects(obj, "status", "conditions")
        for item in fresh:
            if not conditions.is_fault(item) or item.get("reason") in _ECHOES:
                continue
            before = conditions.find(known, item["type"])
            if before is None or _said(before) != _said(item):
                await self._send(obj, view.text(item, "reason"), view.text(item, "message"))

    async def _send(self, obj: Object, reason: str, message: str) -> None:
        namespace = view.namespace(obj)
        if not self._may_send(namespace):
            return
        now = view.format_time(self.clock.now())
        key = names.digest(view.uid(obj), reason, message)
        event = events.warning(obj, reason, message, key=key, component=_COMPONENT, now=now)
        try:
            await self.hub.create(EVENTS, event, view.namespace(event))
        except AlreadyExists:
            return
        except KubeError as error:
            _log.warning("event not written", object=f"{namespace}/{view.name(obj)}", error=str(error))

    def _may_send(self, namespace: str) -> bool:
        now = self.clock.monotonic()
        bucket = self._buckets.setdefault(namespace, _Bucket(BURST, now))
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.since) / REFILL_SECONDS)
        bucket.since = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _said(condition: Mapping[str, object]) -> tuple[object, ...]:
    return condition.get("status"), condition.get("reason"), condition.get("message")
