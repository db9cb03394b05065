"""When to probe and what a row of results means. Pure; `checks` asks, `container` acts.

A kubelet probes once per period, the first time right at the start, when most programs do not listen yet; a pod with
a period of 10 s is then ready after 10 s. Here the time until the first success is filled with quick extra probes,
whose failures do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kubelb_common.objects.view import Object

Kind = Literal["startup", "readiness", "liveness"]
_QUICK_FIRST = 0.05
_QUICK_FACTOR = 1.5
_QUICK_MAX = 1.0


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """A probe of a container: the check as in the API, times in seconds."""

    check: Object
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int
    grace: float | None

    @classmethod
    def of(cls, probe: Object) -> ProbeSpec:
        """Return the probe with the API's defaults."""
        grace = probe.get("terminationGracePeriodSeconds")
        return cls(
            check=probe,
            initial_delay=float(probe.get("initialDelaySeconds") or 0),
            period=float(probe.get("periodSeconds") or 10),
            timeout=float(probe.get("timeoutSeconds") or 1),
            success_threshold=int(probe.get("successThreshold") or 1),
            failure_threshold=int(probe.get("failureThreshold") or 3),
            grace=None if grace is None else float(grace),
        )


@dataclass(slots=True)
class ProbeState:
    """Counts results in a row.

    `verdict` is True or False once a threshold was reached, None before; `next_delay` says when to ask again.
    """

    spec: ProbeSpec
    verdict: bool | None = None
    succeeded_once: bool = False
    _row: int = 0
    _last: bool | None = None
    _quick: float = _QUICK_FIRST
    _counted_at: float | None = field(default=None)

    def observe(self, ok: bool, now: float) -> bool:  # noqa: FBT001 - the one thing to say
        """Take a result at monotonic time `now`; return whether the verdict changed."""
        due = self._counted_at is None or now - self._counted_at >= self.spec.period * 0.99
        if not ok and not self.succeeded_once and not due:
            return False
        self._counted_at = now
        self.succeeded_once = self.succeeded_once or ok
        self._row = self._row + 1 if ok == self._last else 1
        self._last = ok
        threshold = self.spec.success_threshold if ok else self.spec.failure_threshold
        if self._row < threshold or self.verdict == ok:
            return False
        self.verdict = ok
        return True

    def next_delay(self) -> float:
        """Return the seconds until the next probe."""
        if self.succeeded_once:
            return self.spec.period
        delay = min(self._quick, self.spec.period)
        self._quick = min(self._quick * _QUICK_FACTOR, _QUICK_MAX)
        return delay
