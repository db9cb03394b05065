"""What stands around a fleet's pods comes with them, follows its settings, and goes with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from feature_world import NAMESPACE, POD_MONITOR_CRD, RELEASE_SECONDS, World, running, typed, until

from kubelb_common import names
from kubelb_common.api import crd_schema
from kubelb_common.kube import resources
from kubelb_common.testing.fake_kube import FakeKube

NAME = f"envoy-{NAMESPACE}"
GUARDS = (
    (resources.DISRUPTION_BUDGETS, NAME),
    (resources.NETWORK_POLICIES, "envoy-proxy"),
    (resources.POD_MONITORS, "envoy-proxy"),
)


@pytest.fixture
async def monitored() -> AsyncIterator[World]:
    """A hub with the Prometheus operator."""
    crds = [*crd_schema.crds(), POD_MONITOR_CRD]
    async with running(FakeKube(namespaces=["kubelb"], crds=crds, garbage_collection=True)) as world:
        yield world


async def configure(world: World, **envoy_proxy: Any) -> None:
    spec = {"envoyProxy": envoy_proxy}
    if world.get(resources.CONFIGS, names.CONFIG_NAME, "kubelb") is None:
        body = {"metadata": {"name": names.CONFIG_NAME}, "spec": spec}
        await world.kube.create(resources.CONFIGS, typed(resources.CONFIGS, body), "kubelb")
    else:
        await world.kube.patch(resources.CONFIGS, names.CONFIG_NAME, {"spec": spec}, "kubelb")


def blocks(world: World) -> set[str]:
    policy = world.get(resources.NETWORK_POLICIES, "envoy-proxy")
    assert policy is not None
    peers = [peer for rule in policy["spec"]["egress"] for peer in rule.get("to", ())]
    return {peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer}


async def test_guards_come_and_go_with_the_pods(monitored: World) -> None:
    world = monitored
    await configure(world, podMonitor={"enabled": True}, holdDown="0s")
    await world.onboard()
    await world.quiet()
    assert all(world.get(resource, name) is None for resource, name in GUARDS)
    await world.load_balancer("lb1", 80, 30100)
    for resource, name in GUARDS:
        await until(lambda: world.get(resource, name), f"a {resource.kind}")  # noqa: B023
    template = (world.get(resources.DEPLOYMENTS, NAME) or {})["spec"]["template"]
    assert names.LABEL_FLEET in template["metadata"]["labels"]
    assert "annotations" not in template["metadata"], "the PodMonitor scrapes, nobody else"
    monitor = world.get(resources.POD_MONITORS, "envoy-proxy") or {}
    assert monitor["spec"]["selector"] == {"matchExpressions": [{"key": names.LABEL_FLEET, "operator": "Exists"}]}
    ports = [port["name"] for container in template["spec"]["containers"] for port in container["ports"]]
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports
    assert world.kube.wasted_writes() == []

    await configure(world, podMonitor={"enabled": False}, networkPolicy={"disable": True})
    for resource, name in GUARDS[1:]:
        await until(lambda: world.get(resource, name) is None, f"no {resource.kind}")  # noqa: B023
    await configure(world, networkPolicy={"disable": False}, useDaemonset=True)
    await until(lambda: world.get(resources.NETWORK_POLICIES, "envoy-proxy"), "a NetworkPolicy again")
    await world.kube.delete(resources.LOAD_BALANCERS, "lb1", NAMESPACE)
    for resource, name in GUARDS:
        await until(lambda: world.get(resource, name) is None, f"no {resource.kind}", seconds=RELEASE_SECONDS)  # noqa: B023


async def test_a_hub_without_the_prometheus_operator(world: World) -> None:
    """Edge case 43: nothing fails, and the rest is there."""
    await configure(world, podMonitor={"enabled": True})
    await world.onboard()
    await world.load_balancer("lb1", 80, 30100)
    for resource, name in GUARDS[:2]:
        await until(lambda: world.get(resource, name), f"a {resource.kind}")  # noqa: B023
    tenant = world.kube.peek(resources.TENANTS, "a") or {}
    assert tenant["status"]["phase"] == "Ready"


async def test_the_border_follows_the_tenants_nodes(world: World) -> None:
    await world.onboard()
    await world.load_balancer("lb1", 80, 30100)
    await until(lambda: world.get(resources.NETWORK_POLICIES, "envoy-proxy"), "a NetworkPolicy")
    assert blocks(world) == {"192.0.2.11/32", "192.0.2.12/32"}
    spec = {"spec": {"addresses": [{"ip": "192.0.2.12"}, {"ip": "192.0.2.99"}, {"ip": "169.254.169.254"}]}}
    await world.kube.patch(resources.ADDRESSES, "default", spec, NAMESPACE)
    await until(lambda: blocks(world) == {"192.0.2.12/32", "192.0.2.99/32"}, "the new nodes")
    # What becomes a node of the hub is no tenant's any more.
    node = {"metadata": {"name": "hub-1"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.99"}]}}
    await world.kube.create(resources.NODES, node)
    await until(lambda: blocks(world) == {"192.0.2.12/32"}, "the hub's node is out of reach")


async def test_what_is_edited_or_deleted_by_hand_comes_back(world: World) -> None:
    await world.onboard()
    await world.load_balancer("lb1", 80, 30100)
    edits = ({"spec": {"maxUnavailable": 5}}, {"spec": {"egress": [{}]}})
    for (resource, name), edit in zip(GUARDS[:2], edits, strict=True):
        await until(lambda: world.get(resource, name), f"a {resource.kind}")  # noqa: B023
        good = (world.get(resource, name) or {})["spec"]
        await world.kube.patch(resource, name, edit, NAMESPACE)
        await until(lambda: (world.get(resource, name) or {})["spec"] == good, "put right")  # noqa: B023
        await world.kube.delete(resource, name, NAMESPACE)
        await until(lambda: world.get(resource, name), "back")  # noqa: B023
