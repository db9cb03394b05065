"""What acknowledgements and probes say of one fleet, in the words of a rollout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kubelb_manager.delivery.cache import FleetProgress, StreamProgress
from kubelb_manager.ir.model import Cluster
from kubelb_manager.rollout.view import Reach
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES


@dataclass(frozen=True, slots=True)
class FleetView:
    """Implements `rollout.view.View` over one reading of a fleet's progress.

    Attributes:
        progress: the open streams.
        ready_pods: Envoys that get traffic; one without a stream has not acknowledged anything.
        ask: what probes know of a cluster.
    """

    progress: FleetProgress
    ready_pods: frozenset[str]
    ask: Callable[[Cluster], Reach]

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
        return self._all_have(generation, (LISTENER, ROUTES))

    def _all_have(self, generation: int, types: tuple[str, ...]) -> bool:
        streams = {stream.pod: stream for stream in self.progress.streams}
        if not self.ready_pods <= streams.keys():
            return False
        return all(_has(stream, generation, types) for stream in streams.values())

    def serving(self, generation: int) -> tuple[int, int]:
        """Return how many ready pods serve `generation`, and how many there are (ruling 12)."""
        streams = {stream.pod: stream for stream in self.progress.streams}
        count = sum(
            1 for pod in self.ready_pods if pod in streams and _has(streams[pod], generation, (LISTENER, ROUTES))
        )
        return count, len(self.ready_pods)


def _has(stream: StreamProgress, generation: int, types: tuple[str, ...]) -> bool:
    return all(stream.acknowledged.get(url, 0) >= generation for url in types)
