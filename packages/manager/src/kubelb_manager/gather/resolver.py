"""Host names that tenants give as addresses, resolved by us (ruling 4).

Envoy never resolves a tenant's name itself: what a name stands for is checked after it was resolved,
and published as addresses. A name is asked again when `PERIOD` has passed; a failure keeps the last
known addresses, because an ill DNS server must not remove traffic (promise 6).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kubelb_common.runtime.clock import Clock

#: Seconds between two questions for one name; the system's resolver does not tell a record's TTL.
PERIOD = 30.0
_TIMEOUT = 5.0


@dataclass(slots=True)
class Resolver:
    """Keeps the addresses of names that somebody asks about.

    Args:
        clock: time and pauses.
        on_change: called when the addresses of a name changed.
    """

    clock: Clock
    on_change: Callable[[], None]
    _known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _wanted: dict[str, float] = field(default_factory=dict)
    _asking: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def known(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return what is known of `names`, and see to it that unknown ones are asked."""
        wanted = sorted(names)
        now = self.clock.monotonic()
        for name in wanted:
            self._wanted[name] = now
            if name not in self._known and name not in self._asking:
                self._start(name)
        return {name: self._known[name] for name in wanted if name in self._known}

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        try:
            while True:
                await self.clock.sleep(PERIOD)
                horizon = self.clock.monotonic() - 10 * PERIOD
                for name in [name for name, seen in self._wanted.items() if seen < horizon]:
                    del self._wanted[name]
                    self._known.pop(name, None)
                for name in self._wanted:
                    if name not in self._asking:
                        self._start(name)
        finally:
            for task in self._asking.values():
                task.cancel()

    def _start(self, name: str) -> None:
        self._asking[name] = asyncio.get_running_loop().create_task(self._ask(name))

    async def _ask(self, name: str) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError):
            return
        finally:
            self._asking.pop(name, None)
        ips = tuple(sorted({str(entry[4][0]) for entry in found}))
        if ips != self._known.get(name):
            self._known[name] = ips
            self.on_change()
