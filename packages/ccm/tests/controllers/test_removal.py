"""The end of a tenant, seen by its agent: what releases an object, what does not, and what comes after (ruling 22)."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import Forbidden, NotFound, Unauthorized
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime
TENANT_NS = "tenant-a"
LIMIT = 120
REFUSALS = {
    "401": Unauthorized(401, "Unauthorized", "Unauthorized"),
    "403": Forbidden(403, "Forbidden", "no"),
    "404": NotFound(404, "NotFound", "the server could not find the requested resource"),
}


def is_held(obj):
    return obj is not None and names.FINALIZER in obj["metadata"].get("finalizers", [])


def say(world, phase):
    """The manager writes the TenantState."""
    state = {
        "metadata": {"name": names.TENANT_STATE_NAME, "namespace": TENANT_NS},
        "spec": {},
        "status": {"phase": phase},
    }
    world.hub.put(resources.TENANT_STATES, state)


def refuse(world, error):
    """The management cluster refuses everything from now on."""
    world.hub.fail_next("*", "*", error, times=10**9)
    world.hub.break_watches()


async def serving(world):
    say(world, "Ready")
    world.options["release_after"] = LIMIT
    world.put_service(builders.service("web", "shop").port(80))
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.start()
    await world.until(lambda: world.routes() and is_held(world.ingress("web")))


async def test_the_tombstone_releases_everything(world):
    await serving(world)
    say(world, "Terminating")
    await world.until(lambda: not is_held(world.ingress("web")))
    await world.until(lambda: world.service("web-nodeport") is None)


async def test_what_the_tombstone_said_holds_when_it_goes_too(world):
    """The TenantState goes with its namespace, before the credential does: nothing is served or held again."""
    await serving(world)
    say(world, "Terminating")
    await world.until(lambda: not is_held(world.ingress("web")))
    world.hub.store.delete(resources.TENANT_STATES, names.TENANT_STATE_NAME, TENANT_NS)
    world.hub.store.delete(resources.ADDRESSES, "default", TENANT_NS)
    await world.quiet(5)
    world.put_ingress(builders.ingress("late", "shop").rule("b.example.com", "/", "web", 80))
    assert await world.writes_within(60) == []
    assert not is_held(world.ingress("late"))
    world.delete(resources.INGRESSES, "web")
    await world.quiet()
    assert world.ingress("web") is None


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_removed_tenants_agent_is_quiet_and_resumes(world, code):
    await serving(world)
    say(world, "Terminating")
    await world.until(lambda: not is_held(world.ingress("web")))
    faults = world.hub._cluster.faults
    for resource in (resources.TENANT_STATES, resources.ADDRESSES):
        world.hub.store.delete(resource, "default", TENANT_NS)
    for route in world.routes():
        world.hub.store.delete(resources.ROUTES, route["metadata"]["name"], TENANT_NS)
    await world.quiet(5)
    refuse(world, REFUSALS[code])
    await world.quiet(5)
    with capture_logs() as said:
        await world.quiet(650)
    lines = [line for line in said if line["log_level"] in ("warning", "error")]
    assert lines, "it says that it cannot follow"
    assert len(lines) <= 4 * 2, f"{len(lines)} warnings of four caches in 650 s: {lines[:9]}"
    assert world.writes() == [entry for entry in world.writes() if "shop" not in entry]
    faults.clear()  # the tenant is made again, and its new credential is in place
    say(world, "Ready")
    await world.until(lambda: world.routes() and is_held(world.ingress("web")))
    await world.until(lambda: world.hub.peek(resources.ADDRESSES, "default", TENANT_NS))
    await world.until(lambda: world.service("web-nodeport") is not None)


@pytest.mark.parametrize("code", REFUSALS)
async def test_no_refusal_releases_anything(world, code):
    await serving(world)
    refuse(world, REFUSALS[code])
    world.delete(resources.INGRESSES, "web")
    await world.quiet(2 * LIMIT)
    assert is_held(world.ingress("web"))
    assert world.service("web-nodeport") is not None


@pytest.mark.parametrize("code", [*REFUSALS, "away"])
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "started-since"])
async def test_a_namespace_that_is_deleted_is_released_after_the_limit(world, code, restarted):
    """Also by an agent that was down when its tenant was removed, and so never heard of it."""
    await serving(world)
    if restarted:
        await world.stop()
    if code == "away":
        world.hub.stop()
    else:
        refuse(world, REFUSALS[code])
    if restarted:
        await world.start_unready()
    world.tenant.store.delete(resources.NAMESPACES, "shop", None)
    await world.quiet(LIMIT - 60)
    assert is_held(world.ingress("web"))
    assert world.tenant.peek(resources.NAMESPACES, "shop") is not None
    await world.until(lambda: world.tenant.peek(resources.NAMESPACES, "shop") is None, seconds=180)


async def test_what_was_released_is_swept_when_the_management_cluster_is_back(world):
    await serving(world)
    world.hub.stop()
    world.tenant.store.delete(resources.NAMESPACES, "shop", None)
    await world.until(lambda: world.tenant.peek(resources.NAMESPACES, "shop") is None, seconds=300)
    assert world.routes()
    world.hub.start()
    await world.until(lambda: not world.routes())


async def test_an_answer_in_between_begins_the_limit_anew(world):
    await serving(world)
    world.manager.releases = False
    world.tenant.store.delete(resources.NAMESPACES, "shop", None)
    for _ in range(3):
        world.hub.stop()
        await world.quiet(LIMIT - 60)
        world.hub.start()
        await world.quiet(60)
    assert is_held(world.ingress("web"))
