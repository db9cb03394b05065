"""A SyncSecret's Secret is equal to it or gone, and its status says which."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from feature_world import NAMESPACE, World, running, typed, until

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import Forbidden
from kubelb_common.kube.port import Object

LABELS = {
    names.LABEL_ORIGIN_NAMESPACE: "shop",
    names.LABEL_ORIGIN_NAME: "web",
    names.LABEL_ORIGIN_CLUSTER: "c1",
    "theirs": "1",
}


def b64(text: bytes | str) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


async def put(world: World, name: str = "s1", **content: Any) -> Object:
    """Write a SyncSecret as an agent does."""
    metadata = {"name": name, "labels": LABELS, "annotations": {"theirs": "1"}, "finalizers": [names.FINALIZER]}
    body = {"metadata": metadata, **content}
    return await world.kube.create(resources.SYNC_SECRETS, typed(resources.SYNC_SECRETS, body), NAMESPACE)


async def change(world: World, patch: Object, name: str = "s1") -> None:
    await world.kube.patch(resources.SYNC_SECRETS, name, patch, NAMESPACE)


def said(world: World, name: str = "s1") -> tuple[str, str, str]:
    """Return phase, status and reason, if they are about the present generation."""
    sync_secret = world.get(resources.SYNC_SECRETS, name) or {"metadata": {}}
    condition = world.condition(resources.SYNC_SECRETS, name, "Synced")
    status = sync_secret.get("status", {})
    generation = sync_secret["metadata"].get("generation")
    if not status or {status["observedGeneration"], condition["observedGeneration"]} != {generation}:
        return "", "", ""
    return status["phase"], condition["status"], condition["reason"]


async def until_synced(world: World, name: str = "s1") -> None:
    await until(lambda: said(world, name) == ("Synced", "True", "Synced"), f"{name} is synced")


async def until_failed(world: World, name: str = "s1") -> str:
    await until(lambda: said(world, name) == ("Failed", "False", "SyncFailed"), f"{name} is refused")
    return str(world.condition(resources.SYNC_SECRETS, name, "Synced")["message"])


async def secret_with(world: World, sync_secret: Object, what: str, **content: Any) -> Object:
    """Wait for a Secret that says this; return it."""
    name = sync_secret["metadata"]["uid"]

    def found() -> bool:
        secret = world.get(resources.SECRETS, name)
        return secret is not None and all(secret.get(key) == value for key, value in content.items())

    await until(found, what)
    secret = world.get(resources.SECRETS, name)
    assert secret is not None
    return secret


@pytest.fixture
async def home(world: World) -> World:
    await world.onboard()
    return world


async def test_the_secret_is_as_an_api_server_would_store_it(home: World) -> None:
    binary = bytes(range(256))
    sync_secret = await put(
        home, data={"a": b64(binary), "b": b64("old")}, stringData={"b": "näw", "c": ""}, immutable=False
    )
    wanted = {"a": b64(binary), "b": b64("näw"), "c": ""}
    secret = await secret_with(home, sync_secret, "the Secret", data=wanted, type="Opaque")
    metadata = secret["metadata"]
    assert metadata["labels"] == {
        **{key: LABELS[key] for key in LABELS if key != "theirs"},
        names.LABEL_MANAGED_BY: "kubelb",
    }
    assert "annotations" not in metadata
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == [sync_secret["metadata"]["uid"]]
    assert "immutable" not in secret
    assert "stringData" not in secret
    await until_synced(home)


async def test_values_follow(home: World) -> None:
    sync_secret = await put(home, data={"a": b64("1"), "b": b64("1")})
    await until_synced(home)
    await change(home, {"data": {"a": b64("2"), "b": None}})
    await secret_with(home, sync_secret, "the new value alone", data={"a": b64("2")})
    await until_synced(home)
    await change(home, {"data": None})
    await secret_with(home, sync_secret, "no value", data={})


async def test_another_type_and_what_was_immutable_is_made_anew(home: World) -> None:
    sync_secret = await put(home, data={"username": b64("me")}, immutable=True)
    first = await secret_with(home, sync_secret, "an immutable Secret", type="Opaque", immutable=True)
    await change(home, {"data": {"username": b64("you")}})
    second = await secret_with(home, sync_secret, "another value", data={"username": b64("you")}, immutable=True)
    await change(home, {"type": "kubernetes.io/basic-auth"})
    third = await secret_with(home, sync_secret, "another type", type="kubernetes.io/basic-auth", immutable=True)
    await change(home, {"immutable": None})
    fourth = await secret_with(home, sync_secret, "a mutable Secret", immutable=None)
    assert len({secret["metadata"]["uid"] for secret in (first, second, third, fourth)}) == 4
    await until_synced(home)


@pytest.mark.parametrize("kind", ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "my/own"])
async def test_other_types_are_refused(home: World, kind: str) -> None:
    sync_secret = await put(home, data={"a": b64("1")})
    await until_synced(home)
    await change(home, {"type": kind})
    message = await until_failed(home)
    assert kind in message
    assert "kubernetes.io/tls" in message
    (event,) = home.kube.objects(resources.EVENTS, NAMESPACE)
    assert (event["involvedObject"]["name"], event["reason"], event["message"]) == ("s1", "SyncFailed", message)
    await until(lambda: home.get(resources.SECRETS, sync_secret["metadata"]["uid"]) is None, "the former Secret goes")
    await change(home, {"type": "Opaque"})
    await secret_with(home, sync_secret, "the Secret again", type="Opaque")
    await until_synced(home)


async def test_what_the_api_server_refuses_leaves_no_old_value(home: World) -> None:
    pair = {"tls.crt": b64("c"), "tls.key": b64("k")}
    sync_secret = await put(home, type="kubernetes.io/tls", data=pair)
    await until_synced(home)
    await change(home, {"data": {"tls.key": None}})
    assert "tls.key" in await until_failed(home)
    await until(lambda: home.get(resources.SECRETS, sync_secret["metadata"]["uid"]) is None, "the former Secret goes")
    await home.quiet()
    home.kube.forget_requests()
    await home.quiet()
    assert home.kube.writes() == []
    await change(home, {"data": {"tls.key": b64("new")}})
    await secret_with(home, sync_secret, "the new pair", data={**pair, "tls.key": b64("new")})
    await until_synced(home)


@pytest.mark.parametrize(
    "patch",
    [
        {"data": {"a": b64("evil"), "more": b64("1")}},
        {"data": None},
        {"immutable": True},
        {"metadata": {"labels": {names.LABEL_ORIGIN_NAME: "other"}}},
        {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}},
        {"metadata": {"ownerReferences": None}},
        {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}, "data": {"a": b64("evil")}, "immutable": True},
    ],
)
async def test_what_is_edited_by_hand_is_restored(home: World, patch: Object) -> None:
    sync_secret = await put(home, data={"a": b64("1")})
    await until_synced(home)
    uid = sync_secret["metadata"]["uid"]
    before = home.get(resources.SECRETS, uid)
    await home.kube.patch(resources.SECRETS, uid, patch, NAMESPACE)
    parts = ("labels", "ownerReferences")

    def restored() -> bool:
        secret = home.get(resources.SECRETS, uid) or {"metadata": {}}
        same = all(secret["metadata"].get(part) == before["metadata"][part] for part in parts)
        return same and all(secret.get(key) == before.get(key) for key in ("data", "type", "immutable"))

    await until(restored, "restored")


async def test_what_is_deleted_by_hand_is_restored_and_others_are_untouched(home: World) -> None:
    sync_secret = await put(home, data={"a": b64("1")})
    other = await put(home, "s2", data={"a": b64("2")})
    await until_synced(home)
    await until_synced(home, "s2")
    untouched = home.get(resources.SECRETS, other["metadata"]["uid"])
    await home.kube.delete(resources.SECRETS, sync_secret["metadata"]["uid"], NAMESPACE)
    await secret_with(home, sync_secret, "the Secret again", data={"a": b64("1")})
    await home.quiet()
    assert home.get(resources.SECRETS, other["metadata"]["uid"]) == untouched


async def test_a_secret_that_is_not_ours_is_never_overwritten(home: World) -> None:
    home.manager.supervisor.stop()
    await until(lambda: not home.manager.supervisor.ready, "the manager stops")
    sync_secret = await put(home, data={"a": b64("1")})
    uid = sync_secret["metadata"]["uid"]
    foreign = await home.kube.create(resources.SECRETS, {"metadata": {"name": uid}, "data": {"mine": ""}}, NAMESPACE)
    async with running(home.kube, home):
        assert uid in await until_failed(home)
        assert home.get(resources.SECRETS, uid) == foreign
        await home.kube.delete(resources.SYNC_SECRETS, "s1", NAMESPACE)
        await until(lambda: home.get(resources.SYNC_SECRETS, "s1") is None, "the SyncSecret goes")
        assert home.get(resources.SECRETS, uid) == foreign


async def test_the_secret_goes_before_its_sync_secret(home: World) -> None:
    sync_secret = await put(home, data={"a": b64("1")})
    await until_synced(home)
    uid = sync_secret["metadata"]["uid"]
    await home.kube.patch(resources.SECRETS, uid, {"metadata": {"finalizers": ["example.com/held"]}}, NAMESPACE)
    await home.kube.delete(resources.SYNC_SECRETS, "s1", NAMESPACE)
    await until(lambda: said(home) == ("Terminating", "False", "Terminating"), "it is said that it goes")
    await home.quiet()
    assert home.get(resources.SYNC_SECRETS, "s1") is not None
    await home.kube.patch(resources.SECRETS, uid, {"metadata": {"finalizers": None}}, NAMESPACE)
    await until(lambda: home.get(resources.SYNC_SECRETS, "s1") is None, "the SyncSecret goes")
    assert home.get(resources.SECRETS, uid) is None


async def test_without_the_finalizer_the_owner_reference_takes_it_along(home: World) -> None:
    sync_secret = await put(home, data={"a": b64("1")})
    await until_synced(home)
    home.manager.supervisor.stop()
    await until(lambda: not home.manager.supervisor.ready, "the manager stops")
    await change(home, {"metadata": {"finalizers": None}})
    await home.kube.delete(resources.SYNC_SECRETS, "s1", NAMESPACE)
    await until(lambda: home.get(resources.SECRETS, sync_secret["metadata"]["uid"]) is None, "collected")


async def test_a_quota_is_told_and_asked_again(home: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubelb_manager.controllers.sync_secret._REFUSED_RETRY", 1.0)
    home.kube.fail_next("create", resources.SECRETS, Forbidden(403, "Forbidden", "exceeded quota: secrets"))
    sync_secret = await put(home, data={"a": b64("1")})
    assert "exceeded quota" in await until_failed(home)
    await secret_with(home, sync_secret, "made when the quota allows it", data={"a": b64("1")})
    await until_synced(home)


async def test_nothing_is_written_twice_and_a_restart_writes_nothing(home: World) -> None:
    await put(home, data={"a": b64("1")}, stringData={"b": "2"})
    await put(home, "bad", type="my/own")
    await until_synced(home)
    await until_failed(home, "bad")
    await change(home, {"data": {"a": b64("2")}})
    await until_synced(home)
    await home.quiet()
    assert home.kube.wasted_writes() == []
    home.manager.supervisor.stop()
    await until(lambda: not home.manager.supervisor.ready, "the manager stops")
    home.kube.forget_requests()
    async with running(home.kube, home):
        await home.quiet()
        assert home.kube.writes() == []


async def test_the_tenant_takes_its_secrets_along(home: World) -> None:
    await put(home, data={"a": b64("1")})
    await until_synced(home)
    await home.kube.delete(resources.TENANTS, "a")
    await until(lambda: home.kube.peek(resources.TENANTS, "a") is None, "the Tenant is gone")
    assert home.kube.objects(resources.SYNC_SECRETS) == []
    assert home.kube.objects(resources.SECRETS, NAMESPACE) == []
