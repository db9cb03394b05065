"""How an Envoy leaves: told once, by the kubelet, before it gets SIGTERM.

What happens, in which order
----------------------------
1. The health check fails: each response tells its client to close the connection and make a new one (`Connection:
   close`, GOAWAY), and Envoy's own `/ready` says DRAINING. The listeners drain with it.
2. For `minimum` seconds nothing else. kube-proxies and load balancers hear of the leaving pod in this time; until they
   have, new connections come, and are served.
3. From then on the drain is over as soon as no connection is left, and after `timeout` seconds in any case.

The listeners stay open all the time. Where no other Envoy is ready on the node, kube-proxy goes on sending to one that
is leaving but serves (as `externalTrafficPolicy: Local` needs it), so the pod's readiness does not fail either.

What may never happen: a drain that begins twice, one that outlasts `timeout` by more than a question to Envoy, and one
that is forgotten because whoever asked for it has gone away.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from kubelb_common.runtime.clock import Clock
from kubelb_common.telemetry import logs
from kubelb_manager.agent.admin import Admin, EnvoyGone, EnvoySilent

_log = logs.get(__name__)
_PERIOD = 0.5


@dataclass(frozen=True, slots=True)
class Drained:
    """How a drain ended: after how many seconds, and with how many connections left (None: unknown)."""

    seconds: float
    left: int | None


class Drain:
    """The one drain of an Envoy's life.

    Args:
        envoy: whom to drain.
        clock: time and pauses.
        timeout: longest wait in seconds.
        minimum: shortest wait in seconds.
    """

    def __init__(self, envoy: Admin, clock: Clock, *, timeout: float, minimum: float) -> None:
        self._envoy = envoy
        self._clock = clock
        self._timeout = timeout
        self._minimum = minimum
        self._task: asyncio.Task[Drained] | None = None

    @property
    def active(self) -> bool:
        """Whether the drain has begun and is not over."""
        return self._task is not None and not self._task.done()

    async def wait(self) -> Drained:
        """Begin the drain, unless it has begun; return when it is over. Who stops waiting does not stop the drain."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="drain")
        return await asyncio.shield(self._task)

    async def _run(self) -> Drained:
        began = self._clock.monotonic()
        _log.info("draining", timeout=self._timeout, minimum=self._minimum)
        left: int | None = None
        try:
            await self._begin()
            left = await self._until_quiet(began)
        except EnvoyGone:
            left = 0
        done = Drained(self._clock.monotonic() - began, left)
        _log.info("drained", seconds=round(done.seconds, 1), connections_left=left)
        return done

    async def _begin(self) -> None:
        for step in (self._envoy.fail_health_check, self._envoy.drain_listeners):
            try:
                await step()
            except EnvoySilent as error:
                # What follows still gives clients and kube-proxies the time to go elsewhere.
                _log.warning("Envoy does not drain", error=str(error))

    async def _until_quiet(self, began: float) -> int | None:
        left: int | None = None
        while True:
            past = self._clock.monotonic() - began
            try:
                left = await self._envoy.connections()
            except EnvoySilent as error:
                _log.warning("Envoy does not say how many connections it has", error=str(error))
                left = None
            if past >= self._timeout or (past >= self._minimum and left == 0):
                return left
            target = self._timeout if past >= self._minimum else self._minimum
            await self._clock.sleep(min(_PERIOD, max(target - past, 0.0)))
