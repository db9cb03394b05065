"""LoadBalancer addresses of the lab: what every other scenario stands on."""

from __future__ import annotations

import json

import pytest

from kubelb_common.kube import resources
from kubelb_common.objects import conditions, view
from kubelb_common.testing import builders
from kubelb_e2e.scenario import ECHO_HTTP, ECHO_IMAGE, Environment, echo


async def test_an_address_follows_its_pods(env: Environment) -> None:
    """With externalTrafficPolicy Local the address is where a ready pod is, moves with it, and shows who asks."""
    client, namespace = env.management, env.tenant.namespace
    nodes = sorted(view.name(node) for node in (await client.list(resources.NODES)).items)
    if len(nodes) < 2:
        pytest.skip("needs two nodes in the management cluster")
    wanted = echo("echo", namespace, image=env.lab.image(ECHO_IMAGE))
    wanted["spec"]["template"]["spec"]["nodeName"] = nodes[0]
    service = builders.service("direct", namespace).selector(app="echo").build()
    service["spec"] |= {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "ports": [{"port": 80, "targetPort": ECHO_HTTP, "protocol": "TCP"}],
    }
    await client.create(resources.NAMESPACES, {"metadata": {"name": namespace}})
    try:
        await client.create(resources.DEPLOYMENTS, wanted, namespace)
        await client.create(resources.SERVICES, service, namespace)

        async def address() -> str:
            live = await client.get(resources.SERVICES, "direct", namespace)
            found = view.text(live, "status", "loadBalancer", "ingress", 0, "ip")
            assert found, "no address yet"
            return found

        given = await env.wait.eventually("served", address)
        asked_by = await env.wait.eventually("served", lambda: _answered_on(env, given, nodes[0]))
        move = {"spec": {"template": {"spec": {"nodeName": nodes[1]}}}}
        await client.patch(resources.DEPLOYMENTS, "echo", move, namespace)
        again = await env.wait.eventually("served", lambda: _answered_on(env, given, nodes[1]))
        assert await address() == given, "it is the same address"
        hosts = [host for node in env.lab.cluster_names for host in env.lab.node_addresses(node)]
        assert asked_by == again
        assert asked_by not in hosts, "no node stands between"
    finally:
        await client.delete(resources.NAMESPACES, namespace)


async def _answered_on(env: Environment, address: str, node: str) -> str:
    """Return who asks in the eyes of the pod, once the only ready one is on `node` and answers."""
    pods = (await env.management.list(resources.PODS, env.tenant.namespace, label_selector="app=echo")).items
    here = [pod for pod in pods if conditions.is_true(view.objects(pod, "status", "conditions"), "Ready")]
    assert [view.text(pod, "spec", "nodeName") for pod in here] == [node]
    answer = await env.traffic.get(address, "direct.example.com", timeout=1)
    assert answer.pod == view.name(here[0]), f"{answer.status} {answer.error} from {answer.pod!r}"
    return str(json.loads(answer.body)["client"])
