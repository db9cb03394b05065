"""Durations as Go writes them, `90s`, `1m30s`, read without raising."""

from __future__ import annotations

from typing import Any

from kubelb_common.objects import view


def seconds(value: Any) -> float | None:
    """Return the seconds of `value`, None for what is no duration or one beyond all years."""
    try:
        return view.parse_duration(value).total_seconds() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
