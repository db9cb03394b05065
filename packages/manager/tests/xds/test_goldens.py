"""Each fleet in `testdata/xds` becomes the messages beside it, and the real Envoy has nothing against them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelb_common.testing import golden
from kubelb_manager.xds.generate import Generator, check

FOLDER = Path(__file__).parents[1] / "testdata" / "xds"
CASES = golden.cases(FOLDER)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fleet_to_messages(case: golden.Case, update_golden: bool, tools) -> None:
    table = Generator().table(tools.read_fleet(case.document()))
    assert check(table) == []
    case.check({"out": tools.readable(table)}, update=update_golden)


def test_no_orphans(update_golden: bool) -> None:
    golden.check_orphans(FOLDER, update=update_golden)


@pytest.mark.real_envoy
@pytest.mark.parametrize("case", CASES, ids=str)
def test_envoy_accepts(case: golden.Case, tools, tmp_path) -> None:
    table = Generator().table(tools.read_fleet(case.document()))
    assert tools.envoy_says(table, tmp_path) == ""


@pytest.mark.real_envoy
def test_envoy_would_refuse(tools, tmp_path) -> None:
    """The judge can say no."""
    fleet = tools.read_fleet(
        {
            "key": "tenant-a/shared",
            "clusters": [{"name": "a", "layer": "L7", "endpoints": [("not-an-address", 30000)]}],
        }
    )
    assert "not-an-address" in tools.envoy_says(Generator().table(fleet), tmp_path)
