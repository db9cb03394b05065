"""Environment, command and arguments as a kubelet composes them."""

from __future__ import annotations

import base64

import pytest

from kubelb_e2e.catalogue import Image
from kubelb_e2e.clusters.local.agent import env, fields

POD = {"metadata": {"name": "web-0", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}}, "spec": {}}
FACTS = fields.Facts("node-1", ("10.99.10.1",), ("10.244.1.2", "fd99:244::2"))
IMAGE = Image(command=("/bin/app",), args=("serve",), env={"A": "image"})


class Objects:
    def config_map(self, name):
        return {"metadata": {"name": "conf", "namespace": "shop"}, "data": {"k": "v"}} if name == "conf" else None

    def secret(self, name):
        data = {"password": base64.b64encode(b"hush").decode()}
        return {"metadata": {"name": "sec", "namespace": "shop"}, "data": data} if name == "sec" else None


def environment(*items, **more):
    context = env.EnvContext(POD, FACTS, Objects(), env.service_env("10.96.0.1"))
    return env.environment({"name": "c", "env": list(items), **more}, IMAGE, context)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A) $(B)", "1 $(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $(A", "$A $(A"),
        ("cost: 5$", "cost: 5$"),
        ("$()", "$()"),
    ],
)
def test_expansion(text, expanded):
    assert env.expand(text, {"A": "1"}) == expanded


def test_later_definitions_win_and_refer_to_earlier_ones():
    found = environment({"name": "A", "value": "own"}, {"name": "B", "value": "$(A)-$(C)"}, {"name": "C", "value": "x"})
    assert (found["A"], found["B"]) == ("own", "own-$(C)")


def test_values_from_elsewhere_are_not_expanded():
    found = environment(
        {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "password"}}},
        {"name": "NO", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
        envFrom=[{"prefix": "C_", "configMapRef": {"name": "conf"}}],
    )
    assert (found["N"], found["IP"], found["P"], found["C_k"]) == ("web", "10.244.1.2", "hush", "v")
    assert "NO" not in found
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"


@pytest.mark.parametrize(
    "source",
    [
        {"secretKeyRef": {"name": "none", "key": "k"}},
        {"secretKeyRef": {"name": "sec", "key": "none"}},
        {"fieldRef": {"fieldPath": "spec.unheardOf"}},
    ],
)
def test_a_missing_reference_is_named(source):
    with pytest.raises(env.MissingReference):
        environment({"name": "X", "valueFrom": source})


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({}, ("/bin/app", "serve")),
        ({"args": ["$(A)"]}, ("/bin/app", "image")),
        ({"command": ["sh"]}, ("sh",)),
        ({"command": ["sh"], "args": ["-c"]}, ("sh", "-c")),
    ],
)
def test_command_line(container, words):
    assert env.command_line(container, IMAGE, {"A": "image"}) == words


def test_resource_field_is_rounded_up_to_the_divisor():
    containers = {"c": {"resources": {"limits": {"memory": "65Mi", "cpu": "1500m"}}}}
    assert fields.resource(containers, {"resource": "limits.memory", "divisor": "10Mi"}, "c") == "7"
    assert fields.resource(containers, {"resource": "limits.cpu"}, "c") == "2"
