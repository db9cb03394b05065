"""The health server: /healthz (alive), /readyz (may get work), /metrics.

Checks are callables that return None while all is well, or a short text that says what is wrong. They are called
for each request and must not wait. A path answers 200 with `ok`, or 503 with one line per failing check.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from kubelb_common.faults import Fault
from kubelb_common.telemetry import logs, metrics

Check = Callable[[], str | None]
Page = Callable[[], dict[str, Any]]

_log = logs.get(__name__)
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class CannotListen(Fault):
    """The address or port cannot be used; the text says which and why."""


class HealthServer:
    """Serves health and metrics over plain HTTP.

    Args:
        host: address to listen on; `""` for all.
        port: port to listen on; 0 lets the system choose (see `port` after `start`).
        live: checks of /healthz; a failing one asks for a restart, so there are few.
        ready: checks of /readyz, which includes the live ones.
        pages: further paths, and what returns the JSON object that each shows.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        live: Mapping[str, Check] | None = None,
        ready: Mapping[str, Check] | None = None,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._live = dict(live or {})
        self._ready = dict(ready or {})
        self._pages = dict(pages or {})
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port in use, after `start`."""
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the health server has not started")
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            CannotListen: the port is taken, privileged, or the address is not this machine's.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", _metrics)
        for path, page in self._pages.items():
            app.router.add_get(path, _shown(page))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host or None, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise CannotListen(_why(error, self._host, self._port)) from error
        self._runner = runner
        _log.info("health server listens", host=self._host or "*", port=self.port)

    async def stop(self) -> None:
        """Stop listening and end open connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def run(self) -> None:
        """Serve until cancelled; for `Supervisor.service(..., early=True)`."""
        if self._runner is None:
            await self.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(self._live)

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer(self._live | self._ready)


def _shown(page: Page) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def show(_request: web.Request) -> web.Response:
        return web.json_response(page())

    return show


def _answer(checks: Mapping[str, Check]) -> web.Response:
    wrong = [f"{name}: {text}" for name, check in checks.items() if (text := check()) is not None]
    return web.Response(status=503 if wrong else 200, text="\n".join(wrong or ["ok"]) + "\n")


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=metrics.exposition(), headers={"Content-Type": _METRICS_TYPE})


def _why(error: OSError, host: str, port: int) -> str:
    where = f"{host or '*'}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"health server: {where} is in use by another process; choose another port or 0 for any free one"
    if error.errno == errno.EACCES:
        return f"health server: no permission to listen on {where}; choose a port above 1023"
    return f"health server: cannot listen on {where}: {error.strerror or error}; check the address"
