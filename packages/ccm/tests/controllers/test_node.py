"""Nodes on two fake clusters."""

from __future__ import annotations

import pytest

from kubelb_common.kube import resources
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime


def exported(world):
    found = world.hub.peek(resources.ADDRESSES, "default", "tenant-a")
    return found and [item.get("ip") or item.get("hostname") for item in found["spec"]["addresses"]]


async def test_ready_nodes_are_exported_sorted(world):
    world.tenant.put(
        resources.NODES,
        builders.node("b", "10.0.0.10", "fd00::1").build(),
        builders.node("c", "10.0.0.9").ready("Unknown").build(),
        builders.node("d", "10.0.0.2", "not-an-address").address("198.51.100.1", "ExternalIP").build(),
    )
    await world.start()
    assert exported(world) == ["10.0.0.1", "10.0.0.2", "10.0.0.10", "fd00::1"]


async def test_heartbeats_cause_no_work(world):
    await world.start()
    world.forget()
    status = {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]}
    world.tenant.store.patch(resources.NODES, "node-1", {"status": status}, None, subresource="status")
    await world.quiet(60)
    assert [entry for entry in world.hub.requests() if entry.verb != "watch"] == []


async def test_a_node_that_fails_leaves_and_the_last_one_stays(world):
    world.tenant.put(resources.NODES, builders.node("node-2", "10.0.0.2").build())
    await world.start()
    world.tenant.put(resources.NODES, builders.node("node-2", "10.0.0.2").ready("False").build())
    await world.until(lambda: exported(world) == ["10.0.0.1"])
    world.tenant.put(resources.NODES, builders.node("node-1", "10.0.0.1").ready("False").build())
    await world.quiet(60)
    assert exported(world) == ["10.0.0.1"]
    world.tenant.put(resources.NODES, builders.node("node-3", "10.0.0.3").build())
    await world.until(lambda: exported(world) == ["10.0.0.3"])


async def test_deleted_addresses_come_back(world):
    await world.start()
    world.hub.store.delete(resources.ADDRESSES, "default", "tenant-a")
    await world.until(lambda: exported(world) == ["10.0.0.1"])


async def test_host_names_count_only_for_their_type(world):
    world.options["node_address_type"] = "Hostname"
    world.tenant.put(resources.NODES, builders.node("b").address("b.example.com", "Hostname").build())
    await world.start()
    assert exported(world) == ["b.example.com"]
