"""pytest plugin: the option `--update-golden` and the fixture `update_golden`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the option."""
    parser.addoption(
        "--update-golden", action="store_true", default=False, help="rewrite expected files with what came out"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected files are rewritten in this run."""
    return bool(request.config.getoption("--update-golden"))
