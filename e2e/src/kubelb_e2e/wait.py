"""Waiting without sleeping: by a named interval of config.yaml, with the last difference in the error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kubelb_e2e.config import Intervals

T = TypeVar("T")


class Waiter:
    """Waits as `config.yaml` says."""

    def __init__(self, intervals: Intervals) -> None:
        self._intervals = intervals

    async def eventually(self, name: str, check: Callable[[], Awaitable[T]]) -> T:
        """Call `check` until it raises no AssertionError; return what it returned.

        Args:
            name: of the interval (longest wait, period).
            check: raises AssertionError while it does not hold.

        Raises:
            AssertionError: the last difference, and how long it lasted.
        """
        limit, period = self._intervals[name]
        started = time.monotonic()
        while True:
            try:
                return await check()
            except AssertionError as error:
                waited = time.monotonic() - started
                if waited >= limit:
                    raise AssertionError(f"still after {waited:.1f} s ({name}): {error}") from error
            await asyncio.sleep(period)

    async def consistently(self, name: str, check: Callable[[], Awaitable[object] | None]) -> None:
        """Call `check` for a whole interval; it must never raise."""
        limit, period = self._intervals[name]
        started = time.monotonic()
        while time.monotonic() - started < limit:
            found = check()
            if found is not None:
                await found
            await asyncio.sleep(period)
