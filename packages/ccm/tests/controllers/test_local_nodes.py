"""Services with the traffic policy Local: only nodes with a pod are told, on two fake clusters."""

from __future__ import annotations

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime

IPS = {"node-1": "10.0.0.1", "node-2": "10.0.0.2", "node-3": "10.0.0.3"}


@pytest.fixture
def local(world):
    """Three nodes, and a Service whose pod is on the first."""
    for name, ip in IPS.items():
        world.tenant.put(resources.NODES, builders.node(name, ip).build())
    place(world, ("node-1", {"ready": True, "serving": True}))
    service = builders.service("db", "shop").port(5432, name="pg").load_balancer().spec(externalTrafficPolicy="Local")
    world.uid = world.put_service(service)["metadata"]["uid"]
    return world


def place(world, *pods, name="db-1", service="db"):
    """Play the EndpointSlice controller: pods are (node, conditions)."""
    built = (
        builders.endpoint_slice(service, "shop", name=name)
        .label("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io")
        .build()
    )
    built["endpoints"] = [
        {"addresses": [f"10.9.0.{number}"], "nodeName": node, "conditions": conditions}
        for number, (node, conditions) in enumerate(pods)
    ]
    if world.tenant.peek(resources.ENDPOINT_SLICES, name, "shop") is None:
        world.tenant.put(resources.ENDPOINT_SLICES, built)
    else:
        world.tenant.store.patch(
            resources.ENDPOINT_SLICES, name, {"endpoints": built["endpoints"]}, "shop", subresource=None
        )


READY = {"ready": True, "serving": True, "terminating": False}
STARTING = {"ready": False, "serving": False, "terminating": False}
LEAVING = {"ready": False, "serving": True, "terminating": True}
GONE = {"ready": False, "serving": False, "terminating": True}


def told(world):
    found = world.hub.peek(resources.ADDRESSES, world.uid, "tenant-a")
    return found and [item["ip"] for item in found["spec"]["addresses"]]


def reference(world):
    (exported,) = world.load_balancers()
    return exported["spec"]["endpoints"][0]["addressesReference"]["name"]


async def test_only_nodes_with_a_ready_pod_are_told(local):
    await local.start()
    assert reference(local) == local.uid
    assert told(local) == ["10.0.0.1"]
    place(local, ("node-1", READY), ("node-2", STARTING), ("node-3", {}))
    await local.until(lambda: told(local) == ["10.0.0.1", "10.0.0.3"])


async def test_a_pod_that_moves_changes_the_addresses_alone(local):
    await local.start()
    (before,) = local.load_balancers()
    place(local, ("node-1", READY), ("node-2", READY))
    await local.until(lambda: told(local) == ["10.0.0.1", "10.0.0.2"])
    place(local, ("node-1", LEAVING), ("node-2", READY))
    await local.until(lambda: told(local) == ["10.0.0.2"])
    (after,) = local.load_balancers()
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


async def test_pods_that_end_serve_where_no_other_does_and_the_last_node_stays(local):
    await local.start()
    place(local, ("node-1", LEAVING), ("node-2", STARTING))
    await local.quiet()
    assert told(local) == ["10.0.0.1"]
    place(local, ("node-1", GONE))
    await local.quiet()
    assert told(local) == ["10.0.0.1"]
    place(local)
    await local.quiet()
    assert told(local) == ["10.0.0.1"]
    place(local, ("node-3", READY))
    await local.until(lambda: told(local) == ["10.0.0.3"])


async def test_nodes_that_are_not_ready_leave_and_the_last_one_stays(local):
    place(local, ("node-1", READY), ("node-2", READY))
    await local.start()
    local.tenant.put(resources.NODES, builders.node("node-1", IPS["node-1"]).ready("Unknown").build())
    await local.until(lambda: told(local) == ["10.0.0.2"])
    local.tenant.put(resources.NODES, builders.node("node-2", IPS["node-2"]).ready("Unknown").build())
    await local.quiet()
    assert told(local) == ["10.0.0.2"]
    local.tenant.put(resources.NODES, builders.node("node-1", IPS["node-1"]).build())
    await local.until(lambda: told(local) == ["10.0.0.1"])


async def test_before_the_first_ready_pod_all_ready_nodes_are_told(local):
    place(local)
    await local.start()
    assert told(local) == sorted(IPS.values())
    place(local, ("node-2", READY))
    await local.until(lambda: told(local) == ["10.0.0.2"])


async def test_several_slices_count_together_and_those_of_others_do_not(local):
    place(local, ("node-2", READY), name="db-2")
    place(local, ("node-3", READY), name="other-1", service="other")
    await local.start()
    assert told(local) == ["10.0.0.1", "10.0.0.2"]


async def test_the_policy_changes_both_ways(local):
    await local.start()
    local.change(resources.SERVICES, "db", {"spec": {"externalTrafficPolicy": "Cluster"}})
    await local.until(lambda: reference(local) == names.ADDRESSES_NAME)
    await local.until(lambda: told(local) is None)
    local.change(resources.SERVICES, "db", {"spec": {"externalTrafficPolicy": "Local"}})
    await local.until(lambda: reference(local) == local.uid)
    assert told(local) == ["10.0.0.1"]


async def test_the_addresses_belong_to_their_load_balancer(local):
    await local.start()
    (exported,) = local.load_balancers()
    found = local.hub.peek(resources.ADDRESSES, local.uid, "tenant-a")
    assert [owner["uid"] for owner in found["metadata"]["ownerReferences"]] == [exported["metadata"]["uid"]]
    assert found["metadata"]["labels"][names.LABEL_ORIGIN_NAME] == "db"
    local.delete(resources.SERVICES, "db")
    await local.until(lambda: local.service("db") is None)
    await local.until(lambda: told(local) is None)


async def test_addresses_that_are_deleted_come_back(local):
    await local.start()
    local.hub.store.delete(resources.ADDRESSES, local.uid, "tenant-a")
    await local.until(lambda: told(local) == ["10.0.0.1"])


async def test_nothing_is_written_while_nothing_moves(local):
    await local.start()
    assert await local.writes_within(60) == []
    place(local, ("node-1", READY), ("node-1", READY))
    assert await local.writes_within(60) == []


async def test_a_twin_serves_on_every_node(world):
    service = builders.service("db", "shop").port(5432, name="pg").load_balancer()
    world.put_service(service.spec(externalTrafficPolicy="Local", allocateLoadBalancerNodePorts=False))
    await world.start()
    assert reference(world) == names.ADDRESSES_NAME
