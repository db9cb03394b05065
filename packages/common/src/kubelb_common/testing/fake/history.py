"""What happened, in order, and the watches that read it.

Every change gets the next resourceVersion and is kept until the history is longer than its bound or
is told to expire. A watch first replays what happened after its resourceVersion, then waits. An
object that starts or stops to match a watch's selector is ADDED or DELETED for that watch, whatever
happened to it in truth. No event is lost, doubled or reordered within a watch.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from kubelb_common.kube.errors import KubeError
from kubelb_common.kube.port import Object, Resource, WatchEvent
from kubelb_common.testing.fake import errors

Key = tuple[str, str]  # group, plural
BOOKMARK_PERIOD = 60.0  # seconds, as in the API server's watch cache
BOOKMARK_BEFORE_END = 2.0  # seconds before a watch's timeout


class Change(NamedTuple):
    """One write: None as old means created, None as new means deleted."""

    version: int
    kind: Key
    old: Object | None
    new: Object | None


class Watch:
    """One open watch: an async iterator of events that ends at its timeout."""

    def __init__(
        self,
        history: History,
        resource: Resource,
        namespace: str | None,
        matches: Callable[[Object], bool],
        timeout: float,
    ) -> None:
        self.after = 0
        self._history = history
        self._resource = resource
        self._kind = (resource.group, resource.plural)
        self._namespace = namespace
        self._matches = matches
        self._timeout = timeout
        self._events: deque[WatchEvent] = deque()
        self._wake = asyncio.Event()
        self._end: KubeError | Literal["end"] | None = None
        self._deadline: float | None = None
        self._next_bookmark = 0.0

    def offer(self, change: Change) -> None:
        """Take a change if it concerns this watch."""
        if change.kind != self._kind:
            return
        old, new = self._seen(change.old), self._seen(change.new)
        if new is not None:
            self._put("MODIFIED" if old is not None else "ADDED", new)
        elif old is not None:
            self._put("DELETED", {**old, "metadata": {**old["metadata"], "resourceVersion": str(change.version)}})

    def offer_existing(self, obj: Object) -> None:
        """Take an object that was there before a watch from version 0 began."""
        if (seen := self._seen(obj)) is not None:
            self._put("ADDED", seen)

    def bookmark(self) -> None:
        """Queue a bookmark with the kind's newest resourceVersion, if the kind changed since the watch's start."""
        version = self._history.newest(self._kind)
        if version <= self.after:
            return
        meta: Object = {"resourceVersion": str(version), "creationTimestamp": None}
        body = {"apiVersion": self._resource.api_version, "kind": self._resource.kind, "metadata": meta}
        self._events.append(WatchEvent("BOOKMARK", body))
        self._wake.set()

    def end(self, how: KubeError | Literal["end"]) -> None:
        """End the watch after what it has queued, quietly or with an error."""
        self._end = how
        self._wake.set()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> WatchEvent:
        while not self._events:
            if self._end is not None:
                if isinstance(self._end, KubeError):
                    raise self._end
                raise StopAsyncIteration
            self._wake.clear()
            await self._wait()
        event = self._events.popleft()
        return WatchEvent(event.type, copy.deepcopy(event.object))

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._timeout
            self._plan_bookmark(now)
        until = min(self._deadline, self._next_bookmark)
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            if until >= self._deadline:
                self.end("end")
            else:
                self._plan_bookmark(until)
                self.bookmark()

    def _plan_bookmark(self, now: float) -> None:
        last = (self._deadline or now) - BOOKMARK_BEFORE_END
        self._next_bookmark = min(now + BOOKMARK_PERIOD, last) if now < last else float("inf")

    def _seen(self, obj: Object | None) -> Object | None:
        if obj is None or (self._namespace and obj["metadata"].get("namespace") != self._namespace):
            return None
        return obj if self._matches(obj) else None

    def _put(self, kind: Literal["ADDED", "MODIFIED", "DELETED"], obj: Object) -> None:
        body = {**obj, "apiVersion": self._resource.api_version, "kind": self._resource.kind}
        self._events.append(WatchEvent(kind, body))
        self._wake.set()


class History:
    """The bounded log of changes and the open watches."""

    def __init__(self, limit: int, first_version: int) -> None:
        self.version = first_version
        self._limit = limit
        self._oldest = first_version
        self._changes: deque[Change] = deque()
        self._newest: dict[Key, int] = {}
        self._watches: set[Watch] = set()

    def next_version(self) -> int:
        """Return the resourceVersion of the write that happens now."""
        self.version += 1
        return self.version

    def add(self, change: Change) -> None:
        """Remember a change and show it to every open watch."""
        self._changes.append(change)
        self._newest[change.kind] = change.version
        if len(self._changes) > self._limit:
            self._oldest = self._changes.popleft().version
        for watch in tuple(self._watches):
            watch.offer(change)

    def open(self, watch: Watch, after: int) -> None:
        """Start a watch after a version; raises Gone if that is no longer known."""
        self.check(after)
        watch.after = after
        for change in self._changes:
            if change.version > after:
                watch.offer(change)
        self._watches.add(watch)

    def check(self, after: int) -> None:
        """Raise Gone if a watch can no longer start after this version."""
        if after < self._oldest:
            raise errors.gone(after, self._oldest)

    def close(self, watch: Watch) -> None:
        """Forget a watch."""
        self._watches.discard(watch)

    def newest(self, kind: Key) -> int:
        """Return the version of the last change of a kind, 0 if there was none."""
        return self._newest.get(kind, 0)

    def expire(self) -> None:
        """Forget all changes, as compaction does: only the newest version can still be watched."""
        self._changes.clear()
        self._oldest = self.version

    def watches(self) -> tuple[Watch, ...]:
        """Return the open watches."""
        return tuple(self._watches)
