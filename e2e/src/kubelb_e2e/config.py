"""The harness's configuration: `e2e/config.yaml`, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

Intervals = Mapping[str, tuple[float, float]]
CONFIG = Path(__file__).resolve().parents[2] / "config.yaml"


class ConfigurationError(Exception):
    """The file cannot be used; the text says where and what was expected."""


def intervals(path: Path = CONFIG) -> Intervals:
    """Return name -> (longest wait, period), both in seconds."""
    try:
        found = yaml.safe_load(path.read_text())["intervals"]
        return {name: (float(longest), float(period)) for name, (longest, period) in found.items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: expected intervals: {{name: [longest, period]}} in seconds: {error}"
        ) from error
