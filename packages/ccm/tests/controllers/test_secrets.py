"""Secrets and SyncSecrets on two fake clusters."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import Unreachable
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime
LABEL = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
TERMINATING = {"status": {"phase": "Terminating"}}


@pytest.fixture(autouse=True)
def _enabled(world):
    world.options["enable_secret_synchronizer"] = True


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def put_secret(world, name="tls", namespace="shop", *, type_="Opaque", **data: str) -> Object:
    body = builders.secret(name, namespace, type_=type_, **(data or {"a": b64("1")})).build()
    body["metadata"]["labels"] = {**LABEL, "theirs": "1"}
    return world.tenant.put(resources.SECRETS, body)[0]


def put_sync_secret(world, name="own", namespace="shop", **content: Any) -> Object:
    body = {"apiVersion": names.API_VERSION, "kind": "SyncSecret", "metadata": {"name": name, "namespace": namespace}}
    return world.tenant.put(resources.SYNC_SECRETS, {**body, **content})[0]


def secret(world, name="tls", namespace="shop"):
    return world.tenant.peek(resources.SECRETS, name, namespace)


def sync_secret(world, name="tls", namespace="shop"):
    return world.tenant.peek(resources.SYNC_SECRETS, name, namespace)


def is_held(obj) -> bool:
    return names.FINALIZER in obj["metadata"].get("finalizers", [])


async def test_a_labelled_secret_is_exported(world):
    source = put_secret(world, a=b64("1"), b=b64("2"))
    await world.start()
    beside = sync_secret(world)
    assert is_held(secret(world))
    assert is_held(beside)
    assert [owner["uid"] for owner in beside["metadata"]["ownerReferences"]] == [source["metadata"]["uid"]]
    exported = world.sync_secrets()["shop/tls"]
    assert exported["metadata"]["name"] == beside["metadata"]["uid"]
    assert exported["data"] == beside["data"] == {"a": b64("1"), "b": b64("2")}
    assert exported["type"] == "Opaque"
    for made in (beside, exported):
        assert set(made["metadata"]["labels"]) == {
            names.LABEL_MANAGED_BY,
            names.LABEL_ORIGIN_NAME,
            names.LABEL_ORIGIN_NAMESPACE,
            names.LABEL_ORIGIN_CLUSTER,
        }
        assert "annotations" not in made["metadata"]


async def test_the_status_comes_back_about_the_sources_own_generation(world):
    put_secret(world)
    await world.start()
    world.change(resources.SECRETS, "tls", {"data": {"a": b64("2")}})
    await world.quiet()
    beside = sync_secret(world)
    status = beside["status"]
    assert (status["phase"], status["conditions"][0]["reason"]) == ("Synced", "Synced")
    assert status["observedGeneration"] == status["conditions"][0]["observedGeneration"] == 2
    assert names.ANNOTATION_STATUS not in secret(world)["metadata"].get("annotations", {})
    world.manager.paused = True
    world.change(resources.SECRETS, "tls", {"data": {"a": b64("3")}})
    await world.quiet()
    assert world.sync_secrets()["shop/tls"]["data"] == {"a": b64("3")}
    assert sync_secret(world)["status"]["observedGeneration"] == 2, "nobody has looked at the third"


async def test_without_the_label_or_the_flag_secrets_are_not_even_read(world):
    world.options["enable_secret_synchronizer"] = False
    put_secret(world)
    await world.start()
    assert sync_secret(world) is None
    assert not [entry for entry in world.tenant.requests() if entry.resource == "secrets"]
    await world.stop()
    world.options["enable_secret_synchronizer"] = True
    world.tenant.put(resources.SECRETS, builders.secret("private", "shop", a=b64("x")).build())
    await world.start()
    assert sync_secret(world, "private") is None
    assert [view.name(held) for held in world.app._tenant.secrets.store.list()] == ["tls"], (
        "no other Secret is held in memory"
    )


async def test_values_follow(world):
    put_secret(world, a=b64("1"), b=b64("1"))
    await world.start()
    world.change(resources.SECRETS, "tls", {"data": {"a": b64("2"), "b": None}})
    await world.quiet()
    assert world.sync_secrets()["shop/tls"]["data"] == {"a": b64("2")}
    world.change(resources.SECRETS, "tls", {"data": None, "immutable": True})
    await world.quiet()
    exported = world.sync_secrets()["shop/tls"]
    assert "data" not in exported
    assert exported["immutable"] is True


async def test_an_empty_value_goes_as_text(world):
    """In a custom kind the API server refuses it as base64."""
    put_secret(world, a="", b=b64("1"))
    await world.start()
    for made in (sync_secret(world), world.sync_secrets()["shop/tls"]):
        assert (made["data"], made["stringData"]) == ({"b": b64("1")}, {"a": ""})
    assert sync_secret(world)["status"]["phase"] == "Synced"


async def test_deletion_waits_until_no_copy_is_left(world):
    put_secret(world)
    await world.start()
    world.manager.releases = False
    world.delete(resources.SECRETS, "tls")
    await world.quiet(60)
    assert secret(world) is not None
    assert world.sync_secrets()["shop/tls"]["metadata"]["deletionTimestamp"]
    world.manager.releases = True
    await world.until(lambda: secret(world) is None)
    assert sync_secret(world) is None
    assert world.sync_secrets() == {}


async def test_label_removed_is_unsynced(world):
    put_secret(world)
    put_secret(world, "stays")
    await world.start()
    world.change(resources.SECRETS, "tls", {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}})
    await world.until(lambda: list(world.sync_secrets()) == ["shop/stays"])
    assert sync_secret(world) is None
    assert not is_held(secret(world))
    assert secret(world)["data"] == {"a": b64("1")}
    world.change(resources.SECRETS, "tls", {"metadata": {"labels": LABEL}})
    await world.until(lambda: "shop/tls" in world.sync_secrets())


@pytest.mark.parametrize("what", ["label", "secret", "finalizer"])
async def test_what_happened_while_the_agent_was_away_is_found(world, what):
    put_secret(world)
    await world.start()
    await world.stop()
    if what == "label":
        world.change(resources.SECRETS, "tls", {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}})
    elif what == "finalizer":
        world.change(resources.SECRETS, "tls", {"metadata": {"finalizers": None}})
    if what != "label":
        world.delete(resources.SECRETS, "tls")
    await world.start()
    await world.until(lambda: world.sync_secrets() == {})
    assert sync_secret(world) is None
    found = secret(world)
    assert (found is not None) == (what == "label")
    assert found is None or not is_held(found)


async def test_another_type_under_the_same_name_is_another_copy(world):
    put_secret(world, username=b64("me"))
    await world.start()
    before = world.sync_secrets()["shop/tls"]["metadata"]["name"]
    world.delete(resources.SECRETS, "tls")
    await world.until(lambda: secret(world) is None)
    put_secret(world, type_="kubernetes.io/basic-auth", username=b64("me"))
    await world.until(lambda: "shop/tls" in world.sync_secrets())
    exported = world.sync_secrets()["shop/tls"]
    assert exported["type"] == "kubernetes.io/basic-auth"
    assert exported["metadata"]["name"] != before


async def test_made_anew_without_its_finalizer_is_another_copy_too(world):
    put_secret(world, username=b64("me"))
    await world.start()
    before = world.sync_secrets()["shop/tls"]["metadata"]["name"]
    world.tenant.store.patch(
        resources.SYNC_SECRETS, "tls", {"metadata": {"finalizers": [names.FINALIZER, "a/b"]}}, "shop", subresource=None
    )
    world.change(resources.SECRETS, "tls", {"metadata": {"finalizers": None}})
    world.delete(resources.SECRETS, "tls")
    put_secret(world, type_="kubernetes.io/basic-auth", username=b64("me"))
    await world.quiet()
    assert sync_secret(world)["metadata"]["deletionTimestamp"]
    world.tenant.store.patch(
        resources.SYNC_SECRETS, "tls", {"metadata": {"finalizers": None}}, "shop", subresource=None
    )
    await world.until(lambda: [item["type"] for item in world.sync_secrets().values()] == ["kubernetes.io/basic-auth"])
    assert world.sync_secrets()["shop/tls"]["metadata"]["name"] != before
    assert is_held(secret(world))


async def test_same_name_in_two_namespaces(world):
    put_secret(world, a=b64("shop"))
    put_secret(world, namespace="blog", a=b64("blog"))
    await world.start()
    assert {key: item["data"]["a"] for key, item in world.sync_secrets().items()} == {
        "shop/tls": b64("shop"),
        "blog/tls": b64("blog"),
    }
    world.delete(resources.SECRETS, "tls", "blog")
    await world.until(lambda: list(world.sync_secrets()) == ["shop/tls"])


async def test_long_names_are_told_apart(world):
    heads = ("x" * 100 + "-one", "x" * 100 + "-two")
    for name in heads:
        put_secret(world, name)
    await world.start()
    assert set(world.sync_secrets()) == {f"shop/{name}" for name in heads}
    world.delete(resources.SECRETS, heads[0])
    await world.until(lambda: list(world.sync_secrets()) == [f"shop/{heads[1]}"])


async def test_a_sync_secret_that_somebody_wrote(world):
    world.options["enable_secret_synchronizer"] = False
    put_sync_secret(
        world, data={"a": b64("1")}, stringData={"b": "2"}, type="kubernetes.io/basic-auth", immutable=False
    )
    await world.start()
    exported = world.sync_secrets()["shop/own"]
    content = {key: exported[key] for key in ("data", "stringData", "type", "immutable")}
    assert content == {
        "data": {"a": b64("1")},
        "stringData": {"b": "2"},
        "type": "kubernetes.io/basic-auth",
        "immutable": False,
    }
    assert sync_secret(world, "own")["status"]["phase"] == "Synced"
    world.change(resources.SYNC_SECRETS, "own", {"type": "Opaque"})
    await world.quiet()
    assert world.sync_secrets()["shop/own"]["type"] == "Opaque"
    world.delete(resources.SYNC_SECRETS, "own")
    await world.until(lambda: sync_secret(world, "own") is None)
    assert world.sync_secrets() == {}


async def test_one_that_somebody_wrote_is_never_overwritten(world):
    mine = put_sync_secret(world, "tls", data={"mine": b64("1")})
    put_secret(world)
    await world.start()
    assert sync_secret(world)["data"] == mine["data"]
    assert not is_held(secret(world))
    assert "NotOurs" in secret(world)["metadata"]["annotations"][names.ANNOTATION_STATUS]
    assert [event["reason"] for event in world.tenant.objects(resources.EVENTS, "shop")] == ["NotOurs"]
    world.delete(resources.SECRETS, "tls")
    await world.quiet()
    assert secret(world) is None
    assert sync_secret(world)["data"] == mine["data"]
    put_secret(world)
    world.delete(resources.SYNC_SECRETS, "tls")
    await world.until(lambda: world.sync_secrets() and world.sync_secrets()["shop/tls"]["data"] == {"a": b64("1")})
    await world.quiet()
    assert names.ANNOTATION_STATUS not in secret(world)["metadata"].get("annotations", {})


async def test_a_refusal_is_told_on_secret_and_sync_secret(world):
    put_secret(world, type_="my/own")
    await world.start()
    beside = sync_secret(world)
    assert beside["status"]["phase"] == "Failed"
    for obj in (secret(world), beside):
        told = json.loads(obj["metadata"]["annotations"][names.ANNOTATION_STATUS])
        assert told["syncSecret"] == beside["metadata"]["uid"]
        assert told["conditions"][0]["reason"] == "SyncFailed"
    events = world.tenant.objects(resources.EVENTS, "shop")
    assert sorted(event["involvedObject"]["kind"] for event in events) == ["Secret", "SyncSecret"]
    world.delete(resources.SECRETS, "tls")
    await world.until(lambda: secret(world) is None)
    put_secret(world)
    await world.until(lambda: (sync_secret(world) or {}).get("status", {}).get("phase") == "Synced")
    await world.quiet()
    assert names.ANNOTATION_STATUS not in secret(world)["metadata"].get("annotations", {})


@pytest.mark.parametrize(
    "patch", [{"data": {"a": b64("evil")}}, {"metadata": {"labels": None}}, {"metadata": {"ownerReferences": None}}]
)
async def test_a_generated_sync_secret_that_is_edited_is_restored(world, patch):
    put_secret(world)
    await world.start()
    before = sync_secret(world)
    world.change(resources.SYNC_SECRETS, "tls", patch)
    await world.quiet()
    after = sync_secret(world)
    assert after["data"] == before["data"]
    for part in ("labels", "ownerReferences"):
        assert after["metadata"][part] == before["metadata"][part]
    assert world.sync_secrets()["shop/tls"]["data"] == before["data"]


async def test_what_is_deleted_by_hand_comes_back(world):
    put_secret(world)
    await world.start()
    world.delete(resources.SYNC_SECRETS, "tls")
    await world.quiet()
    exported = world.sync_secrets()["shop/tls"]
    assert exported["metadata"]["name"] == sync_secret(world)["metadata"]["uid"]
    world.hub.store.delete(resources.SYNC_SECRETS, exported["metadata"]["name"], "tenant-a")
    await world.quiet()
    assert world.sync_secrets()["shop/tls"]["data"] == {"a": b64("1")}
    assert names.ANNOTATION_STATUS not in secret(world)["metadata"].get("annotations", {})


async def test_nothing_is_given_up_while_the_hub_is_away(world):
    put_secret(world)
    await world.start()
    world.hub.stop()
    world.delete(resources.SECRETS, "tls")
    await world.quiet(60)
    assert secret(world) is not None
    world.hub.start()
    await world.until(lambda: secret(world) is None)
    assert world.sync_secrets() == {}


async def test_a_removed_tenant_lets_everything_go(world):
    put_secret(world)
    put_sync_secret(world)
    await world.start()
    state = {
        "apiVersion": names.API_VERSION,
        "kind": "TenantState",
        "metadata": {"name": "default", "namespace": "tenant-a"},
    }
    world.hub.put(resources.TENANT_STATES, {**state, **TERMINATING})
    await world.until(lambda: sync_secret(world) is None)
    assert not is_held(secret(world))
    assert not is_held(sync_secret(world, "own"))
    assert secret(world)["data"] == {"a": b64("1")}


async def test_without_the_crd_everything_else_runs_and_later_secrets_too(world):
    world.tenant.hide(resources.SYNC_SECRETS)
    put_secret(world)
    world.put_service(builders.service("db", "shop").port(1).load_balancer())
    await world.start()
    assert len(world.load_balancers()) == 1
    assert not is_held(secret(world))
    world.tenant.show(resources.SYNC_SECRETS)
    await world.until(lambda: "shop/tls" in world.sync_secrets(), seconds=1200)


async def test_idle_and_a_restart_write_nothing(world):
    put_secret(world)
    put_secret(world, "bad", type_="my/own")
    put_sync_secret(world, stringData={"a": "1"})
    await world.start()
    await world.quiet(5)
    assert await world.writes_within(120) == []
    await world.stop()
    world.forget()
    await world.start()
    assert world.writes() == []


async def test_nothing_is_written_twice(world):
    put_secret(world)
    put_sync_secret(world, stringData={"a": "1"})
    await world.start()
    world.change(resources.SECRETS, "tls", {"data": {"a": b64("2")}})
    await world.quiet()
    world.change(resources.SECRETS, "tls", {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}})
    await world.until(lambda: list(world.sync_secrets()) == ["shop/own"])
    world.change(resources.SECRETS, "tls", {"metadata": {"labels": LABEL}})
    await world.quiet()
    world.delete(resources.SECRETS, "tls")
    world.delete(resources.SYNC_SECRETS, "own")
    await world.until(lambda: secret(world) is None and sync_secret(world, "own") is None)
    await world.quiet()
    assert world.tenant.wasted_writes() == []
    assert world.hub.wasted_writes() == []


async def test_broken_connections_lose_nothing(world):
    put_secret(world)
    await world.start()
    broken = Unreachable("cut")
    world.tenant.fail_next("create", resources.SYNC_SECRETS, broken, after=True)
    world.hub.fail_next("create", resources.SYNC_SECRETS, broken, after=True)
    put_secret(world, "other")
    await world.until(lambda: set(world.sync_secrets()) == {"shop/tls", "shop/other"})
    world.tenant.fail_next("delete", resources.SYNC_SECRETS, broken, after=True)
    world.hub.fail_next("delete", resources.SYNC_SECRETS, broken, after=True)
    world.tenant.break_watches()
    world.delete(resources.SECRETS, "other")
    await world.until(lambda: secret(world, "other") is None)
    assert set(world.sync_secrets()) == {"shop/tls"}
