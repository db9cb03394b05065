"""The delta xDS protocol of one stream, without I/O: requests and publications in, responses out.

What can happen, in any order: the client subscribes, unsubscribes, acknowledges, refuses; the fleet gets
a new snapshot. After each of these the stream looks at what the client lacks and sends it:

1. clusters, 2. endpoints, 3. extensions, 4. listeners, 5. routes, 6. removals of what these named.

What holds:

* Extensions, listeners and routes of a generation are not sent before the client took its clusters, which shows in
  that it asks for the endpoints of the new ones. Endpoints never wait: Envoy keeps the acknowledgement of clusters back
  until their endpoints are there.
* One response of a type is on its way at a time; what changes meanwhile is one response afterwards. Clusters are the
  exception, because their acknowledgement can wait for a dead node's health check, and nobody may wait for that.
* A cluster is removed only after the client acknowledged extensions, listeners and routes of the generation that
  dropped it, or a later one; an extension and a route table only after the listeners. That holds for leftovers too
  that a client brings along from another manager: until its routes are known to be current, they may name such a
  cluster.
* What a listener names (extensions, routes) is sent when the client asks for it, which it does before it acknowledges
  the listener (seen with Envoy); so an acknowledged listener without them does not count as acknowledged.
* A cluster's endpoints are sent again with each change of that cluster: Envoy warms the changed one but does not ask.
* What the client has in the right version is never sent. A subscription to everything is answered even
  if there is nothing; Envoy waits for it. Before the fleet's first publication nothing at all is said.

What may never happen: a response that repeats what was refused (see `subscription`), a route whose cluster was removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kubelb_manager.delivery.messages import Nack, Request, Response, Snapshot
from kubelb_manager.delivery.subscription import Subscription
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES, TYPES

#: What may name clusters.
_NAMING = (EXTENSIONS, LISTENER, ROUTES)
#: What listeners name; a client asks for it when it has taken the listener.
_NAMED = (EXTENSIONS, ROUTES)
#: Responses of a type that may be on their way.
_FLIGHTS = {CLUSTER: 32}


class DeltaStream:
    """One stream of one Envoy.

    Args:
        snapshot: what the fleet is served now; None if it was not published yet.
    """

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self._snapshot = snapshot
        self._subscriptions: dict[str, Subscription] = {}
        self._nonces = 0
        self._warm_again: set[str] = set()
        self._closed = False

    # Inputs ------------------------------------------------------------------------------------

    def on_request(self, request: Request) -> list[Response]:
        """Take a request; return what is to be sent, in this order."""
        subscription = self._subscriptions.get(request.type_url)
        if subscription is None:
            self._open(request)
        else:
            if request.nonce:
                subscription.take(request.nonce, request.error)
            subscription.change(request)
        return self._flush()

    def on_publish(self, snapshot: Snapshot, changed: Mapping[str, Iterable[str]] | None = None) -> list[Response]:
        """Serve `snapshot` from now on; return what is to be sent.

        Args:
            snapshot: of a later generation than the one before.
            changed: by type, the names that differ from the snapshot before; None if that is not known.
        """
        first = self._snapshot is None
        self._snapshot = snapshot
        for url, each in self._subscriptions.items():
            names = () if changed is None else changed.get(url, ())
            each.serve(snapshot.table.get(url, {}), snapshot.generation, names)
            if first:
                each.dropped.clear()
            if first or changed is None:
                each.examine_all()
        return self._flush()

    def on_close(self) -> None:
        """Say nothing any more; what is known about the client stays readable."""
        self._closed = True

    # What is known -----------------------------------------------------------------------------

    def acknowledged(self, type_url: str) -> int:
        """Return the generation up to which the client has acknowledged everything of the type.

        It advances by itself when a publication changes nothing of the type, and where the client asks
        for nothing of it and nothing of it is served. A refused resource holds it back.
        """
        subscription = self._subscriptions.get(type_url)
        if subscription is not None:
            return subscription.acknowledged_generation
        if self._snapshot is None or self._snapshot.table.get(type_url):
            return 0
        return self._snapshot.generation

    def has_current(self, type_url: str, name: str) -> bool:
        """Whether the client acknowledged the resource in the version that is served now."""
        subscription = self._subscriptions.get(type_url)
        return subscription is not None and subscription.has_current(name)

    def may_have(self, type_url: str, name: str) -> bool:
        """Whether the client has the resource in any version, or could have taken it."""
        subscription = self._subscriptions.get(type_url)
        return subscription is not None and subscription.may_have(name)

    def nacks(self) -> tuple[Nack, ...]:
        """Return what the client refuses now."""
        return tuple(nack for each in self._subscriptions.values() for nack in each.nacks())

    # -------------------------------------------------------------------------------------------

    def _open(self, request: Request) -> None:
        url = request.type_url
        table = {} if self._snapshot is None else self._snapshot.table.get(url, {})
        subscription = Subscription(url, table, 0 if self._snapshot is None else self._snapshot.generation)
        self._subscriptions[url] = subscription
        subscription.open(request)
        if url == ENDPOINTS:
            for name in self._warm_again:
                subscription.send_again(name)
            self._warm_again.clear()

    def _flush(self) -> list[Response]:
        if self._snapshot is None or self._closed:
            return []
        self._note_generations()
        out: list[Response] = []
        for subscription in self._in_order():
            if subscription.type_url in _NAMING and (self._snapshot.clusters_only or self._clusters_wait()):
                continue
            out += self._send_additions(subscription)
        self._note_generations()
        if self._snapshot.clusters_only:
            return out
        for subscription in self._in_order():
            out += self._send_removals(subscription)
        self._note_generations()
        return out

    def _in_order(self) -> list[Subscription]:
        known = [self._subscriptions[url] for url in TYPES if url in self._subscriptions]
        return known + [each for url, each in self._subscriptions.items() if url not in TYPES]

    def _note_generations(self) -> None:
        for each in self._subscriptions.values():
            each.note_generation()

    def _clusters_wait(self) -> bool:
        """Whether clusters are not sent yet, or it is not known whether the client took the new ones.

        It did if it acknowledged them or, which comes much earlier, asked for their endpoints.
        """
        clusters, endpoints = self._subscriptions.get(CLUSTER), self._subscriptions.get(ENDPOINTS)
        if clusters is None:
            return False
        taken = () if endpoints is None else endpoints.named
        return bool(clusters.additions()) or not clusters.new_in_flight() <= set(taken)

    def _send_additions(self, subscription: Subscription) -> list[Response]:
        if not self._may_fly(subscription):
            return []
        additions = subscription.additions()
        removed = subscription.answers_of_absence()
        if subscription.type_url == LISTENER:
            # Together with additions: the port of one may be free only without the other.
            removed += subscription.removals()
        if not additions and not removed and not subscription.owes_answer:
            return []
        if subscription.type_url == CLUSTER:
            self._warm(name for name in additions if subscription.may_have(name))
        return [self._depart(subscription, additions, removed)]

    def _send_removals(self, subscription: Subscription) -> list[Response]:
        if not self._may_fly(subscription):
            return []
        removed = [name for name in subscription.removals() if self._is_released(subscription, name)]
        return [self._depart(subscription, [], removed)] if removed else []

    def _may_fly(self, subscription: Subscription) -> bool:
        limit = 1 if subscription.suspects else _FLIGHTS.get(subscription.type_url, 1)
        return len(subscription.flights) < limit

    def _is_released(self, subscription: Subscription, name: str) -> bool:
        """Whether nothing of the client's can name this gone resource any more."""
        dropped = subscription.dropped.get(name, subscription.generation)
        if subscription.type_url == CLUSTER:
            return all(self._past(url, dropped) for url in _NAMING)
        if subscription.type_url == ENDPOINTS:
            return not self.may_have(CLUSTER, name)
        return subscription.type_url not in _NAMED or self._past(LISTENER, dropped)

    def _past(self, type_url: str, generation: int) -> bool:
        subscription = self._subscriptions.get(type_url)
        if subscription is not None:
            return subscription.harmless_generation >= generation
        # Not asked for yet. Where routes are served, the client will ask, and may have old ones until then.
        return type_url in _NAMED and self._snapshot is not None and not self._snapshot.table.get(type_url)

    def _warm(self, changed: Iterable[str]) -> None:
        endpoints = self._subscriptions.get(ENDPOINTS)
        if endpoints is None:
            self._warm_again.update(changed)
            return
        for name in changed:
            endpoints.send_again(name)

    def _depart(self, subscription: Subscription, additions: list[str], removed: list[str]) -> Response:
        self._nonces += 1
        nonce = str(self._nonces)
        subscription.depart(nonce, additions, removed)
        resources = tuple(subscription.table[name] for name in additions)
        return Response(subscription.type_url, nonce, resources, tuple(removed))
