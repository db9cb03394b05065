"""A tenant comes and goes."""

from __future__ import annotations

import base64
import json

from feature_world import RELEASE_SECONDS, World, until

from kubelb_common.kube import resources


async def test_onboarding_gives_a_namespace_and_a_credential(world: World) -> None:
    await world.onboard()
    secret = world.get(resources.SECRETS, "kubelb-ccm-kubeconfig")
    config = json.loads(base64.b64decode(secret["data"]["kubelb"]))
    assert config["clusters"][0]["cluster"]["server"] == "https://192.0.2.1:6443"
    assert config["contexts"][0]["context"]["namespace"] == "tenant-a"
    await until(
        lambda: (world.kube.peek(resources.TENANTS, "a") or {}).get("status", {}).get("phase") == "Ready", "Ready"
    )
    role = world.get(resources.ROLES, "kubelb-ccm")
    writing = [rule for rule in role["rules"] if any("/status" in item for item in rule["resources"])]
    assert all(rule["verbs"] == ["get"] for rule in writing)


async def test_removal_drains_and_leaves_nothing(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.load_balancer("lb1", 80, 30100)
    theirs = {"metadata": {"finalizers": ["kubelb.k8c.io/cleanup", "tenant.example.com/never"]}}
    for resource, name in ((resources.ROUTES, "r1"), (resources.LOAD_BALANCERS, "lb1")):
        await world.kube.patch(resource, name, theirs, "tenant-a")
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.backend("a.example.com"), "served")
        await world.kube.delete(resources.TENANTS, "a")
        await until(lambda: not envoy.backend("a.example.com"), "traffic goes first")
        await until(
            lambda: world.kube.peek(resources.TENANTS, "a") is None, "the Tenant is gone", seconds=RELEASE_SECONDS
        )
    assert world.kube.peek(resources.NAMESPACES, "tenant-a") is None
    assert world.kube.objects(resources.ROUTES) == []


async def test_idle_means_no_write(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy():
        await world.ready_pods("envoy-0")
        await world.address("envoy-ingress", "198.51.100.1")
        await until(lambda: world.condition(resources.ROUTES, "r1", "Programmed").get("status") == "True", "programmed")

        def copied() -> bool:
            copies = world.kube.objects(resources.INGRESSES)
            return bool(copies and copies[0].get("status", {}).get("loadBalancer", {}).get("ingress"))

        await until(copied, "the copy's status, the last of the writes")
        await world.quiet()
        world.kube.forget_requests()
        world.kube.break_watches()
        world.manager.snapshot.everybody_again()
        await world.quiet()
        assert world.kube.writes() == []


async def test_nothing_is_written_twice(world: World) -> None:
    """In the life of a tenant no write of the manager is refused or repeats what the API server has."""
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.load_balancer("lb1", 5432, 30100)
    await world.certificate()
    async with world.envoy():
        await world.ready_pods("envoy-0")
        await world.address("envoy-ingress", "198.51.100.1")
        await world.address("envoy-lb1", "198.51.100.2")
        for resource, name in ((resources.ROUTES, "r1"), (resources.LOAD_BALANCERS, "lb1")):
            await until(lambda: world.condition(resource, name, "Programmed").get("status") == "True", name)  # noqa: B023
        await world.quiet()
        await world.kube.delete(resources.ROUTES, "r1", "tenant-a")
        await world.kube.delete(resources.LOAD_BALANCERS, "lb1", "tenant-a")
        await until(lambda: world.get(resources.ROUTES, "r1") is None, "the Route goes", seconds=RELEASE_SECONDS)
        await until(
            lambda: world.get(resources.LOAD_BALANCERS, "lb1") is None, "the LoadBalancer goes", seconds=RELEASE_SECONDS
        )
        await world.quiet()
    await world.kube.delete(resources.TENANTS, "a")
    await until(lambda: world.kube.peek(resources.TENANTS, "a") is None, "the Tenant is gone", seconds=RELEASE_SECONDS)
    await world.quiet()
    assert world.kube.wasted_writes() == []
