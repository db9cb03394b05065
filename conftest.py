"""What the tests of all packages share."""

from __future__ import annotations

pytest_plugins = ["kubelb_common.testing.pytest_golden", "kubelb_common.testing.pytest_plugin"]
