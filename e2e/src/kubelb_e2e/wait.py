"""Waiting for a condition, by named interval, with the last difference in the error.

A check is a coroutine function that returns when all is as it should be and raises AssertionError
with the difference otherwise. A KubeError counts as a difference too: an API server may be away for
a moment. Every other exception is a fault of the scenario and passes through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from kubelb_common.kube.errors import KubeError
from kubelb_common.runtime.clock import Clock, SystemClock
from kubelb_e2e.config import Interval

_T = TypeVar("_T")
Check = Callable[[], Awaitable[_T]]


class NotInTime(AssertionError):  # noqa: N818  # reads as what happened
    """A condition did not become true, or did not stay so."""


async def eventually(what: str, check: Check[_T], interval: Interval, *, clock: Clock | None = None) -> _T:
    """Return what `check` returns once it raises no difference.

    Raises:
        NotInTime: it still did after `interval.within` seconds; the text has the last difference and how
            often it was looked at.
    """
    clock = clock or SystemClock()
    began = clock.monotonic()
    looks = 0
    while True:
        looks += 1
        try:
            # A check that hangs must not outlive the interval by much.
            return await asyncio.wait_for(check(), interval.within)
        except (AssertionError, KubeError, TimeoutError) as error:
            passed = clock.monotonic() - began
            if passed >= interval.within:
                raise NotInTime(
                    f"{what}: not within {interval.within:g} s ({interval.name}, {looks} looks); "
                    f"last difference: {_text(error)}"
                ) from error
        await clock.sleep(interval.poll)


async def consistently(what: str, check: Check[object], interval: Interval, *, clock: Clock | None = None) -> None:
    """Return after `interval.hold` seconds in which `check` never raised a difference; raises NotInTime."""
    clock = clock or SystemClock()
    began = clock.monotonic()
    while (passed := clock.monotonic() - began) < interval.hold:
        try:
            await asyncio.wait_for(check(), interval.within)
        except (AssertionError, KubeError, TimeoutError) as error:
            raise NotInTime(f"{what}: held only {passed:.2f} s of {interval.hold:g} s: {_text(error)}") from error
        await clock.sleep(interval.poll)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
