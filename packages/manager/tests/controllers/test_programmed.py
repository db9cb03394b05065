"""Programmed is true when every ready proxy has it, and says why it is not (ruling 12)."""

from __future__ import annotations

import pytest

from kubelb_manager.controllers.programmed import (
    PARTIAL_AFTER,
    judge,
    services_of,
    with_shadowed,
)
from kubelb_manager.rollout.rollout import Phase, Standing
from kubelb_manager.translate.result import Verdict

L7 = "tenant-a/shop/web/80/30001/l7"
L4 = "tenant-a/db/5432/30002/l4"
SERVED = Standing(Phase.ADOPTED, generation=3)
WAITING = Standing(Phase.WAITING)
SILENT = Standing(Phase.WAITING, silent=(L7,))
REFUSED = Standing(Phase.REFUSED, generation=2, refusal="invalid route of tenant-b/shop")
EARLY, LATE = PARTIAL_AFTER - 0.01, PARTIAL_AFTER


@pytest.mark.parametrize(
    ("standing", "serving", "waited", "latched", "reason", "settled"),
    [
        pytest.param(SERVED, (2, 2), 0.0, False, "Programmed", True, id="all-ready-proxies-have-it"),
        pytest.param(SERVED, (1, 2), EARLY, False, None, False, id="one-is-missing-nothing-is-said-yet"),
        pytest.param(SERVED, (1, 2), LATE, False, "PartiallyAcknowledged", False, id="one-is-missing-for-long"),
        pytest.param(SERVED, (0, 0), EARLY, False, None, False, id="no-proxy-yet"),
        pytest.param(SERVED, (0, 0), LATE, False, "NoReadyProxies", False, id="no-proxy-for-long"),
        pytest.param(SERVED, (1, 2), LATE, True, "Programmed", True, id="a-proxy-comes-later"),
        pytest.param(SERVED, (0, 0), LATE, True, "Programmed", True, id="proxies-go-later"),
        pytest.param(WAITING, (2, 2), LATE, False, None, False, id="not-published"),
        pytest.param(WAITING, (2, 2), LATE, True, "Programmed", False, id="not-published-again-after-a-restart"),
        pytest.param(Standing(Phase.ADOPTED), (2, 2), 0.0, False, None, False, id="adopted-in-no-snapshot-yet"),
        pytest.param(SILENT, (2, 2), 0.0, False, "BackendUnreachable", False, id="node-port-does-not-answer"),
        pytest.param(SILENT, (2, 2), 0.0, True, "Programmed", False, id="silent-but-served-before"),
        pytest.param(REFUSED, (2, 2), 0.0, False, "RefusedByProxy", True, id="refused"),
        pytest.param(REFUSED, (2, 2), 0.0, True, "RefusedByProxy", True, id="refused-although-served-before"),
    ],
)
def test_judgement(
    standing: Standing, serving: tuple[int, int], waited: float, latched: bool, reason: str | None, settled: bool
) -> None:
    verdict, is_settled = judge(standing, serving, waited, latched=latched)
    assert (verdict.reason if verdict else None) == reason
    assert is_settled is settled
    if verdict:
        assert verdict.status == ("True" if reason == "Programmed" else "False")


def test_partial_acknowledgement_says_how_many() -> None:
    verdict, _ = judge(SERVED, (1, 3), LATE, latched=False)
    assert verdict is not None
    assert "1/3" in verdict.message


def test_silence_names_the_service_in_the_tenants_words() -> None:
    verdict, _ = judge(Standing(Phase.WAITING, silent=(L4, L7)), (1, 1), 0.0, latched=False)
    assert verdict is not None
    assert "Service shop/web port 80 (node port 30001)" in verdict.message
    assert "tenant-a" not in verdict.message


def test_silence_of_many_is_counted() -> None:
    silent = tuple(f"tenant-a/shop/web{n}/80/3000{n}/l7" for n in range(5))
    verdict, _ = judge(Standing(Phase.WAITING, silent=silent), (1, 1), 0.0, latched=False)
    assert verdict is not None
    assert "and 2 more" in verdict.message
    assert "web4" not in verdict.message


def test_refusal_carries_envoys_text() -> None:
    verdict, _ = judge(REFUSED, (1, 1), 0.0, latched=False)
    assert verdict is not None
    assert verdict.message.endswith(": invalid route of ...")


def test_only_l7_clusters_name_services() -> None:
    assert list(services_of([L7, L4, "odd"])) == ["shop/web"]


def test_shadowed_rules_are_said_on_accepted_alone() -> None:
    verdicts = (
        Verdict("Accepted", "True", "Accepted", "Yes."),
        Verdict("ResolvedRefs", "True", "ResolvedRefs", "Yes."),
    )
    accepted, refs = with_shadowed(verdicts, ("a.example.com/x",))
    assert accepted.message == "Yes. Served by an older object instead: a.example.com/x."
    assert refs == verdicts[1]
    assert with_shadowed(verdicts, ()) == verdicts
