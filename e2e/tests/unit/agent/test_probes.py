"""What rows of probe results mean, and how restarts are spaced."""

from __future__ import annotations

import pytest

from kubelb_e2e.clusters.local.agent import restarts
from kubelb_e2e.clusters.local.agent.probes import ProbeSpec, ProbeState


def state(**fields):
    return ProbeState(ProbeSpec.of({"periodSeconds": 10, **fields}))


def test_first_success_is_a_verdict_at_once():
    probe = state()
    assert not probe.observe(False, 0)
    assert probe.observe(True, 0.1)
    assert probe.verdict is True
    assert probe.next_delay() == 10


def test_quick_extra_probes_before_the_first_success_do_not_count_as_failures():
    probe = state(failureThreshold=2)
    for tenth in range(90):
        assert not probe.observe(False, tenth / 10)
    assert probe.verdict is None
    assert probe.observe(False, 10.0)
    assert probe.verdict is False


def test_quick_probes_get_slower_and_never_slower_than_the_period():
    probe = state()
    delays = [probe.next_delay() for _ in range(20)]
    assert delays[0] == 0.05
    assert delays == sorted(delays)
    assert delays[-1] == 1.0
    assert {state(periodSeconds=1).next_delay() for _ in range(3)} == {0.05}


def test_failures_need_a_row():
    probe = state(failureThreshold=3)
    probe.observe(True, 0)
    results = [False, False, True, False, False, False]
    changes = [probe.observe(ok, 10.0 * (index + 1)) for index, ok in enumerate(results)]
    assert changes == [False, False, False, False, False, True]


def test_success_threshold():
    probe = state(successThreshold=2)
    assert not probe.observe(True, 0)
    assert probe.observe(True, 10)


def test_back_off_doubles_from_the_second_restart_and_calms_down():
    backoff = restarts.RestartBackoff()
    assert [backoff.delay(1) for _ in range(7)] == [0, 10, 20, 40, 80, 160, 300]
    assert backoff.delay(601) == 0


@pytest.mark.parametrize(
    ("policy", "kind", "code", "again"),
    [
        ("Always", "app", 0, True),
        ("OnFailure", "app", 0, False),
        ("OnFailure", "app", 1, True),
        ("Never", "app", 1, False),
        ("Always", "init", 0, False),
        ("Always", "init", 1, True),
        ("Never", "init", 1, False),
        ("Never", "sidecar", 0, True),
    ],
)
def test_restart_policy(policy, kind, code, again):
    assert restarts.wanted(policy, kind, code) is again
