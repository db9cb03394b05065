"""What only the fake has: steering, faults, the controllers inside it."""

from __future__ import annotations

import asyncio

import pytest

from kubelb_common.kube import errors
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    ROUTES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from kubelb_common.testing.fake_kube import FakeKube, Request

pytestmark = pytest.mark.looptime


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube(namespaces=["a", "b"])


def config_map(name: str, namespace: str = "a", **meta: object) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, **meta}, "data": {}}


def owned_by(owner: Object, name: str, **extra: object) -> Object:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], **extra}
    return config_map(name, ownerReferences=[{**reference, "uid": owner["metadata"]["uid"]}])


async def test_request_log(kube: FakeKube) -> None:
    await kube.list(SERVICES)
    assert kube.writes() == []
    await kube.create(CONFIG_MAPS, config_map("x"))
    assert kube.writes() == [Request("create", "configmaps", "a", "x")]
    assert kube.requests()[0] == Request("list", "services", None, "")
    kube.forget_requests()
    assert kube.requests() == []


async def test_wasted_writes(kube: FakeKube) -> None:
    """What nobody had to send: refused, or the server had it already."""
    made = await kube.create(CONFIG_MAPS, config_map("x"))
    await kube.patch(CONFIG_MAPS, "x", {"data": {"a": "1"}}, "a")
    kube.put(SERVICE_ACCOUNTS, {"metadata": {"name": "s", "namespace": "a"}})
    await kube.create_subresource(SERVICE_ACCOUNTS, "s", "token", {}, "a")
    assert kube.wasted_writes() == []
    await kube.patch(CONFIG_MAPS, "x", {"data": {"a": "1"}}, "a")
    with pytest.raises(errors.AlreadyExists):
        await kube.create(CONFIG_MAPS, config_map("x"))
    with pytest.raises(errors.Conflict):
        await kube.replace(CONFIG_MAPS, made, "a")
    with pytest.raises(errors.NotFound):
        await kube.get(CONFIG_MAPS, "y", "a")
    assert [request.verb for request in kube.wasted_writes()] == ["patch", "create", "update"]
    kube.forget_requests()
    assert kube.wasted_writes() == []


