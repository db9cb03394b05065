"""`e2e/config.yaml`: named wait intervals and bounds of traffic, checked when read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """The file cannot be used; the text says where in it, what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Interval:
    """How long to wait.

    Attributes:
        name: as in the file.
        within: seconds until `eventually` gives up.
        poll: seconds between two looks.
        hold: seconds that `consistently` looks.
    """

    name: str
    within: float
    poll: float
    hold: float


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file; rate in requests per second and client, timeout in seconds."""

    intervals: dict[str, Interval]
    rate: float
    timeout: float

    def interval(self, name: str) -> Interval:
        """Return the interval called `name`; raises ConfigError."""
        try:
            return self.intervals[name]
        except KeyError:
            raise ConfigError(f"no interval {name!r}; there are {', '.join(sorted(self.intervals))}") from None


def load(path: Path | None = None) -> Config:
    """Read `path`, else KUBELB_E2E_CONFIG, else `e2e/config.yaml` of the source tree; raises ConfigError."""
    chosen = path or Path(os.environ.get("KUBELB_E2E_CONFIG") or Path(__file__).parents[2] / "config.yaml")
    try:
        raw = yaml.safe_load(chosen.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{chosen}: {error}") from error
    try:
        return _parse(raw)
    except ConfigError as error:
        raise ConfigError(f"{chosen}: {error}") from error


def _parse(raw: Any) -> Config:
    sections = _mapping(raw, "the file", {"intervals", "traffic"})
    intervals = _mapping(sections["intervals"], "intervals")
    traffic = _mapping(sections["traffic"], "traffic", {"rate", "timeout"})
    return Config(
        intervals={name: _interval(name, value) for name, value in intervals.items()},
        rate=_positive(traffic["rate"], "traffic.rate"),
        timeout=_positive(traffic["timeout"], "traffic.timeout"),
    )


def _interval(name: str, raw: Any) -> Interval:
    where = f"intervals.{name}"
    fields = _mapping(raw, where, {"within", "poll", "hold"})
    return Interval(name, **{key: _positive(value, f"{where}.{key}") for key, value in fields.items()})


def _mapping(raw: Any, where: str, keys: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping, found {raw!r}")
    if keys is not None and set(raw) != keys:
        raise ConfigError(f"{where}: expected the keys {', '.join(sorted(keys))}, found {', '.join(map(str, raw))}")
    return raw


def _positive(raw: Any, where: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or raw <= 0:
        raise ConfigError(f"{where}: expected a number above 0, found {raw!r}")
    return float(raw)
