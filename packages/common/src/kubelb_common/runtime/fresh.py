"""A store, plus what this process wrote a moment ago.

A write's answer is newer than the store until the watch brings it. Without it a second pass in between would repeat
the write, and meet a conflict or an object that is gone. An answer is kept until the store has caught up with it,
until the object is seen deleted, or for a few seconds: after that the store alone is believed. An object whose
deletion this process asked for counts as gone until the store hears how it went.

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
    """What came of a write: the object as it is since then, or as it was when it was asked to go."""

    obj: Object
    gone: bool
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

    def get(self, namespace: str | None, name: str) -> Object | None:
        """Return the newest known state of the object, or None; the namespace is as for `Store.get`."""
        key = ObjectKey(namespace or "", name)
        written = self._believed(key)
        if written is None:
            return self.store.get_key(key)
        return None if written.gone else written.obj

    def is_going(self, obj: Object) -> bool:
        """Tell whether this process has asked exactly this object to go, and the store has not heard of it."""
        written = self._believed(ObjectKey.of(obj))
        return written is not None and written.gone and view.uid(written.obj) == view.uid(obj)

    def note(self, obj: Object) -> Object:
        """Remember the answer to a write and return it."""
        if view.deleting(obj) and not view.finalizers(obj):
            self.note_gone(obj)  # the answer to letting go of the last finalizer is an object that is gone
        elif self._has(obj):
            self._written.pop(ObjectKey.of(obj), None)
        else:
            self._remember(obj, gone=False)
        return obj

    def note_gone(self, obj: Object) -> None:
        """Remember that exactly this object is gone, or was asked to go."""
        seen = self.store.get_key(ObjectKey.of(obj))
        if self._has(obj) if seen is None else _says_what_came(seen, obj):
            self._written.pop(ObjectKey.of(obj), None)
        else:
            self._remember(obj, gone=True)

    def is_echo(self, change: Change) -> bool:
        """Tell whether this change, the last that the informer handed on, is the very answer to a write of ours."""
        return change.new is not None and change.new is self._echo

    def _believed(self, key: ObjectKey) -> _Written | None:
        written = self._written.get(key)
        if written is not None and written.until < self._clock.monotonic():
            del self._written[key]
            return None
        return written

    def _has(self, written: Object) -> bool:
        """Tell whether the store is as new as an answer, be it that the object is gone again."""
        seen = self.store.get_key(ObjectKey.of(written))
        return self.informer.has(view.resource_version(written)) or (seen is not None and _caught_up(seen, written))

    def _remember(self, obj: Object, *, gone: bool) -> None:
        self._written[ObjectKey.of(obj)] = _Written(obj, gone, self._clock.monotonic() + _BELIEVED_SECONDS)

    def _on_change(self, change: Change) -> None:
        self._echo = None
        obj = change.new or change.old
        if obj is None:
            return
        key = ObjectKey.of(obj)
        written = self._written.get(key)
        if written is None or not _tells(change, obj, written):
            return
        if view.resource_version(obj) == view.resource_version(written.obj):
            self._echo = obj
        del self._written[key]


def _tells(change: Change, obj: Object, written: _Written) -> bool:
    """Tell whether after this change the store knows what came of a write."""
    if change.new is None:
        return view.uid(obj) == view.uid(written.obj) or _caught_up(obj, written.obj)
    return _says_what_came(obj, written.obj) if written.gone else _caught_up(obj, written.obj)


def _says_what_came(seen: Object, gone: Object) -> bool:
    """Tell whether what is seen now is another object than the one that goes, or says itself that it goes."""
    return view.uid(seen) != view.uid(gone) or (view.deleting(seen) and not view.deleting(gone))


def _caught_up(seen: Object, written: Object) -> bool:
    """Tell whether `seen` is as new as `written`, by resourceVersion (integers since Kubernetes' KEP-5504)."""
    first, second = view.resource_version(seen), view.resource_version(written)
    return int(first) >= int(second) if first.isdecimal() and second.isdecimal() else first == second
