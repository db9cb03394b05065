"""What a tenant's objects do not reach, and what is said of a tenant that is two."""

from __future__ import annotations

import copy

from feature_world import NAMESPACE, NODES, World, typed, until

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.objects import conditions, view
from kubelb_manager.xds.resources import ENDPOINTS


async def test_the_api_server_is_no_endpoint(world: World) -> None:
    """Not as a node either, and not when it comes to run elsewhere."""
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})

    def resolved() -> str:
        return str(world.condition(resources.ROUTES, "r1", "ResolvedRefs").get("reason"))

    await until(lambda: resolved() == "ResolvedRefs", "the nodes are usable")
    nodes = {"spec": {"addresses": [{"ip": "192.0.2.1"}]}}
    await world.kube.patch(resources.ADDRESSES, "default", nodes, NAMESPACE)
    await until(lambda: resolved() == "AddressNotAllowed", "the API server")
    moved = {"endpoints": [{"addresses": ["192.0.2.2"]}]}
    await world.kube.patch(resources.ENDPOINT_SLICES, "kubernetes", moved, "default")
    await until(lambda: resolved() == "ResolvedRefs", "another address by now")
    await world.kube.patch(resources.ADDRESSES, "default", {"spec": {"addresses": [{"ip": "192.0.2.2"}]}}, NAMESPACE)
    await until(lambda: resolved() == "AddressNotAllowed", "the API server, where it is now")


async def test_several_clusters_of_one_tenant_are_told(world: World) -> None:
    await world.onboard()
    await world.kube.patch(
        resources.ADDRESSES, "default", {"metadata": {"labels": {names.LABEL_ORIGIN_CLUSTER: "one"}}}, NAMESPACE
    )

    def told() -> dict[str, object]:
        tenant = world.kube.peek(resources.TENANTS, "a") or {}
        return dict(conditions.find(view.objects(tenant, "status", "conditions"), "OneCluster") or {})

    await until(lambda: told().get("status") == "True", "one cluster")
    second = {
        "metadata": {"name": "two", "labels": {names.LABEL_ORIGIN_CLUSTER: "two"}},
        "spec": {"addresses": [{"ip": "192.0.2.77"}]},
    }
    await world.kube.create(resources.ADDRESSES, typed(resources.ADDRESSES, second), NAMESPACE)
    await until(lambda: told().get("reason") == "SeveralClusters", "two")
    assert "2 clusters use this tenant's credential: one, two." in str(told()["message"])
    found = [event for event in world.kube.objects(resources.EVENTS) if event["reason"] == "SeveralClusters"]
    assert [event["involvedObject"]["name"] for event in found] == ["a"]
    await world.kube.delete(resources.ADDRESSES, "two", NAMESPACE)
    await until(lambda: told().get("status") == "True", "one again")


async def test_a_tenant_takes_no_other_tenants_nodes(world: World) -> None:
    """Who lists another's nodes neither reaches them nor makes them unusable for the other."""
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await until(lambda: envoy.backend("a.example.com"), "served")
        before = dict(envoy.has[ENDPOINTS])
        await world.kube.create(resources.TENANTS, typed(resources.TENANTS, {"metadata": {"name": "b"}, "spec": {}}))
        await until(lambda: world.kube.peek(resources.NAMESPACES, "tenant-b"), "its namespace")
        taken = {"metadata": {"name": "default"}, "spec": {"addresses": [{"ip": ip} for ip in NODES]}}
        # Second by name where both come within one second of the API server's clock.
        await world.kube.create(resources.ADDRESSES, typed(resources.ADDRESSES, taken), "tenant-b")
        spec = copy.deepcopy(world.get(resources.ROUTES, "r1")["spec"])
        spec["source"]["kubernetes"]["resource"]["spec"]["rules"][0]["host"] = "b.example.com"
        body = typed(resources.ROUTES, {"metadata": {"name": "r2"}, "spec": spec})
        await world.kube.create(resources.ROUTES, body, "tenant-b")

        def refused() -> bool:
            route = world.get(resources.ROUTES, "r2", "tenant-b") or {}
            found = conditions.find(view.objects(route, "status", "conditions"), "ResolvedRefs") or {}
            return found.get("reason") == "AddressNotAllowed"

        await until(refused, "not its nodes")
        world.manager.snapshot.everybody_again()
        await world.quiet()
        assert envoy.has[ENDPOINTS] == before
        await until(lambda: world.condition(resources.ROUTES, "r1", "ResolvedRefs").get("status") == "True", "its own")
