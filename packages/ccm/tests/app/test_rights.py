"""The rights in deploy/ccm.yaml are exactly those of the requests that the agent makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kubelb_common.kube import resources
from kubelb_common.kube.errors import AlreadyExists
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime
DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFEST = DEPLOY / "ccm.yaml"
#: What is applied besides to have Secrets synced.
SECRETS = DEPLOY / "secrets.yaml"
TENANT_ROLE = {
    "loadbalancers.kubelb.k8c.io",
    "routes.kubelb.k8c.io",
    "addresses.kubelb.k8c.io",
    "syncsecrets.kubelb.k8c.io",
}


def granted(manifest):
    found = set()
    kinds = ["ClusterRole", "Role"] if manifest == MANIFEST else ["ClusterRole"]
    roles = [item for item in yaml.safe_load_all(manifest.read_text()) if item["kind"].endswith("Role")]
    assert [item["kind"] for item in roles] == kinds
    for rule in (rule for role in roles for rule in role["rules"]):
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                plural, _, sub = resource.partition("/")
                name = f"{plural}.{group}" if group else plural
                found |= {(verb, f"{name}/{sub}" if sub else name) for verb in rule["verbs"]}
    return found


async def everything(world):
    """Walk every way on which the agent makes requests."""
    await coming_and_going(world)
    await stranded(world)


async def coming_and_going(world):
    """Objects of each kind come, change and go."""
    world.options["leader_election"] = True
    exists = AlreadyExists(409, "AlreadyExists", "it is there")
    world.tenant.fail_next("create", resources.ENDPOINT_SLICES, exists, after=True)
    world.put_service(builders.service("web", "shop").port(80, name="http").selector())
    world.tenant.put(resources.ENDPOINT_SLICES, builders.endpoint_slice("web", "shop").endpoint("10.1.0.1").build())
    world.manager.verdicts["ResolvedRefs"] = ("False", "BackendNotFound", "no")
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    world.put_ingress(builders.ingress("gone", "shop").rule("b.example.com", "/", "web", 80))
    world.put_service(builders.service("db", "shop").port(5432).load_balancer())
    put_sync_secret(world, "own")
    put_sync_secret(world, "gone")
    await world.start()
    change = {"endpoints": [{"addresses": ["10.1.0.2"]}]}
    world.tenant.store.patch(resources.ENDPOINT_SLICES, "web-1", change, "shop", subresource=None)
    world.change(resources.SERVICES, "web", {"spec": {"publishNotReadyAddresses": True}})
    world.change(resources.SERVICES, "db", {"spec": {"sessionAffinity": "ClientIP"}})
    world.tenant.put(resources.NODES, builders.node("node-2", "10.0.0.2").build())
    await world.quiet()
    world.delete(resources.ENDPOINT_SLICES, "web-1")
    await world.quiet()
    await world.stop()
    world.tenant.store.patch(resources.INGRESSES, "gone", {"metadata": {"finalizers": None}}, "shop", subresource=None)
    world.delete(resources.INGRESSES, "gone")
    world.change(resources.SYNC_SECRETS, "gone", {"metadata": {"finalizers": None}})
    world.delete(resources.SYNC_SECRETS, "gone")
    await world.start()
    world.delete(resources.INGRESSES, "web")
    world.delete(resources.SERVICES, "db")
    world.delete(resources.SYNC_SECRETS, "own")
    await world.until(lambda: not world.routes() and not world.load_balancers() and not world.service("web-nodeport"))
    await world.until(lambda: "shop/own" not in world.sync_secrets())


async def stranded(world):
    """A namespace is deleted while the hub is away."""
    world.put_ingress(builders.ingress("stranded", "shop").rule("c.example.com", "/", "web", 80))
    put_sync_secret(world, "stranded")
    await world.quiet()
    await world.stop()
    world.options["release_after"] = 60
    await world.start()
    world.hub.stop()
    world.tenant.store.delete(resources.NAMESPACES, "shop", None)
    await world.until(lambda: world.ingress("stranded") is None, seconds=200)
    await world.until(lambda: not world.tenant.objects(resources.SYNC_SECRETS, "shop"))


def put_sync_secret(world, name):
    metadata = {"name": name, "namespace": "shop"}
    world.tenant.put(
        resources.SYNC_SECRETS, {"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "SyncSecret", "metadata": metadata}
    )


async def secrets_too(world):
    """Walk the ways of Secrets."""
    world.options["enable_secret_synchronizer"] = True
    secret = builders.secret("tls", "shop", a="MQ==").build()
    secret["metadata"]["labels"] = {"kubelb.k8c.io/managed-by": "kubelb"}
    world.tenant.put(resources.SECRETS, secret)
    await coming_and_going(world)
    world.change(resources.SECRETS, "tls", {"data": {"a": "Mg=="}})
    await world.quiet()
    world.change(resources.SECRETS, "tls", {"metadata": {"labels": None}})
    await world.until(lambda: not world.sync_secrets())
    await stranded(world)


def used(world):
    return {(entry.verb, entry.resource) for entry in world.tenant.requests()}


async def test_the_role_grants_what_is_used_and_nothing_else(world):
    await everything(world)
    assert used(world) == granted(MANIFEST)


async def test_rights_for_secrets_are_apart(world):
    assert not {resource for _, resource in granted(MANIFEST) if resource == "secrets"}
    await secrets_too(world)
    assert used(world) == granted(MANIFEST) | granted(SECRETS)
    assert granted(MANIFEST) & granted(SECRETS) == set()


async def test_only_one_namespace_is_looked_at(world):
    await world.start()
    (role,) = [item for item in yaml.safe_load_all(MANIFEST.read_text()) if item["kind"] == "ClusterRole"]
    rules = [rule for rule in role["rules"] if rule["resources"] == ["namespaces"]]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in rules] == [
        (["list", "watch"], ["kube-system"]),
        (["get"], None),
    ]


async def test_in_the_management_cluster_only_the_tenants_role_is_needed(world):
    await secrets_too(world)
    for entry in world.hub.requests():
        assert entry.namespace == "tenant-a"
        assert entry.resource in TENANT_ROLE or (
            entry.resource == "tenantstates.kubelb.k8c.io" and entry.verb in {"list", "watch"}
        )
