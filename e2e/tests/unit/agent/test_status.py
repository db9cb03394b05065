"""A pod's status from its containers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kubelb_common.objects import conditions
from kubelb_e2e.clusters.local.agent import status
from kubelb_e2e.clusters.local.agent.status import ContainerRecord, PodRecord, Running, Terminated, Waiting

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUNNING = Running(NOW)


def ended(code):
    return Terminated(code, "Error" if code else "Completed", NOW, NOW)


def container(state, *, kind="app", finished=False, ready=False, name="c"):
    record = ContainerRecord(name, "img", kind, state, ready=ready, finished=finished)
    record.identity = "" if isinstance(state, Waiting) else "u-1"
    record.started = isinstance(state, Running)
    return record


def of(*records, pod=None):
    record = PodRecord("node", "10.0.0.1", NOW, "10.1.0.2", list(records))
    return status.status(pod or {}, record, NOW)


@pytest.mark.parametrize(
    ("records", "phase"),
    [
        ([container(Waiting("ContainerCreating"))], "Pending"),
        ([container(RUNNING)], "Running"),
        ([container(ended(0), finished=True)], "Succeeded"),
        ([container(ended(0), finished=True), container(ended(1), finished=True)], "Failed"),
        ([container(ended(1), finished=False)], "Running"),
        ([container(ended(1), kind="init", finished=True), container(Waiting("PodInitializing"))], "Failed"),
        ([container(RUNNING, kind="init"), container(Waiting("PodInitializing"))], "Pending"),
        ([container(RUNNING), container(ended(0), finished=True)], "Running"),
        ([container(RUNNING, kind="sidecar"), container(ended(0), finished=True)], "Succeeded"),
    ],
)
def test_phase(records, phase):
    assert of(*records)["phase"] == phase


def test_ready_needs_all_containers():
    found = of(container(RUNNING, ready=True, name="a"), container(RUNNING, name="b"))["conditions"]
    assert not conditions.is_true(found, "Ready")
    assert "[b]" in conditions.find(found, "ContainersReady")["message"]
    found = of(container(RUNNING, ready=True, name="a"))["conditions"]
    assert conditions.is_true(found, "Ready")
    assert conditions.is_true(found, "Initialized")


def test_readiness_gate_of_somebody_else_is_kept_and_counts():
    gate = {"type": "lb", "status": "False", "reason": "x", "message": ""}
    pod = {"spec": {"readinessGates": [{"conditionType": "lb"}]}, "status": {"conditions": [gate]}}
    found = of(container(RUNNING, ready=True), pod=pod)["conditions"]
    assert conditions.find(found, "Ready")["reason"] == "ReadinessGatesNotReady"
    assert conditions.is_true(found, "ContainersReady")
    assert gate in found
    gate["status"] = "True"
    assert conditions.is_true(of(container(RUNNING, ready=True), pod=pod)["conditions"], "Ready")


def test_a_status_that_the_server_filled_up_is_no_difference():
    pod = {"spec": {}, "status": {}}
    wanted = of(container(RUNNING, ready=True), pod=pod)
    assert status.differs(pod, wanted)
    stored = {**wanted, "conditions": [{**item, "lastProbeTime": None} for item in wanted["conditions"]]}
    for item in stored["conditions"]:
        item.pop("message")
    pod["status"] = stored
    assert not status.differs(pod, of(container(RUNNING, ready=True), pod=pod))
    assert status.differs(pod, of(container(RUNNING), pod=pod))


def test_what_is_not_enforced_is_said():
    pod = {
        "spec": {"securityContext": {"fsGroup": 1}, "containers": [{"name": "c", "securityContext": {"runAsUser": 1}}]}
    }
    found = conditions.find(of(container(RUNNING), pod=pod)["conditions"], status.NOT_ENFORCED)
    assert "spec.securityContext.fsGroup" in found["message"]
    assert "containers.securityContext.runAsUser" in found["message"]
