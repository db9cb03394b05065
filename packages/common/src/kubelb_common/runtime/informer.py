"""A cache of one kind that follows an API server: list, then watch, then carry on from where a watch ended.

What can happen, and in which order
-----------------------------------
1. *List*: the store becomes equal to a complete list; every difference is one `Change`. The first list makes the
   informer synced, after all handlers have seen its changes.
2. *Watch* from the list's resourceVersion: each event is applied to the store, then given to the handlers, in the
   server's order and within the same turn of the loop. Bookmarks move the resourceVersion on without a change.
3. A watch that ends, or breaks (`Unreachable` and every other error but Gone), is resumed from the last
   resourceVersion that was applied. The server replays what came after it, so nothing is missed or seen twice.
4. `Gone` (410), or a bookmark that is older than what was seen (a storage that went back), means that resuming is
   impossible: list again. Differences between store and list become synthetic changes, deletions included.
5. Failures in a row wait by back-off with jitter; a watch that brought an event or lasted a second starts it anew.

What may never happen
---------------------
* A failed or half-read list changes anything: the store stays as it is, and readers go on with it.
* A deletion is invented: only a DELETED event or a complete list removes an object, and not even that list when
  `loss` says that it is a sudden loss (see `runtime.loss`).
* A handler sees a change that the store does not have, or a change is given to some handlers only: a handler that
  raises is reported as a programming error and the others still get it.
* Handlers run concurrently with each other.

A kind that is not installed (404 on list) is an error that is tried again. With `optional=True` it counts as an
empty list, so that the rest of the process starts; it is asked for again every 30 seconds. A kind that vanishes
later deletes nothing by itself: its objects' own deletions come as events before.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from kubelb_common.kube.errors import Gone, KubeError, NotFound
from kubelb_common.kube.port import KubeClient, Object, Resource, WatchEvent
from kubelb_common.runtime.backoff import Backoff, spread
from kubelb_common.runtime.border import contained
from kubelb_common.runtime.clock import Clock, SystemClock
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.loss import LossPolicy, hold_if_went_back, went_back
from kubelb_common.runtime.store import Change, Store, same_version
from kubelb_common.telemetry import logs, metrics

__all__ = ["Change", "Informer", "Trim", "drop_managed_fields"]

_log = logs.get(__name__)

Trim = Callable[[Object], Object]
Handler = Callable[[Change], None]

RECONNECT = Backoff(base=0.2, cap=30.0, jitter=spread)
OPTIONAL_RETRY_SECONDS = 30.0
HOLD_RELIST_SECONDS = 30
SHORT_WATCH_SECONDS = 1.0
#: What fails again and again in one way is told this often.
REPEAT_SECONDS = 600.0


def watch_seconds() -> int:
    """Return how long one watch shall last: five to ten minutes, spread so that many do not end together."""
    return random.randint(300, 600)  # noqa: S311  # spreading load needs no secrecy


def drop_managed_fields(obj: Object) -> Object:
    """Trim what nobody here reads and what is often half of an object; changes the object in place."""
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    """Keeps `store` equal to one kind in one cluster and tells handlers what changes.

    Args:
        client: the cluster.
        resource: the kind.
        namespace: one namespace; None for all.
        label_selector: only objects that match.
        field_selector: only objects that match.
        clock: for waiting.
        trim: applied to each object before it is stored; may change it in place; must keep metadata's name,
            namespace, uid and resourceVersion. By default managedFields are dropped.
        optional: a kind that is not installed counts as empty.
        backoff: between failures in a row.
        loss: judges lists that lack known objects.
        watch_timeout: seconds one watch may last, asked for each watch.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        clock: Clock | None = None,
        trim: Trim | None = drop_managed_fields,
        optional: bool = False,
        backoff: Backoff = RECONNECT,
        loss: LossPolicy = hold_if_went_back,
        watch_timeout: Callable[[], int] = watch_seconds,
    ) -> None:
        self.resource = resource
        self.store = Store()
        self._client = client
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._clock = clock or SystemClock()
        self._trim = trim
        self._optional = optional
        self._backoff = backoff
        self._loss = loss
        self._watch_timeout = watch_timeout
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._version: str | None = None  # where to resume; None: list first
        self._highest = ""
        self._held: frozenset[ObjectKey] = frozenset()
        self._missing_logged = False
        self._failures = 0
        self._told: tuple[type[KubeError] | None, float] = (None, 0.0)
        self._log = _log.bind(resource=str(resource), **({"namespace": namespace} if namespace else {}))
        self._size = metrics.INFORMER_OBJECTS.labels(str(resource))

    def __repr__(self) -> str:
        scope = f" in {self._namespace}" if self._namespace else ""
        return f"<Informer {self.resource}{scope}>"

    @property
    def synced(self) -> bool:
        """Whether a complete list was stored and handed on at least once."""
        return self._synced.is_set()

    @property
    def held(self) -> frozenset[ObjectKey]:
        """Keys that the last list lacked and that are kept as a sudden loss."""
        return self._held

    def has(self, version: str) -> bool:
        """Tell whether the store shows all up to this resourceVersion (an integer since Kubernetes' KEP-5504)."""
        known = self._version or ""
        return known.isdecimal() and version.isdecimal() and int(known) >= int(version)

    def on_change(self, handler: Handler) -> None:
        """Have `handler` called with each change, in the same turn of the loop, after the store has it.

        A handler added later gets no past changes.
        """
        self._handlers.append(handler)

    async def wait_synced(self) -> None:
        """Wait until `synced`."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
            except Gone as error:
                self._log.info("watch is too old, listing again", error=str(error))
                self._version = None
                await self._wait()
            except KubeError as error:
                await self._wait(error)

    async def _wait(self, error: KubeError | None = None) -> None:
        """Count a failure and wait; the first Gone after a working watch costs no time."""
        self._failures += 1
        delay = self._backoff.delay(self._failures if error else self._failures - 1)
        if error:
            self._tell(error, delay)
        if delay:
            await self._clock.sleep(delay)

    def _tell(self, error: KubeError, delay: float) -> None:
        """Say what is wrong once, and again when it is something else or goes on for long."""
        now = self._clock.monotonic()
        kind, since = self._told
        if kind is type(error) and now - since < REPEAT_SECONDS:
            self._log.debug("informer tries again", error=str(error), retry_in=round(delay, 3))
            return
        self._told = (type(error), now)
        self._log.warning("informer tries again", error=str(error), retry_in=round(delay, 3))

    def _works(self) -> None:
        """Forget failures after an answer: the next one is told again."""
        if self._told[0] is not None:
            self._log.info("informer has an answer again")
        self._failures = 0
        self._told = (None, 0.0)

    async def _list(self) -> None:
        try:
            listed = await self._client.list(
                self.resource,
                self._namespace,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
            )
        except NotFound:
            metrics.INFORMER_LISTS.labels(str(self.resource), "error").inc()
            if not self._optional:
                raise
            await self._kind_is_missing()
            return
        except KubeError:
            metrics.INFORMER_LISTS.labels(str(self.resource), "error").inc()
            raise
        self._missing_logged = False
        items = [self._trimmed(obj) for obj in listed.items]
        self._held = self._judge(items, listed.resource_version)
        changes = self.store.replace_all(items, keep=self._held)
        self._version = listed.resource_version
        if not self._held:
            self._highest = listed.resource_version
        metrics.INFORMER_LISTS.labels(str(self.resource), "held" if self._held else "ok").inc()
        for change in changes:
            self._hand_on(change)
        self._size.set(len(self.store))
        self._synced.set()

    async def _kind_is_missing(self) -> None:
        if not self._missing_logged:
            self._log.info("kind is not installed, its feature is off until it is", retry_every=OPTIONAL_RETRY_SECONDS)
            self._missing_logged = True
        self._synced.set()
        await self._clock.sleep(OPTIONAL_RETRY_SECONDS)

    def _judge(self, items: list[Object], version: str) -> frozenset[ObjectKey]:
        listed = {ObjectKey.of(obj) for obj in items}
        lost = [obj for obj in self.store.list() if ObjectKey.of(obj) not in listed]
        if not lost or not self._loss(lost, highest=self._highest, listed=version):
            return frozenset()
        self._log.error(
            "sudden loss is held: the API server's storage went back in time; check which backup or server this is, "
            "and restart this process to accept the loss",
            count=len(lost),
            highest=self._highest,
            listed=version,
        )
        return frozenset(ObjectKey.of(obj) for obj in lost)

    async def _watch(self) -> None:
        if self._version is None:
            return
        began, is_open = self._clock.monotonic(), False
        try:
            async with self._client.watch(
                self.resource,
                self._namespace,
                resource_version=self._version,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                timeout_seconds=HOLD_RELIST_SECONDS if self._held else self._watch_timeout(),
            ) as events:
                is_open = True
                async for event in events:
                    self._apply(event)
                    self._works()
        except KubeError:
            metrics.INFORMER_BROKEN_WATCHES.labels(str(self.resource)).inc()
            raise
        finally:
            if is_open and self._clock.monotonic() - began >= SHORT_WATCH_SECONDS:
                self._works()
        if self._held:
            self._version = None
        if self._clock.monotonic() - began < SHORT_WATCH_SECONDS:
            await self._wait()  # a server that ends each watch at once must not be asked in a busy loop

    def _apply(self, event: WatchEvent) -> None:
        version = event.object["metadata"].get("resourceVersion", "")
        if went_back(self._version or "", version):
            raise Gone(410, "Expired", f"the watch went back from resourceVersion {self._version} to {version}")
        if event.type == "DELETED":
            self._deleted(event.object)
        elif event.type != "BOOKMARK":
            self._stored(self._trimmed(event.object))
        if version:
            self._version = version
            if not self._held:
                self._highest = version

    def _stored(self, obj: Object) -> None:
        key = ObjectKey.of(obj)
        old = self.store.get_key(key)
        self._held -= {key}
        if old is not None and same_version(old, obj):
            return
        self.store.upsert(obj)
        self._size.set(len(self.store))
        self._hand_on(Change(old, obj))

    def _deleted(self, obj: Object) -> None:
        key = ObjectKey.of(obj)
        self._held -= {key}
        old = self.store.remove(key)
        if old is not None:
            self._size.set(len(self.store))
            self._hand_on(Change(old, None))

    def _hand_on(self, change: Change) -> None:
        for handler in self._handlers:
            with contained("informer", resource=str(self.resource)):
                handler(change)

    def _trimmed(self, obj: Object) -> Object:
        return self._trim(obj) if self._trim else obj
