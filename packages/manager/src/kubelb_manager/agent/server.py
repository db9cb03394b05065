"""What the kubelet asks the agent, over plain HTTP in the pod's network.

* `/ready`: whether Envoy takes connections. A draining one does until the drain is over.
* `/drain`: drains Envoy and answers when that is done. Only with the token of the pod's own specification: whoever
  else can reach the pod must not be able to empty it.
* `/healthz`: the agent itself.
"""

from __future__ import annotations

import asyncio
import hmac

from aiohttp import web

from kubelb_common.faults import Fault
from kubelb_common.telemetry import logs
from kubelb_manager.agent.admin import Admin, EnvoyGone, EnvoySilent
from kubelb_manager.agent.drain import Drain

_log = logs.get(__name__)


class CannotListen(Fault):
    """The agent's port cannot be used; the text says which and why."""


class AgentServer:
    """Serves the kubelet until cancelled.

    Args:
        host: address to listen on; empty for all.
        port: port; 0 lets the system choose.
        envoy: the Envoy beside it.
        drain: its drain.
        token: what `Authorization: Bearer` must carry for a drain; without one, none is made.
    """

    def __init__(self, host: str, port: int, envoy: Admin, drain: Drain, token: str) -> None:
        self._host = host
        self._wanted_port = port
        self._envoy = envoy
        self._drain = drain
        self._token = token
        #: The port in use once it listens, else 0.
        self.port = 0

    async def run(self) -> None:
        """Listen and answer until cancelled; raises CannotListen."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/drain", self._on_drain)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, self._host or None, self._wanted_port).start()
            except OSError as error:
                where = f"{self._host or '*'}:{self._wanted_port}"
                raise CannotListen(f"cannot listen on {where}: {error.strerror or error}") from error
            self.port = int(runner.addresses[0][1])
            _log.info("agent listens", port=self.port)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        try:
            state = await self._envoy.state()
        except (EnvoyGone, EnvoySilent) as error:
            return web.Response(status=503, text=f"Envoy does not answer: {error}\n")
        serves = state == "LIVE" or (state == "DRAINING" and self._drain.active)
        return web.Response(status=200 if serves else 503, text=f"{state}\n")

    async def _on_drain(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode()
        if not self._token or not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return web.Response(status=403, text="only this pod's own preStop hook may drain it\n")
        done = await self._drain.wait()
        return web.Response(text=f"drained in {done.seconds:.1f} s, connections left: {done.left}\n")
