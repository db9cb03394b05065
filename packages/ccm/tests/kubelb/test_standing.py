"""What an object's conditions and status amount to."""

from __future__ import annotations

import pytest

from kubelb_ccm.kubelb.standing import State, standing, wrong
from kubelb_common import names

ADDRESS = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}}


def said(kind, status="True", reason="", message="", generation=2):
    return {
        "type": kind,
        "status": status,
        "reason": reason or kind,
        "message": message,
        "observedGeneration": generation,
    }


GOOD = [said("Accepted"), said("ResolvedRefs"), said("Programmed")]


def lb(status=None, type_="LoadBalancer", *, wildcard=False, **spec):
    annotations = {names.ANNOTATION_WILDCARD: "true"} if wildcard else {}
    metadata = {"name": "web", "generation": 2, "annotations": annotations}
    return {"metadata": metadata, "spec": {"type": type_, **spec}, "status": status or {}}


@pytest.mark.parametrize(
    ("obj", "state", "text"),
    [
        (lb(), State.WAITING, "no address"),
        (lb({"conditions": [said("Accepted", generation=1)]} | ADDRESS), State.WAITING, "not looked at"),
        (
            lb({"conditions": [said("Accepted", "False", "PortNotAllowed", "no grant")]}),
            State.REFUSED,
            "PortNotAllowed",
        ),
        (lb({"conditions": GOOD[:2]} | ADDRESS), State.WAITING, "configured"),
        (
            lb({"conditions": [*GOOD[:2], said("Programmed", "False", "NoReadyProxies", "none is ready")]} | ADDRESS),
            State.WAITING,
            "NoReadyProxies: none is ready",
        ),
        (lb({"conditions": GOOD}), State.WAITING, "no address"),
        (lb({"conditions": GOOD} | ADDRESS), State.READY, "192.0.2.1, lb.example.com"),
        (lb({"conditions": GOOD}, "ClusterIP"), State.READY, "inside"),
        (lb({"conditions": GOOD}, "ClusterIP", wildcard=True), State.WAITING, "no host name"),
        (
            lb(
                {"conditions": GOOD, "hostname": {"hostname": "a.b", "dnsRecordCreated": False}},
                "ClusterIP",
                hostname="a.b",
            ),
            State.WAITING,
            "a.b does not resolve",
        ),
        (
            lb(
                {"conditions": GOOD, "hostname": {"hostname": "a.b", "dnsRecordCreated": True}},
                "ClusterIP",
                wildcard=True,
            ),
            State.READY,
            "a.b",
        ),
        # A manager of the original writes no conditions.
        (lb(ADDRESS), State.READY, "192.0.2.1"),
        (lb({}, "ClusterIP"), State.WAITING, "not looked at"),
        (lb({"service": {"ports": [{"port": 80}]}}, "ClusterIP"), State.READY, "inside"),
    ],
)
def test_standing(obj, state, text):
    found = standing(obj)
    assert found.state == state
    assert text in found.text


def test_a_cause_is_told_once():
    echo = said("Programmed", "False", "NotAccepted", "because")
    obj = lb({"conditions": [echo, said("ResolvedRefs", "Unknown"), said("Accepted", "False", "InvalidSpec", "bad")]})
    assert [item["reason"] for item in wrong(obj)] == ["InvalidSpec"]
