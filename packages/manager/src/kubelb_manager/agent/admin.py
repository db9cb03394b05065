"""Envoy's admin interface, which listens on the pod's loopback alone: what the agent asks of it."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Protocol

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
#: `listener.[__]_8080.downstream_cx_active`; the same by worker is left out, and the admin interface has no port here.
_CONNECTIONS = re.compile(r"listener\.(?!.*\.worker_)[^ ]*_(\d+)\.downstream_cx_active: (\d+)")
_SESSIONS = re.compile(r"udp\.[^ ]+\.downstream_sess_active: (\d+)")
_FILTER = r"^(listener\..*\.downstream_cx_active|udp\..*\.downstream_sess_active)$"


class EnvoyGone(Exception):  # noqa: N818 - named for what it says
    """Nobody listens on the admin interface: Envoy has ended, or has not started."""


class EnvoySilent(Exception):  # noqa: N818 - named for what it says
    """Envoy is there and does not answer properly; the text says how."""


class Admin(Protocol):
    """What a drain and a readiness check need of Envoy. Every method raises EnvoyGone or EnvoySilent."""

    async def state(self) -> str:
        """Return `LIVE`, `DRAINING`, `PRE_INITIALIZING` or `INITIALIZING`."""

    async def fail_health_check(self) -> None:
        """Have every response say `Connection: close`, or GOAWAY; new connections are accepted."""

    async def drain_listeners(self) -> None:
        """Begin the graceful drain of all listeners; they close only at its end (`--drain-time-s`)."""

    async def connections(self) -> int:
        """Return how many connections and UDP sessions clients have."""


class AdminClient:
    """Implements `Admin` over HTTP.

    Args:
        base: URL of the admin interface.
        own_ports: listeners for probes and metrics, whose connections are nobody's traffic.
    """

    def __init__(self, base: str, own_ports: Collection[int]) -> None:
        self._base = base
        self._own_ports = frozenset(own_ports)

    async def state(self) -> str:
        """See Admin."""
        _, text = await self._ask("GET", "/ready")
        return text.strip()

    async def fail_health_check(self) -> None:
        """See Admin."""
        await self._do("/healthcheck/fail")

    async def drain_listeners(self) -> None:
        """See Admin."""
        await self._do("/drain_listeners?graceful")

    async def connections(self) -> int:
        """See Admin."""
        status, text = await self._ask("GET", "/stats", filter=_FILTER)
        if status != 200:
            raise EnvoySilent(f"/stats: status {status}")
        return _sum(text, self._own_ports)

    async def _do(self, path: str) -> None:
        status, text = await self._ask("POST", path)
        if status != 200:
            raise EnvoySilent(f"{path}: status {status}: {text.strip()[:200]}")

    async def _ask(self, method: str, path: str, **query: str) -> tuple[int, str]:
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.request(method, self._base + path, params=query or None) as response,
            ):
                return response.status, await response.text()
        except aiohttp.ClientConnectorError as error:
            raise EnvoyGone(str(error)) from error
        except (TimeoutError, aiohttp.ClientError) as error:
            raise EnvoySilent(f"{path}: {type(error).__name__}") from error


def _sum(text: str, own_ports: Collection[int]) -> int:
    count = 0
    for line in text.splitlines():
        if found := _CONNECTIONS.fullmatch(line):
            count += 0 if int(found[1]) in own_ports else int(found[2])
        elif found := _SESSIONS.fullmatch(line):
            count += int(found[1])
    return count
