"""Amounts of resources as Kubernetes writes them: `500m`, `128Mi`, `1e3`, 2."""

from __future__ import annotations

import re
from typing import Any

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?[0-9]{1,3}))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def quantity(value: Any) -> float | None:
    """Return an amount in its base unit, for comparison; None for what is none."""
    if isinstance(value, bool):
        return None
    found = _QUANTITY.fullmatch(value if isinstance(value, str) else str(value) if isinstance(value, int) else "")
    if found is None:
        return None
    number, suffix, exponent = found.groups()
    if suffix in _BINARY:
        return float(number) * float(2 ** _BINARY[suffix])
    power = int(exponent) if exponent else _DECIMAL[suffix or ""]
    try:
        return float(f"{number}e{power}")
    except OverflowError:
        return None
