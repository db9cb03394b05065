"""Secrets: a copy in the management cluster is equal byte for byte or gone, within 10 s of whatever happened."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import conditions, view
from kubelb_e2e.scenario import Environment, Tenant

LABEL = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
MEBIBYTE = 1024 * 1024


def b64(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


async def put(tenant: Tenant, name: str, data: dict[str, str], *, namespace: str = "", **content: Any) -> Object:
    """Create a labelled Secret; values are in base64."""
    metadata = {"name": name, "labels": LABEL, **({"namespace": namespace} if namespace else {})}
    return await tenant.apply(resources.SECRETS, {"metadata": metadata, "data": data, **content})


async def copies(env: Environment, tenant: Tenant, name: str, namespace: str = "") -> list[Object]:
    """Return the Secrets of the management cluster that come from this one."""
    origin = f"{names.LABEL_ORIGIN_NAMESPACE}={namespace or tenant.namespace},{names.LABEL_ORIGIN_NAME}={name}"
    return (await env.management.list(resources.SECRETS, tenant.hub_namespace, label_selector=origin)).items


async def synced(
    env: Environment, tenant: Tenant, name: str, data: dict[str, str], *, namespace: str = "", **content: Any
) -> Object:
    """Wait for the one copy that holds exactly this; return it."""

    async def equal() -> Object:
        found = await copies(env, tenant, name, namespace)
        assert len(found) == 1, f"{len(found)} copies of {name}"
        (copy,) = found
        assert (copy.get("data") or {}) == data, (
            f"the copy of {name} has other values: {sorted(copy.get('data') or {})}"
        )
        for key, value in content.items():
            assert copy.get(key) == value, f"{key} of the copy of {name}: {copy.get(key)}"
        return copy

    return await env.wait.eventually("synced", equal)


async def unsynced(env: Environment, tenant: Tenant, name: str, namespace: str = "") -> None:
    """Wait until no copy is left, nor the SyncSecret beside the Secret."""

    async def none() -> None:
        assert not await copies(env, tenant, name, namespace), f"a copy of {name} is left"
        exported = (await env.management.list(resources.SYNC_SECRETS, tenant.hub_namespace)).items
        left = [item for item in exported if view.labels(item).get(names.LABEL_ORIGIN_NAME) == name]
        left = [
            item for item in left if view.labels(item)[names.LABEL_ORIGIN_NAMESPACE] == (namespace or tenant.namespace)
        ]
        assert not left, f"a SyncSecret of {name} is left in the management cluster"

    await env.wait.eventually("synced", none)


async def phase(env: Environment, tenant: Tenant, name: str, wanted: str, reason: str) -> str:
    """Wait for a phase and reason of a tenant's SyncSecret, about its present generation; return the message."""

    async def said() -> str:
        found = await tenant.get(resources.SYNC_SECRETS, name)
        status = found.get("status") or {}
        condition = conditions.find(view.objects(status, "conditions"), "Synced") or {}
        assert (status.get("phase"), condition.get("reason")) == (wanted, reason), f"SyncSecret {name}: {status}"
        assert status["observedGeneration"] == condition["observedGeneration"] == view.generation(found)
        return str(condition["message"])

    return await env.wait.eventually("synced", said)


async def test_a_labelled_secret_is_copied_and_followed(env: Environment) -> None:
    """A labelled Secret appears in the management cluster, its values follow, and it goes."""
    tenant = env.tenant
    binary = b64(bytes(range(256)))
    await put(tenant, "web", {"a": binary, "b": b64("1"), "empty": ""})
    await tenant.apply(resources.SECRETS, {"metadata": {"name": "private"}, "data": {"a": b64("1")}})
    copy = await synced(env, tenant, "web", {"a": binary, "b": b64("1"), "empty": ""}, type="Opaque")
    await phase(env, tenant, "web", "Synced", "Synced")
    assert "annotations" not in copy["metadata"]
    await tenant.client.patch(
        resources.SECRETS, "web", {"data": {"a": b64("2"), "b": None, "empty": None}}, tenant.namespace
    )
    await synced(env, tenant, "web", {"a": b64("2")})
    await phase(env, tenant, "web", "Synced", "Synced")
    assert not await copies(env, tenant, "private"), "a Secret without the label was copied"
    await tenant.delete(resources.SECRETS, "web")
    await unsynced(env, tenant, "web")
    await env.wait.eventually("synced", lambda: tenant.gone(resources.SECRETS, "web"))
    await env.wait.eventually("synced", lambda: tenant.gone(resources.SYNC_SECRETS, "web"))


