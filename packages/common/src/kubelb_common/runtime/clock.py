"""The door to time, so that tests can run hours in milliseconds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time, a time that never goes back, and waiting."""

    def now(self) -> datetime:
        """Return the time of day: aware, UTC."""

    def monotonic(self) -> float:
        """Return seconds since some moment; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's time of day and the running loop's time (virtual where the loop is)."""

    def now(self) -> datetime:
        """Return the machine's time of day: aware, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the running loop's time in seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""
        await asyncio.sleep(seconds)
