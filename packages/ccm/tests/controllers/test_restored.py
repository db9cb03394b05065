"""Whatever the agent made and somebody changed or deleted by hand is as before; nothing else is touched."""

from __future__ import annotations

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.objects import view
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime
_VOLATILE = ("resourceVersion", "generation", "managedFields")
NO_LABELS = {"metadata": {"labels": None}}


def told(obj):
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _VOLATILE}
    return {**view.content(obj), "metadata": metadata}


async def served(world):
    world.put_service(builders.service("web", "shop").port(80))
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    world.put_service(builders.service("db", "shop").port(5432).load_balancer())
    await world.start()
    await world.quiet(5)


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"selector": {"other": "pods"}}},
        NO_LABELS,
        {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}},
        {"metadata": {"ownerReferences": None}},
        {"metadata": {"finalizers": None}},
        {"metadata": {"labels": None, "ownerReferences": None}},
    ],
)
async def test_a_twin_that_is_edited(world, patch):
    await served(world)
    before, own = world.service("web-nodeport"), world.service("web")
    world.change(resources.SERVICES, "web-nodeport", patch)
    await world.quiet(10)
    assert told(world.service("web-nodeport")) == told(before)
    assert world.service("web") == own


@pytest.mark.parametrize("patch", [NO_LABELS, {"metadata": {"labels": None, "ownerReferences": None}}])
@pytest.mark.parametrize("away", [False, True])
async def test_a_twin_without_labels_holds_nobody(world, patch, away):
    """Not even one whose labels go together with everything else, while the agent looks elsewhere."""
    await served(world)
    if away:
        await world.stop()
    world.change(resources.SERVICES, "web-nodeport", patch)
    for resource, name in (
        (resources.INGRESSES, "web"),
        (resources.SERVICES, "web"),
        (resources.SERVICES, "web-nodeport"),
    ):
        world.delete(resource, name)
    if away:
        await world.start()
    await world.until(lambda: world.service("web-nodeport") is None)
    assert world.ingress("web") is None


async def test_a_service_that_only_looks_like_a_twin_is_left_alone(world):
    theirs = builders.service("web-nodeport", "shop").port(81)
    before = world.put_service(theirs)
    await served(world)
    assert world.service("web-nodeport") == before


SPOILED = {
    resources.ROUTES: {"spec": {"source": {"kubernetes": {"services": None}}}},
    resources.LOAD_BALANCERS: {"spec": {"ports": [{"name": "x", "port": 1, "protocol": "TCP"}]}},
    resources.ADDRESSES: {"spec": {"addresses": [{"ip": "192.0.2.1"}]}},
}


@pytest.mark.parametrize("resource", SPOILED, ids=str)
@pytest.mark.parametrize("what", ["edited", "unlabelled", "deleted"])
async def test_exports(world, resource, what):
    await served(world)
    (before,) = world.hub.objects(resource, "tenant-a")
    name = before["metadata"]["name"]
    if what == "deleted":
        world.hub.store.delete(resource, name, "tenant-a")
    else:
        patch = SPOILED[resource] if what == "edited" else {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}}
        world.hub.store.patch(resource, name, patch, "tenant-a", subresource=None)
    await world.quiet(10)
    (after,) = world.hub.objects(resource, "tenant-a")
    assert view.content(after) == view.content(before)
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert (after["metadata"]["uid"] == before["metadata"]["uid"]) == (what != "deleted")
