"""Pods of the lab behave as pods of a kubelet where the product depends on it.

On kind a real kubelet runs them: what passes on both shows that the local node agent is a faithful copy.
"""

from __future__ import annotations

from typing import Any

import pytest

from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import conditions, view
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.scenario import Environment, Tenant

TOOLS = "kubelb/tools:0.1.0"
#: No registry has it: the domain cannot exist (RFC 6761).
NOWHERE = "images.invalid/nothing:1"
#: Asks the API server as the pod's ServiceAccount for what it may not see; the answer becomes the pod's message.
ASK = """
import os, ssl, urllib.error, urllib.request as u
D = "/var/run/secrets/kubernetes.io/serviceaccount/"
url = "https://kubernetes.default.svc:" + os.environ["KUBERNETES_SERVICE_PORT"] + "/api/v1/namespaces/default/secrets"
ask = u.Request(url, headers={"Authorization": "Bearer " + open(D + "token").read()})
try:
    answer = u.urlopen(ask, context=ssl.create_default_context(cafile=D + "ca.crt"), timeout=10)
except urllib.error.HTTPError as error:
    answer = error
open("/dev/termination-log", "w").write(answer.read().decode())
"""
STAY = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


def pod(tenant: Tenant, name: str, script: str, **spec: Any) -> Object:
    container = {"name": "main", "image": tenant.image(TOOLS), "args": ["-c", script], **spec.pop("container", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 10, **spec, "containers": [container]},
    }


def state(found: Object) -> Object:
    return view.get(found, "status", "containerStatuses", 0, default={})


async def message(env: Environment, tenant: Tenant, name: str) -> str:
    """Return what the pod's last run wrote to its termination log, once it ended."""

    async def ended() -> str:
        terminated = view.get(state(await tenant.get(resources.PODS, name)), "state", "terminated")
        assert terminated, f"pod {name} has not ended"
        return str(terminated.get("message", ""))

    return await env.wait.eventually("pod", ended)


async def ready(env: Environment, tenant: Tenant, name: str, *, wanted: bool = True) -> Object:
    async def check() -> Object:
        found = await tenant.get(resources.PODS, name)
        assert conditions.is_true(view.objects(found, "status", "conditions"), "Ready") is wanted, found.get("status")
        return found

    return await env.wait.eventually("pod", check)


def processes(env: Environment, word: str) -> list[str]:
    """Return the lab's processes whose command line holds `word`."""
    done = env.lab.run(["ps", "-eo", "args"])
    return [line for line in done.stdout.splitlines() if word in line and "ps -eo" not in line]


async def test_token_works_in_the_cluster(env: Environment) -> None:
    """The projected token and CA are accepted through the API server's Service, as this pod's ServiceAccount."""
    await env.tenant.apply(resources.PODS, pod(env.tenant, "token", f"python3 -c '{ASK}'", restartPolicy="Never"))
    text = await message(env, env.tenant, "token")
    assert f"system:serviceaccount:{env.tenant.namespace}:default" in text
    assert "Forbidden" in text


@pytest.mark.needs(Capability.QUICK_VOLUMES)
async def test_config_map_volume_follows_its_object(env: Environment) -> None:
    """A change arrives in the running container; a pod whose ConfigMap is missing starts when that appears."""
    tenant = env.tenant
    script = "until grep -q new /conf/key; do sleep 0.1; done; echo seen > /dev/termination-log"
    wanted = pod(tenant, "conf", script, restartPolicy="Never", volumes=[{"name": "c", "configMap": {"name": "conf"}}])
    wanted["spec"]["containers"][0]["volumeMounts"] = [{"name": "c", "mountPath": "/conf"}]
    await tenant.apply(resources.PODS, wanted)

    async def waits() -> None:
        reason = view.text(state(await tenant.get(resources.PODS, "conf")), "state", "waiting", "reason")
        assert reason == "ContainerCreating", reason

    await env.wait.eventually("pod", waits)
    await tenant.apply(resources.CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"key": "old"}})

    async def runs() -> None:
        assert "running" in view.get(state(await tenant.get(resources.PODS, "conf")), "state", default={})

    await env.wait.eventually("pod", runs)
    await tenant.client.patch(resources.CONFIG_MAPS, "conf", {"data": {"key": "new"}}, tenant.namespace)
    assert await message(env, tenant, "conf") == "seen\n"


async def test_a_crash_restarts_at_once_and_then_backs_off(env: Environment) -> None:
    """The first restart is immediate; after the second crash the container waits."""
    await env.tenant.apply(resources.PODS, pod(env.tenant, "crash", "exit 3"))

    async def backs_off() -> None:
        found = state(await env.tenant.get(resources.PODS, "crash"))
        assert view.text(found, "state", "waiting", "reason") == "CrashLoopBackOff", found
        assert found["restartCount"] == 1
        assert view.get(found, "lastState", "terminated", "exitCode") == 3

    await env.wait.eventually("pod", backs_off)


async def test_readiness_moves_the_endpoint(env: Environment) -> None:
    """An EndpointSlice lists the pod as ready only while its probe passes."""
    tenant = env.tenant
    script = f"(sleep 2; touch /tmp/ok; sleep 3; rm /tmp/ok) & {STAY}"
    probe = {"exec": {"command": ["test", "-e", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    await tenant.apply(resources.PODS, pod(tenant, "gate", script, container={"readinessProbe": probe}))
    await tenant.service("gate", app="gate")

    async def endpoint(wanted: bool) -> None:
        slices = await tenant.client.list(
            resources.ENDPOINT_SLICES, tenant.namespace, label_selector="kubernetes.io/service-name=gate"
        )
        found = [end["conditions"]["ready"] for item in slices.items for end in item.get("endpoints") or []]
        assert found == [wanted], found

    for wanted in (False, True, False):
        await env.wait.eventually("pod", lambda wanted=wanted: endpoint(wanted))


@pytest.mark.needs(Capability.POD_PROCESSES, Capability.KEPT_LOGS)
async def test_pre_stop_comes_before_sigterm_and_nothing_is_left(env: Environment) -> None:
    """The hook ends before the signal is sent; after the deletion no process of the pod runs."""
    tenant, mark = env.tenant, f"mark-{env.tenant.namespace}"
    script = f": {mark}; trap 'cat /tmp/order; echo term; exit 0' TERM; while :; do sleep 0.1; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "sleep 1; echo hook > /tmp/order"]}}}
    await tenant.apply(resources.PODS, pod(tenant, "order", script, container={"lifecycle": hook}))
    await ready(env, tenant, "order")
    assert processes(env, mark)
    await tenant.delete(resources.PODS, "order")
    await env.wait.eventually("removed", lambda: tenant.gone(resources.PODS, "order"))
    assert processes(env, mark) == []
    (log,) = env.lab.logs(f"{tenant.namespace}/order", cluster=tenant.name)
    assert log.text == "hook\nterm\n"


async def test_an_unknown_image_is_told(env: Environment) -> None:
    """An image that is not in the catalogue leaves the pod waiting with ErrImagePull."""
    await env.tenant.apply(resources.PODS, pod(env.tenant, "odd", "true", container={"image": NOWHERE}))

    async def told() -> None:
        waiting = view.get(state(await env.tenant.get(resources.PODS, "odd")), "state", "waiting", default={})
        assert waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff"), waiting
        assert NOWHERE in waiting["message"]

    await env.wait.eventually("pod", told)
