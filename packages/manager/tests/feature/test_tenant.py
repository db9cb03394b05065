"""A tenant comes and goes."""

from __future__ import annotations

import base64
import json

import pytest
from feature_world import RELEASE_SECONDS, World, typed, until

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.objects import conditions, view


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


async def test_rotation_keeps_the_old_token_for_the_overlap(world: World) -> None:
    await world.onboard()
    ask = {names.ANNOTATION_TOKEN_GENERATION: "2", names.ANNOTATION_TOKEN_OVERLAP: "1h"}
    await world.kube.patch(resources.TENANTS, "a", {"metadata": {"annotations": ask}})
    await world.fill_token("kubelb-ccm-2", "fresh")
    await until(lambda: world.token() == "fresh", "the kubeconfig carries the new token")

    def told() -> dict:
        return world.kube.peek(resources.TENANTS, "a").get("status", {}).get("credential", {})

    await until(lambda: told().get("previousUntil"), "the Tenant says until when the old one works")
    assert told()["generation"] == 2
    assert world.get(resources.SECRETS, "kubelb-ccm") is not None
    await world.kube.patch(
        resources.TENANTS, "a", {"metadata": {"annotations": {names.ANNOTATION_TOKEN_OVERLAP: "0s"}}}
    )
    await until(lambda: world.get(resources.SECRETS, "kubelb-ccm") is None, "the old token is revoked")
    await until(lambda: "previousUntil" not in told(), "the Tenant says so")
    assert world.token() == "fresh"
    await world.quiet()
    world.kube.forget_requests()
    world.kube.break_watches()
    await world.quiet()
    assert world.kube.writes() == []


async def test_an_old_agents_rights_are_a_switch(world: World) -> None:
    await world.onboard()

    def status_verbs() -> list[str]:
        role = world.get(resources.ROLES, "kubelb-ccm")
        return next(rule["verbs"] for rule in role["rules"] if "routes/status" in rule["resources"])

    assert status_verbs() == ["get"]
    await world.kube.patch(resources.TENANTS, "a", {"spec": {"legacyAgent": True}})
    await until(lambda: status_verbs() == ["get", "patch", "update"], "the original's agent may write status")
    await world.kube.patch(resources.TENANTS, "a", {"spec": {"legacyAgent": None}})
    await until(lambda: status_verbs() == ["get"], "taken back")


@pytest.mark.parametrize("name", ["tenant-a", "a" * 57, "a.b"])
async def test_a_name_that_cannot_be_is_refused_and_touches_nobody(world: World, name: str) -> None:
    """An API server with our CRD refuses it at creation; this one has no CEL rules, as an older one has not."""
    await world.onboard()
    await world.quiet()
    before = world.get(resources.NAMESPACES, "tenant-a", None)
    metadata = {"name": name, "finalizers": [names.FINALIZER]}  # as an older release held it
    bad = typed(resources.TENANTS, {"metadata": metadata, "spec": {}})
    await world.kube.create(resources.TENANTS, bad)

    def ready() -> dict:
        tenant = world.kube.peek(resources.TENANTS, name) or {}
        return dict(conditions.find(view.objects(tenant, "status", "conditions"), "Ready") or {})

    await until(lambda: ready().get("reason") == "InvalidName", "a condition says so")
    await world.kube.delete(resources.TENANTS, name)
    await until(lambda: world.kube.peek(resources.TENANTS, name) is None, "it goes without ado")
    await world.quiet()
    assert world.get(resources.NAMESPACES, "tenant-a", None) == before
    assert world.kube.peek(resources.TENANTS, "a")["status"]["phase"] == "Ready"


async def test_the_same_name_at_once_is_a_new_tenant(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.backend("a.example.com"), "served")
        await world.kube.delete(resources.TENANTS, "a")
        await until(lambda: world.kube.peek(resources.TENANTS, "a") is None, "gone", seconds=RELEASE_SECONDS)
    assert world.get(resources.SECRETS, "kubelb-ccm") is None
    await world.onboard()
    assert world.kube.objects(resources.ROUTES) == []
    await world.route("r1", "a.example.com", {"echo": 30002})
    await world.certificate()  # of its own, though the former tenant's was looked at a moment ago
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: "/30002/" in envoy.backend("a.example.com"), "served again")
        assert not envoy.faults


async def _lose(world: World) -> None:
    """Somebody takes the finalizer off a Tenant that is being deleted; the garbage collector deletes its namespace."""
    await world.kube.delete(resources.TENANTS, "a")
    await world.kube.patch(resources.TENANTS, "a", {"metadata": {"finalizers": None}})
    assert world.kube.peek(resources.TENANTS, "a") is None


async def test_what_a_lost_tenant_left_is_swept_when_another_takes_its_name(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    theirs = {"metadata": {"finalizers": [names.FINALIZER, "example.com/never"]}}
    await world.kube.patch(resources.ROUTES, "r1", theirs, "tenant-a")
    before = view.uid(world.get(resources.NAMESPACES, "tenant-a", None))
    await _lose(world)
    body = typed(resources.TENANTS, {"metadata": {"name": "a"}, "spec": {}})
    await world.kube.create(resources.TENANTS, body)

    def fresh() -> bool:
        namespace = world.get(resources.NAMESPACES, "tenant-a", None)
        return namespace is not None and view.uid(namespace) != before

    await until(fresh, "a namespace of its own", seconds=RELEASE_SECONDS)
    await world.fill_token("kubelb-ccm", "other")
    await until(lambda: world.token() == "other", "a credential of its own")
    assert world.kube.objects(resources.ROUTES) == []
