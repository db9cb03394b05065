"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Jitter = Callable[[float], float]


def no_jitter(seconds: float) -> float:
    """Return the delay as it is: right where keys fail independently of each other."""
    return seconds


def spread(seconds: float) -> float:
    """Return a delay between half and all of it, so that many clients do not come back together."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311  # spreading load needs no secrecy


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off: `base` seconds after the first failure, doubled with each, never above `cap`."""

    base: float
    cap: float
    jitter: Jitter = no_jitter

    def delay(self, failures: int) -> float:
        """Return seconds to wait after so many failures in a row; nothing after none."""
        if failures <= 0:
            return 0.0
        doublings = min(failures - 1, 60)  # 2**60 is past any cap, and keeps the float finite
        return self.jitter(min(self.cap, self.base * 2.0**doublings))
