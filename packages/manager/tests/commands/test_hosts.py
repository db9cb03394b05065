"""`kubelb-manager hosts`: what an admin reads of claims and does about them, against a manager that runs."""

from __future__ import annotations

import copy
import json

from feature_world import World, typed, until
from manager_program import Hub

from kubelb_common.kube import resources
from kubelb_common.objects import conditions, view

Managed = tuple[Hub, World]


def accepted(world: World, name: str, namespace: str) -> str:
    route = world.get(resources.ROUTES, name, namespace) or {}
    return str((conditions.find(view.objects(route, "status", "conditions"), "Accepted") or {}).get("reason"))


async def two_that_want_one_host(world: World) -> None:
    await world.onboard()
    await world.onboard("b")
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: accepted(world, "r1", "tenant-a") == "Accepted", "the first has it")
    spec = copy.deepcopy(world.get(resources.ROUTES, "r1")["spec"])
    await world.kube.create(
        resources.ROUTES, typed(resources.ROUTES, {"metadata": {"name": "r2"}, "spec": spec}), "tenant-b"
    )
    await until(lambda: accepted(world, "r2", "tenant-b") == "HostClaimed", "the second does not")


async def test_a_host_is_listed_and_given(managed: Managed) -> None:
    hub, world = managed
    await two_that_want_one_host(world)
    listed = (await hub.good("hosts", "list")).stdout.splitlines()
    assert [line.split() for line in listed] == [["HOST", "TENANT", "RELEASED"], ["a.example.com", "a", "-"]]
    result = await hub.good("hosts", "give", "A.example.com.", "b")
    assert "a.example.com is b's" in result.stderr
    await until(lambda: accepted(world, "r2", "tenant-b") == "Accepted", "the new owner")
    await until(lambda: accepted(world, "r1", "tenant-a") == "HostClaimed", "the former one")
    as_json = json.loads((await hub.good("hosts", "list", "--tenant", "b", "-o", "json")).stdout)
    assert as_json == {"items": [{"host": "a.example.com", "tenant": "b", "released": ""}]}
    assert (await hub.good("hosts", "list", "--tenant", "a")).stdout == ""


async def test_a_host_is_released_before_its_time(managed: Managed) -> None:
    hub, world = managed
    await two_that_want_one_host(world)
    await world.kube.delete(resources.ROUTES, "r1", "tenant-a")

    async def held() -> bool:
        found = json.loads((await hub.good("hosts", "list", "-o", "json")).stdout)["items"]
        return bool(found and found[0]["released"])

    while not await held():
        pass
    await hub.good("hosts", "release", "a.example.com")
    await until(lambda: accepted(world, "r2", "tenant-b") == "Accepted", "the next one has it")


async def test_what_cannot_be_is_said_in_a_line(managed: Managed) -> None:
    hub, world = managed
    await world.onboard()
    await world.onboard("b")
    assert "No host is any tenant's." in (await hub.good("hosts", "list")).stderr
    await hub.good("hosts", "give", "*.example.com", "a")
    for arguments, said in (
        (("release", "b.example.org"), "b.example.org is no tenant's"),
        (("release", "no host"), "is no host"),
        (("give", "b.example.org", "nobody"), "there is no Tenant nobody"),
        (("give", "x.example.com", "b"), "overlaps with *.example.com (a): give or release these first"),
    ):
        result = await hub.run("hosts", *arguments)
        assert result.exit_code == 1, result
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