async def test_a_secret_without_its_label_is_unsynced(env: Environment) -> None:
    """The label is removed: the copies go, the Secret stays as it was; the label comes back: so does the copy."""
    tenant = env.tenant
    await put(tenant, "web", {"a": b64("1")})
    await synced(env, tenant, "web", {"a": b64("1")})
    unlabel = {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}}
    await tenant.client.patch(resources.SECRETS, "web", unlabel, tenant.namespace)
    await unsynced(env, tenant, "web")
    secret = await tenant.get(resources.SECRETS, "web")
    assert secret["data"] == {"a": b64("1")}
    assert not view.finalizers(secret), "it could not be deleted without us"
    await env.wait.eventually("synced", lambda: tenant.gone(resources.SYNC_SECRETS, "web"))
    await tenant.client.patch(resources.SECRETS, "web", {"metadata": {"labels": LABEL}}, tenant.namespace)
    await synced(env, tenant, "web", {"a": b64("1")})


async def test_type_and_immutable(env: Environment) -> None:
    """A Secret is made anew with another type; one becomes immutable, and is made anew with another value."""
    tenant = env.tenant
    pair = {"username": b64("me"), "password": b64("secret")}
    await put(tenant, "login", pair)
    await synced(env, tenant, "login", pair, type="Opaque")
    await tenant.delete(resources.SECRETS, "login")
    await env.wait.eventually("synced", lambda: tenant.gone(resources.SECRETS, "login"))
    await put(tenant, "login", pair, type="kubernetes.io/basic-auth")
    await synced(env, tenant, "login", pair, type="kubernetes.io/basic-auth")
    await tenant.client.patch(resources.SECRETS, "login", {"immutable": True}, tenant.namespace)
    await synced(env, tenant, "login", pair, immutable=True)
    await tenant.delete(resources.SECRETS, "login")
    await env.wait.eventually("synced", lambda: tenant.gone(resources.SECRETS, "login"))
    await put(tenant, "login", {**pair, "username": b64("you")}, type="kubernetes.io/basic-auth", immutable=True)
    await synced(env, tenant, "login", {**pair, "username": b64("you")}, immutable=True)


async def test_same_name_in_two_namespaces_and_two_tenants(env: Environment) -> None:
    """Four Secrets of one name have four copies of their own; one that goes takes no other along."""
    other = f"{env.tenant.namespace}-other"
    for tenant in env.tenants[:2]:
        await tenant.client.create(resources.NAMESPACES, {"metadata": {"name": other}})
    try:
        for tenant in env.tenants[:2]:
            for namespace in (tenant.namespace, other):
                await put(tenant, "web", {"from": b64(f"{tenant.name} {namespace}")}, namespace=namespace)
        for tenant in env.tenants[:2]:
            for namespace in (tenant.namespace, other):
                await synced(env, tenant, "web", {"from": b64(f"{tenant.name} {namespace}")}, namespace=namespace)
        await env.tenant.client.delete(resources.SECRETS, "web", other)
        await unsynced(env, env.tenant, "web", other)
        second = env.tenants[1]
        await synced(env, env.tenant, "web", {"from": b64(f"{env.tenant.name} {env.tenant.namespace}")})
        await synced(env, second, "web", {"from": b64(f"{second.name} {other}")}, namespace=other)
    finally:
        for tenant in env.tenants[:2]:
            await tenant.client.delete(resources.NAMESPACES, other)


async def test_a_secret_of_one_mebibyte(env: Environment) -> None:
    """The largest Secret that Kubernetes takes is copied, and so is its last byte when it changes."""
    tenant = env.tenant
    await put(tenant, "large", {"a": b64(b"\xff" * MEBIBYTE)})
    await synced(env, tenant, "large", {"a": b64(b"\xff" * MEBIBYTE)})
    changed = b64(b"\xff" * (MEBIBYTE - 1) + b"\x00")
    await tenant.client.patch(resources.SECRETS, "large", {"data": {"a": changed}}, tenant.namespace)
    await synced(env, tenant, "large", {"a": changed})


async def test_a_sync_secret_that_somebody_wrote(env: Environment) -> None:
    """A SyncSecret without a Secret: text values, another type in place, and a Secret of its name beside it."""
    tenant = env.tenant
    body = {"apiVersion": names.API_VERSION, "kind": "SyncSecret", "metadata": {"name": "own"}}
    content = {"data": {"username": b64("old"), "b": b64("1")}, "stringData": {"username": "mé"}}
    await tenant.apply(resources.SYNC_SECRETS, {**body, **content})
    values = {"username": b64("mé"), "b": b64("1")}
    await synced(env, tenant, "own", values, type="Opaque", stringData=None)
    await phase(env, tenant, "own", "Synced", "Synced")
    patch = {"type": "kubernetes.io/basic-auth", "immutable": True}
    await tenant.client.patch(resources.SYNC_SECRETS, "own", patch, tenant.namespace)
    await synced(env, tenant, "own", values, type="kubernetes.io/basic-auth", immutable=True)
    await tenant.client.patch(resources.SYNC_SECRETS, "own", {"stringData": {"username": "you"}}, tenant.namespace)
    await synced(env, tenant, "own", {**values, "username": b64("you")}, immutable=True)
    await put(tenant, "own", {"a": b64("1")})

    async def told() -> None:
        secret = await tenant.get(resources.SECRETS, "own")
        assert "NotOurs" in view.annotations(secret).get(names.ANNOTATION_STATUS, "")

    await env.wait.eventually("synced", told)
    await synced(env, tenant, "own", {**values, "username": b64("you")})
    await tenant.delete(resources.SYNC_SECRETS, "own")
    await synced(env, tenant, "own", {"a": b64("1")}, type="Opaque")


