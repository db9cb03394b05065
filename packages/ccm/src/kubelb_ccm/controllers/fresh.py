"""A store, plus what this process wrote a moment ago.

A write's answer is newer than the store until the watch brings it. Without it a second pass in between would repeat
the write and meet a conflict. An answer is kept until the store has caught up with it, until the object is seen
deleted, or for a few seconds: after that the store alone is believed.

The watch also brings each of our writes back as a change. Whoever wrote has gone on with the answer, so such an echo
calls for no pass of its own. An echo is known by its resourceVersion; one that comes before the answer is not known
as such and costs a pass that finds nothing to do.
"""

from __future__ import annotations

from typing import NamedTuple

from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock, SystemClock
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.keys import ObjectKey

_BELIEVED_SECONDS = 10.0


class _Written(NamedTuple):
    obj: Object
    until: float


class Fresh:
    """Reads of one kind that see our own writes."""

    def __init__(self, informer: Informer, clock: Clock | None = None) -> None:
        self.informer = informer
        self.store = informer.store
        self._clock = clock or SystemClock()
        self._written: dict[ObjectKey, _Written] = {}
        self._echo: Object | None = None
        informer.on_change(self._on_change)

    def get(self, namespace: str, name: str) -> Object | None:
        """Return the newest known state of the object, or None."""
        key = ObjectKey(namespace, name)
        written = self._written.get(key)
        if written is None:
            return self.store.get_key(key)
        if written.until < self._clock.monotonic():
            del self._written[key]
            return self.store.get_key(key)
        return written.obj

    def note(self, obj: Object) -> Object:
        """Remember the answer to a write and return it."""
        key = ObjectKey.of(obj)
        if view.deleting(obj) and not view.finalizers(obj):
            # The answer to letting go of the last finalizer is an object that is gone; its DELETED may be here already.
            self._written.pop(key, None)
            return obj
        seen = self.store.get_key(key)
        if seen is None or not _caught_up(seen, obj):
            self._written[key] = _Written(obj, self._clock.monotonic() + _BELIEVED_SECONDS)
        else:
            self._written.pop(key, None)
        return obj

    def is_echo(self, change: Change) -> bool:
        """Tell whether this change, the last that the informer handed on, is the very answer to a write of ours."""
        return change.new is not None and change.new is self._echo

    def _on_change(self, change: Change) -> None:
        self._echo = None
        obj = change.new or change.old
        if obj is None:
            return
        key = ObjectKey.of(obj)
        written = self._written.get(key)
        if written is not None and (
            _caught_up(obj, written.obj) or (change.new is None and view.uid(obj) == view.uid(written.obj))
        ):
            if view.resource_version(obj) == view.resource_version(written.obj):
                self._echo = obj
            del self._written[key]


def _caught_up(seen: Object, written: Object) -> bool:
    """Tell whether `seen` is as new as `written`, by resourceVersion (integers since Kubernetes' KEP-5504)."""
    first, second = view.resource_version(seen), view.resource_version(written)
    return int(first) >= int(second) if first.isdecimal() and second.isdecimal() else first == second
