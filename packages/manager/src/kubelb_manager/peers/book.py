"""What the leader knows of Envoys that are connected to other replicas.

A replica's page is true while its stream is open; with the stream everything on it becomes unknown, because the
replica may have died and its Envoys gone elsewhere. Nothing here is guessed: a pod that no page names is *unknown*,
and what is unknown holds whatever it may hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kubelb_manager.ir.model import Origin
from kubelb_manager.peers.model import ObjectState, Update


@dataclass(slots=True)
class Page:
    """What one replica says. Made by `Book.open`."""

    replica: str
    #: By fleet and pod: when its stream was opened, on the book's clock, and what it acknowledged.
    pods: dict[str, dict[str, tuple[float, Mapping[str, int]]]] = field(default_factory=dict)
    objects: dict[str, dict[Origin, ObjectState]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """One fleet's Envoys that are connected to other replicas, and where those have its objects.

    Attributes:
        pods: pod -> when its stream was opened, the replica, and what it acknowledged there.
        objects: replica -> origin -> state.
    """

    pods: Mapping[str, tuple[float, str, Mapping[str, int]]] = field(default_factory=dict)
    objects: Mapping[str, Mapping[Origin, ObjectState]] = field(default_factory=dict)

    def without(self, own: Mapping[str, float]) -> Elsewhere:
        """Leave out the pods whose younger stream is our own; `own` says when that was opened."""
        pods = {pod: found for pod, found in self.pods.items() if pod not in own or own[pod] < found[0]}
        return Elsewhere(pods, self.objects)

    def serves(self, pod: str, origin: Origin, wanted: ObjectState, types: Iterable[str]) -> bool:
        """Whether the pod acknowledged the wanted content of the object in all of `types`."""
        found = self.pods.get(pod)
        if found is None:
            return False
        _, replica, acknowledged = found
        state = self._state(replica, origin, wanted.uid)
        if state is None or not state.since or not wanted.content:
            return False
        if (state.generation, state.content) != (wanted.generation, wanted.content):
            return False
        return all(acknowledged.get(url, 0) >= state.since for url in types)

    def replicas(self) -> set[str]:
        """Return the replicas that Envoys of the fleet are connected to."""
        return {replica for _, replica, _ in self.pods.values()}

    def silent(self, origin: Origin, uid: str, generation: int) -> bool:
        """Whether a replica with Envoys of the fleet did not say yet where it has this generation of the object."""
        states = [self._state(replica, origin, uid) for replica in self.replicas()]
        return any(state is None or state.generation < generation for state in states)

    def clusters(self, origin: Origin) -> set[str]:
        """Return the clusters that Envoys elsewhere may still have because of the object, as far as it was said."""
        states = [self.objects.get(replica, {}).get(origin) for replica in self.replicas()]
        return {name for state in states if state is not None for name in state.clusters}

    def released(self, origin: Origin, uid: str) -> bool:
        """Whether every replica with Envoys of the fleet says that none has anything of the object any more."""
        states = [self._state(replica, origin, uid) for replica in self.replicas()]
        return all(state is not None and state.released for state in states)

    def refusal(self, origin: Origin, uid: str, generation: int) -> str:
        """Return what an Envoy elsewhere says that refuses this generation of the object; empty for nothing."""
        states = [self._state(replica, origin, uid) for replica in sorted(self.replicas())]
        texts = (state.refusal for state in states if state is not None and state.generation == generation)
        return next((text for text in texts if text), "")

    def _state(self, replica: str, origin: Origin, uid: str) -> ObjectState | None:
        state = self.objects.get(replica, {}).get(origin)
        return state if state is not None and state.uid == uid else None


NOWHERE = Elsewhere()


@dataclass(slots=True)
class Book:
    """A page for each open stream of another replica."""

    _pages: list[Page] = field(default_factory=list)
    _listeners: list[Callable[[str, set[Origin]], None]] = field(default_factory=list)

    def on_change(self, listener: Callable[[str, set[Origin]], None]) -> None:
        """Call `listener` with a fleet's key, and its objects that something new was said about."""
        self._listeners.append(listener)

    def open(self, replica: str) -> Page:
        """Begin a page; one of the same replica before it is closed."""
        for page in [page for page in self._pages if page.replica == replica]:
            self.close(page)
        page = Page(replica)
        self._pages.append(page)
        return page

    def close(self, page: Page) -> None:
        """Everything on the page is unknown from now on. Again is harmless."""
        if page not in self._pages:
            return
        self._pages = [each for each in self._pages if each is not page]
        for fleet in page.pods.keys() | page.objects.keys():
            self._tell(fleet, set(page.objects.get(fleet, {})))

    def note(self, page: Page, update: Update, now: float) -> None:
        """Write what a replica says.

        Args:
            page: its page; one that is closed is not written to.
            update: what it says.
            now: the book's clock, in seconds.
        """
        if page not in self._pages:
            return
        pods = page.pods.setdefault(update.fleet, {})
        for pod, state in update.pods.items():
            if state is None:
                pods.pop(pod, None)
            else:
                pods[pod] = (now - state.age, state.acknowledged)
        objects = page.objects.setdefault(update.fleet, {})
        for origin, told in update.objects.items():
            if told is None:
                objects.pop(origin, None)
            else:
                objects[origin] = told
        self._tell(update.fleet, set(update.objects))

    def elsewhere(self, fleet: str) -> Elsewhere:
        """Return what is known of a fleet now."""
        pods: dict[str, tuple[float, str, Mapping[str, int]]] = {}
        for page in self._pages:
            for pod, (opened, acknowledged) in page.pods.get(fleet, {}).items():
                if pod not in pods or pods[pod][0] < opened:
                    pods[pod] = (opened, page.replica, acknowledged)
        if not pods:
            return NOWHERE
        return Elsewhere(pods, {page.replica: page.objects.get(fleet, {}) for page in self._pages})

    def _tell(self, fleet: str, origins: set[Origin]) -> None:
        for listener in self._listeners:
            listener(fleet, origins)