@pytest.mark.parametrize("kind", ["kubernetes.io/service-account-token", "example.com/own"])
async def test_other_types_are_refused(env: Environment, kind: str) -> None:
    """A type that means something to the management cluster makes no Secret there; status and Events say so."""
    tenant = env.tenant
    body = {"apiVersion": names.API_VERSION, "kind": "SyncSecret", "metadata": {"name": "own"}}
    body["metadata"]["annotations"] = {"kubernetes.io/service-account.name": names.CCM_ACCOUNT}
    await tenant.apply(resources.SYNC_SECRETS, {**body, "type": kind, "stringData": {"a": "1"}})
    message = await phase(env, tenant, "own", "Failed", "SyncFailed")
    assert kind in message, message
    assert not await copies(env, tenant, "own")
    if kind == "example.com/own":
        await put(tenant, "labelled", {"a": b64("1")}, type=kind)
        await phase(env, tenant, "labelled", "Failed", "SyncFailed")

    async def told() -> None:
        events = (await tenant.client.list(resources.EVENTS, tenant.namespace)).items
        found = {(event["involvedObject"]["kind"], event["involvedObject"]["name"]) for event in events}
        wanted = {("SyncSecret", "own")}
        if kind == "example.com/own":
            wanted |= {("Secret", "labelled"), ("SyncSecret", "labelled")}
        assert wanted <= found, found

    await env.wait.eventually("synced", told)
    await tenant.client.patch(resources.SYNC_SECRETS, "own", {"type": "Opaque"}, tenant.namespace)
    await synced(env, tenant, "own", {"a": b64("1")}, type="Opaque")
    await phase(env, tenant, "own", "Synced", "Synced")


async def test_what_is_edited_or_deleted_by_hand_is_restored(env: Environment) -> None:
    """Copies and SyncSecrets in both clusters, edited, unlabelled and deleted by hand, are as before; others untouched."""
    tenant = env.tenant
    data = {"a": b64("1")}
    await put(tenant, "web", data)
    await put(tenant, "other", data)
    copy, other = await synced(env, tenant, "web", data), await synced(env, tenant, "other", data)
    await phase(env, tenant, "other", "Synced", "Synced")
    exported = view.controller(copy)
    assert exported is not None
    other = (await copies(env, tenant, "other"))[0]
    hub, name = tenant.hub_namespace, view.name(copy)
    evil: Object = {"data": {"a": b64("evil"), "b": b64("2")}}
    for patch in (evil, {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}, **evil}, {"immutable": True, **evil}):
        await env.management.patch(resources.SECRETS, name, patch, hub)
        await synced(env, tenant, "web", data, immutable=None)
    await env.management.delete(resources.SECRETS, name, hub)
    await synced(env, tenant, "web", data)
    await env.management.patch(resources.SYNC_SECRETS, exported["name"], evil, hub)
    await synced(env, tenant, "web", data)
    await tenant.client.patch(resources.SYNC_SECRETS, "web", evil, tenant.namespace)
    await synced(env, tenant, "web", data)

    async def another(former: str) -> str:
        found = view.name((await copies(env, tenant, "web") or [{}])[0])
        assert found, "no copy"
        assert found != former, "still the copy of the SyncSecret that was deleted"
        return found

    await env.management.delete(resources.SYNC_SECRETS, exported["name"], hub)
    second = await env.wait.eventually("synced", lambda: another(name))
    await tenant.delete(resources.SYNC_SECRETS, "web")
    await env.wait.eventually("synced", lambda: another(second))
    await synced(env, tenant, "web", data)
    assert (await copies(env, tenant, "other"))[0] == other


async def test_a_secret_that_is_not_ours_is_left_alone(env: Environment) -> None:
    """Somebody's Secret has the name that a copy would get: it stays, and the tenant is told."""
    tenant = env.tenant
    await put(tenant, "web", {"a": b64("1")})
    name = view.name(await synced(env, tenant, "web", {"a": b64("1")}))
    taken: Object = {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}, "ownerReferences": None}}
    await env.management.patch(resources.SECRETS, name, {**taken, "data": {"mine": ""}}, tenant.hub_namespace)
    message = await phase(env, tenant, "web", "Failed", "SyncFailed")
    assert name in message, message
    found = await env.management.get(resources.SECRETS, name, tenant.hub_namespace)
    assert "mine" in found["data"]
    await env.management.delete(resources.SECRETS, name, tenant.hub_namespace)

    async def back() -> None:
        found = await copies(env, tenant, "web")
        assert [view.name(copy) for copy in found] == [name], "no copy yet"

    await env.wait.eventually("removed", back)  # it is asked for again every 30 s