async def test_status_writes_are_logged_as_subresource(kube: FakeKube) -> None:
    body = {"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "Route", "metadata": {"name": "x"}}
    await kube.create(ROUTES, body, "a")
    await kube.patch(ROUTES, "x", {"status": {"a": 1}}, "a", subresource="status")
    assert kube.writes()[-1] == Request("patch", "routes.kubelb.k8c.io/status", "a", "x")


async def test_injected_fault_comes_once_and_before_the_write(kube: FakeKube) -> None:
    kube.fail_next("create", CONFIG_MAPS, errors.Unreachable("cut"))
    await kube.create(SECRETS, {"metadata": {"name": "x"}}, "a")
    with pytest.raises(errors.Unreachable):
        await kube.create(CONFIG_MAPS, config_map("x"))
    assert kube.peek(CONFIG_MAPS, "x", "a") is None
    await kube.create(CONFIG_MAPS, config_map("x"))


async def test_lost_answer(kube: FakeKube) -> None:
    kube.fail_next("create", CONFIG_MAPS, errors.Unreachable("cut"), after=True)
    with pytest.raises(errors.Unreachable):
        await kube.create(CONFIG_MAPS, config_map("x"))
    assert kube.peek(CONFIG_MAPS, "x", "a")


async def test_somebody_else_is_faster(kube: FakeKube) -> None:
    made = await kube.create(CONFIG_MAPS, config_map("x"))
    kube.before_next("update", CONFIG_MAPS, lambda: kube.put(CONFIG_MAPS, {**config_map("x"), "data": {"a": "1"}}))
    with pytest.raises(errors.Conflict):
        await kube.replace(CONFIG_MAPS, made)


async def test_broken_watch_shows_what_it_had_first(kube: FakeKube) -> None:
    async with kube.watch(CONFIG_MAPS, resource_version="0") as events:
        kube.put(CONFIG_MAPS, config_map("x"))
        kube.break_watches()
        assert (await anext(events)).type == "ADDED"
        with pytest.raises(errors.Unreachable):
            await anext(events)


async def test_stopped_server(kube: FakeKube) -> None:
    kube.put(CONFIG_MAPS, config_map("x"))
    kube.stop()
    with pytest.raises(errors.Unreachable):
        await kube.list(CONFIG_MAPS)
    with pytest.raises(errors.Unreachable):
        await kube.server_version()
    kube.start()
    assert len((await kube.list(CONFIG_MAPS)).items) == 1


async def test_expired_history(kube: FakeKube) -> None:
    version = (await kube.list(CONFIG_MAPS)).resource_version
    kube.put(CONFIG_MAPS, config_map("x"))
    async with kube.watch(CONFIG_MAPS, resource_version=version) as events:
        kube.expire_history()
        assert (await anext(events)).type == "ADDED"  # an open watch goes on
    with pytest.raises(errors.Gone):
        async with kube.watch(CONFIG_MAPS, resource_version=version):
            pass


async def test_bounded_history() -> None:
    kube = FakeKube(namespaces=["a"], history_limit=3)
    version = (await kube.list(CONFIG_MAPS)).resource_version
    for name in "xyz":
        kube.put(CONFIG_MAPS, config_map(name))
    async with kube.watch(CONFIG_MAPS, resource_version=version) as events:
        assert [(await anext(events)).object["metadata"]["name"] for _ in range(3)] == ["x", "y", "z"]
    kube.put(CONFIG_MAPS, config_map("more"))
    with pytest.raises(errors.Gone):
        async with kube.watch(CONFIG_MAPS, resource_version=version):
            pass


async def test_watch_sees_a_list_without_a_gap(kube: FakeKube) -> None:
    """A consumer that starts late, while others write, sees each object exactly once."""

    async def write() -> None:
        for number in range(50):
            await kube.create(CONFIG_MAPS, config_map(f"item-{number}"))

    writer = asyncio.create_task(write())
    for _ in range(20):
        await asyncio.sleep(0)
    listed = await kube.list(CONFIG_MAPS)
    names = [obj["metadata"]["name"] for obj in listed.items]
    async with kube.watch(CONFIG_MAPS, resource_version=listed.resource_version) as events:
        while len(names) < 50:
            names.append((await anext(events)).object["metadata"]["name"])
    await writer
    assert sorted(names) == sorted(f"item-{number}" for number in range(50))


async def test_namespace_goes_when_its_last_object_goes(kube: FakeKube) -> None:
    kube.put(CONFIG_MAPS, config_map("plain"), config_map("held", finalizers=["kubelb.k8c.io/cleanup"]))
    kube.put(CONFIG_MAPS, config_map("other", "b"))
    await kube.delete(NAMESPACES, "a")
    assert [obj["metadata"]["name"] for obj in kube.objects(CONFIG_MAPS, "a")] == ["held"]
    await kube.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": []}}, "a")
    assert kube.peek(NAMESPACES, "a") is None
    assert kube.objects(CONFIG_MAPS, "b")
    await kube.create(NAMESPACES, {"metadata": {"name": "a"}})
    await kube.create(CONFIG_MAPS, config_map("plain"))


async def test_empty_namespace_goes_at_once(kube: FakeKube) -> None:
    await kube.delete(NAMESPACES, "b")
    assert kube.peek(NAMESPACES, "b") is None


async def test_namespaces_can_be_lenient() -> None:
    kube = FakeKube(strict_namespaces=False)
    await kube.create(CONFIG_MAPS, config_map("x", "anywhere"))


@pytest.fixture
def collecting() -> FakeKube:
    return FakeKube(namespaces=["a"], garbage_collection=True)


async def test_dependents_go_with_their_owner(collecting: FakeKube) -> None:
    owner = collecting.put(CONFIG_MAPS, config_map("owner"))[0]
    child = collecting.put(CONFIG_MAPS, owned_by(owner, "child"))[0]
    collecting.put(CONFIG_MAPS, owned_by(child, "grandchild"))
    await collecting.delete(CONFIG_MAPS, "owner", "a")
    assert collecting.objects(CONFIG_MAPS) == []


async def test_orphans_lose_the_reference_only(collecting: FakeKube) -> None:
    owner = collecting.put(CONFIG_MAPS, config_map("owner"))[0]
    collecting.put(CONFIG_MAPS, owned_by(owner, "child"))
    await collecting.delete(CONFIG_MAPS, "owner", "a", propagation="Orphan")
    (child,) = collecting.objects(CONFIG_MAPS)
    assert child["metadata"]["ownerReferences"] == []


async def test_foreground_owner_waits_for_its_dependents(collecting: FakeKube) -> None:
    owner = collecting.put(CONFIG_MAPS, config_map("owner"))[0]
    child = owned_by(owner, "child")
    child["metadata"]["finalizers"] = ["kubelb.k8c.io/cleanup"]
    collecting.put(CONFIG_MAPS, child)
    await collecting.delete(CONFIG_MAPS, "owner", "a", propagation="Foreground")
    assert all(obj["metadata"]["deletionTimestamp"] for obj in collecting.objects(CONFIG_MAPS))
    assert len(collecting.objects(CONFIG_MAPS)) == 2
    await collecting.patch(CONFIG_MAPS, "child", {"metadata": {"finalizers": None}}, "a")
    assert collecting.objects(CONFIG_MAPS) == []


async def test_dependent_of_nobody_goes(collecting: FakeKube) -> None:
    owner = collecting.put(CONFIG_MAPS, config_map("owner"))[0]
    await collecting.delete(CONFIG_MAPS, "owner", "a")
    await collecting.create(CONFIG_MAPS, owned_by(owner, "late"))
    assert collecting.objects(CONFIG_MAPS) == []


async def test_hidden_kind(kube: FakeKube) -> None:
    kube.hide(ROUTES)
    with pytest.raises(errors.NotFound):
        await kube.list(ROUTES)
    kube.show(ROUTES)
    assert (await kube.list(ROUTES)).items == []


async def test_rights_come_from_stored_roles(kube: FakeKube) -> None:
    user = kube.as_user("system:serviceaccount:a:agent")
    with pytest.raises(errors.Forbidden):
        await user.list(PODS, "a")
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    kube.put(ROLES, {"metadata": {"name": "r", "namespace": "a"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": "agent", "namespace": "a"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    binding = {"metadata": {"name": "r", "namespace": "a"}, "subjects": [subject], "roleRef": reference}
    kube.put(ROLE_BINDINGS, binding)
    await user.list(PODS, "a")
    for refused in (user.list(PODS, "b"), user.list(PODS), user.get(PODS, "x", "a")):
        with pytest.raises(errors.Forbidden):
            await refused
    assert await kube.as_user("root", ["system:masters"]).list(PODS)


async def test_bookmark_on_demand(kube: FakeKube) -> None:
    version = (await kube.list(CONFIG_MAPS)).resource_version
    async with kube.watch(CONFIG_MAPS, resource_version=version, label_selector="x=y") as events:
        stored = kube.put(CONFIG_MAPS, config_map("x"))[0]
        kube.send_bookmarks()
        event = await anext(events)
    assert (event.type, event.object["metadata"]["resourceVersion"]) == (
        "BOOKMARK",
        stored["metadata"]["resourceVersion"],
    )


async def test_freed_node_port_is_given_out_again(kube: FakeKube) -> None:
    """The trap of a stale route that reaches another application: the fake shows it always."""
    body = {"metadata": {"name": "x"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    first = await kube.create(SERVICES, body, "a")
    await kube.delete(SERVICES, "x", "a")
    second = await kube.create(SERVICES, body, "b")
    assert first["spec"]["ports"][0]["nodePort"] == second["spec"]["ports"][0]["nodePort"]
