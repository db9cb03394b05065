"""What acknowledgements and probes say of one fleet, in the words of a rollout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kubelb_manager.delivery.cache import FleetProgress, StreamProgress
from kubelb_manager.ir.model import Cluster, Origin
from kubelb_manager.peers.book import NOWHERE, Elsewhere
from kubelb_manager.peers.model import ObjectState
from kubelb_manager.rollout.view import Reach
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES

#: What is adopted shows in these.
_SERVING = (EXTENSIONS, LISTENER, ROUTES)


@dataclass(frozen=True, slots=True)
class FleetView:
    """Implements `rollout.view.View` over one reading of a fleet's progress.

    Attributes:
        progress: our own open streams; a pod with a younger one elsewhere is left out.
        ready_pods: Envoys that get traffic, and that we answer for; one that is connected nowhere has not
            acknowledged anything.
        ask: what probes know of a cluster.
        elsewhere: Envoys that are connected to other replicas. They decide nothing about what we publish, for each
            replica publishes to its own; they count for what is said of objects.
    """

    progress: FleetProgress
    ready_pods: frozenset[str]
    ask: Callable[[Cluster], Reach]
    elsewhere: Elsewhere = NOWHERE

    def reach(self, cluster: Cluster) -> Reach:
        """See View."""
        return self.ask(cluster)

    def has_endpoints(self, cluster: str) -> bool:
        """See View."""
        return all(stream.has_endpoints(cluster) for stream in self.progress.streams)

    def has_clusters(self, generation: int) -> bool:
        """See View."""
        return self._all_have(generation, (CLUSTER, ENDPOINTS))

    def has_routes(self, generation: int) -> bool:
        """See View."""
        return self._all_have(generation, _SERVING)

    def _all_have(self, generation: int, types: tuple[str, ...]) -> bool:
        return not self.unknown() and all(_has(stream, generation, types) for stream in self.progress.streams)

    def unknown(self) -> frozenset[str]:
        """Return the ready pods of which nothing is known: they hold whatever they may hold."""
        return self.ready_pods - {stream.pod for stream in self.progress.streams} - self.elsewhere.pods.keys()

    def serving(self, origin: Origin, ours: ObjectState) -> tuple[int, int]:
        """Return how many ready pods serve an object as we have it, and how many there are (ruling 12)."""
        streams = {stream.pod: stream for stream in self.progress.streams}
        count = sum(
            1
            for pod in self.ready_pods
            if (
                _has(streams[pod], ours.since, _SERVING)
                if pod in streams
                else self.elsewhere.serves(pod, origin, ours, _SERVING)
            )
        )
        return count, len(self.ready_pods)


def _has(stream: StreamProgress, generation: int, types: tuple[str, ...]) -> bool:
    return all(stream.acknowledged.get(url, 0) >= generation for url in types)
