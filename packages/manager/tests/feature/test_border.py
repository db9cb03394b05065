"""What a tenant's objects do not reach, and what is said of a tenant that is two."""

from __future__ import annotations

from feature_world import NAMESPACE, World, typed, until

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.objects import conditions, view


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
