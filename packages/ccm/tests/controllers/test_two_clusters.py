"""Two clusters with one tenant's credential: each keeps to its own objects, and both say so."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.testing import builders

TENANT_NS = "tenant-a"

pytestmark = pytest.mark.looptime


@pytest.fixture
async def other(world):
    """A second cluster in the same tenant namespace."""
    made = type(world)(world.hub, node="10.9.9.9")
    made.manager.paused = True  # the first world's does the work
    yield made
    await made.close()


def fill(cluster) -> str:
    cluster.put_service(builders.service("web", "shop").port(80))
    return cluster.put_ingress(builders.ingress("site", "shop").rule("a.example.com", "/", "web", 80))["metadata"][
        "uid"
    ]


def nodes_of(cluster, route: str) -> list[str]:
    """Return the addresses that a Route of this name leads to."""
    found: Object = cluster.hub.peek(resources.ROUTES, route, TENANT_NS) or {}
    (entry,) = found["spec"]["endpoints"]
    listed = cluster.hub.peek(resources.ADDRESSES, entry["addressesReference"]["name"], TENANT_NS) or {}
    return [item["ip"] for item in listed["spec"]["addresses"]]


async def test_each_keeps_to_its_own(world, other) -> None:
    first, second = fill(world), fill(other)
    with capture_logs() as said:
        await world.start()
        await other.start()
        await world.until(lambda: len(world.routes()) == 2)
        await world.quiet(5)
    assert nodes_of(world, first) == ["10.0.0.1"]
    assert nodes_of(world, second) == ["10.9.9.9"]
    warned = [line for line in said if line["event"].startswith("another cluster uses this tenant's credential")]
    assert len(warned) == 2
    assert await world.writes_within(120) == [], "nobody takes anything back from the other"
    other.delete(resources.INGRESSES, "site")
    await world.until(lambda: [view["metadata"]["name"] for view in world.routes()] == [first])
    assert nodes_of(world, first) == ["10.0.0.1"]


async def test_a_cluster_that_was_made_anew_serves_beside_what_the_old_one_left(world, other) -> None:
    first = fill(world)
    await world.start()
    await world.stop()
    second = fill(other)
    await other.start()
    await other.until(lambda: len(other.routes()) == 2)
    assert nodes_of(other, second) == ["10.9.9.9"]
    assert nodes_of(other, first) == ["10.0.0.1"]
    # The admin removes what is left of the old cluster; what the new one has stays where it is.
    world.hub.store.delete(resources.ADDRESSES, names.ADDRESSES_NAME, TENANT_NS)
    await other.quiet(5)
    assert nodes_of(other, second) == ["10.9.9.9"]
    assert await other.writes_within(60) == []
