"""What a person reads when the product does not come up."""

from __future__ import annotations

import pytest

from kubelb_e2e import product


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        ({}, ""),
        ({"exitCode": 2}, ", the last one ended with 2"),
        ({"exitCode": 128, "message": "trying\ncannot run 'x'\n"}, ", the last one ended with 128: cannot run 'x'"),
    ],
)
def test_a_pod_in_trouble_says_how_its_last_run_ended(ended: dict, told: str) -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"name": "manager", "ready": False, "state": waiting, "restartCount": 4}
    if ended:
        status["lastState"] = {"terminated": ended}
    pod = {"metadata": {"name": "manager-1"}, "status": {"phase": "Running", "containerStatuses": [status]}}
    assert product._pod_trouble(pod) == (
        f"pod manager-1 is Running (manager: {waiting}, restarted 4 times{told}); kubelb-e2e logs manager-1"
    )
