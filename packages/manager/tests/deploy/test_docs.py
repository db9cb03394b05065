"""What people read names what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from kubelb_common.telemetry import metrics
from kubelb_manager.controllers import programmed
from kubelb_manager.translate.result import Reason

ROOT = Path(__file__).parents[4]
#: Of conditions that are as they should be.
_FINE = {"Accepted", "ResolvedRefs", "Programmed"}


def _named(document: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", (ROOT / "docs" / document).read_text(encoding="utf-8")))


def test_tenants_find_every_reason() -> None:
    source = Path(programmed.__file__).read_text(encoding="utf-8")
    of_programmed = set(re.findall(r'"False", "(\w+)"', source)) | {programmed.BACKEND_UNREACHABLE}
    assert len(of_programmed) >= 6, "a pattern that finds nothing tests nothing"
    assert (set(Reason) | of_programmed) - _FINE - _named("tenants.md") == set()


def test_operators_find_every_metric() -> None:
    ours = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in metrics.REGISTRY.collect()
        if family.name.startswith("kubelb_")
    }
    assert len(ours) >= 7
    assert ours - _named("operations.md") == set()
