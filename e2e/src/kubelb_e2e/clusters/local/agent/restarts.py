"""Whether and when a container that ended is started again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kubelb_e2e.clusters.local.agent.status import Kind

FIRST_SECONDS = 10.0
MAX_SECONDS = 300.0
CALM_SECONDS = 600.0


def wanted(policy: str, kind: Kind, code: int) -> bool:
    """Tell whether a container of a pod with restart policy `policy` runs again after exit code `code`."""
    if kind == "sidecar":
        return True
    if kind == "init" and code == 0:
        return False
    return policy == "Always" or (policy == "OnFailure" and code != 0) if kind == "app" else policy != "Never"


@dataclass(slots=True)
class RestartBackoff:
    """Doubling delays: the first restart at once, then 10 s, 20 s, ... 300 s; ten calm minutes start anew."""

    _next: float = 0.0

    def delay(self, ran_seconds: float) -> float:
        """Return how long to wait after a run of `ran_seconds`."""
        if ran_seconds >= CALM_SECONDS:
            self._next = 0.0
        delay = self._next
        self._next = min(max(FIRST_SECONDS, delay * 2), MAX_SECONDS)
        return delay
