"""Whatever the manager made and somebody changed or deleted by hand is as before; nothing else is touched."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest
from feature_world import NAMESPACE, World, typed, until

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object, Resource
from kubelb_manager.controllers.xds_identity import AUTHORITY_SECRET
from kubelb_manager.desired import network_policy

CA = (resources.SECRETS, AUTHORITY_SECRET, "kubelb")
_VOLATILE = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields")


class Generated(NamedTuple):
    """An object that the manager makes, and an edit of it."""

    resource: Resource
    name: str
    edit: Object
    namespace: str | None = NAMESPACE


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


OTHER = {"data": {"other": b64("x")}}
GENERATED = [
    Generated(resources.NAMESPACES, NAMESPACE, {"metadata": {"ownerReferences": None}}, None),
    Generated(resources.SERVICE_ACCOUNTS, names.CCM_ACCOUNT, {"metadata": {"ownerReferences": None}}),
    Generated(
        resources.ROLES, names.CCM_ACCOUNT, {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
    ),
    Generated(resources.ROLE_BINDINGS, names.CCM_ACCOUNT, {"subjects": [{"kind": "User", "name": "me"}]}),
    Generated(resources.SECRETS, names.CCM_KUBECONFIG_SECRET, {"data": {names.CCM_KUBECONFIG_KEY: b64("{}")}}),
    Generated(resources.TENANT_STATES, names.TENANT_STATE_NAME, {"metadata": {"ownerReferences": None}}),
    Generated(resources.DEPLOYMENTS, f"envoy-{NAMESPACE}", {"spec": {"replicas": 7}}),
    Generated(resources.DISRUPTION_BUDGETS, f"envoy-{NAMESPACE}", {"spec": {"maxUnavailable": 3}}),
    Generated(resources.NETWORK_POLICIES, network_policy.NAME, {"spec": {"egress": [{}]}}),
    Generated(resources.SECRETS, f"envoy-{NAMESPACE}-xds", {"data": {"ca.crt": b64("x")}}),
    Generated(resources.SERVICES, names.INGRESS_SERVICE, {"spec": {"selector": {"other": "pods"}}}),
    Generated(
        resources.SERVICES,
        names.fleet_members(NAMESPACE, names.SHARED_FLEET),
        {"spec": {"ports": [{"name": "x", "port": 1, "protocol": "TCP"}]}},
    ),
    Generated(resources.SERVICES, "envoy-lb1", {"spec": {"ports": [{"name": "p", "port": 1, "protocol": "TCP"}]}}),
    Generated(
        resources.INGRESSES,
        "",
        {"spec": {"rules": None, "defaultBackend": {"service": {"name": "x", "port": {"number": 1}}}}},
    ),
    Generated(resources.SECRETS, "of the SyncSecret", OTHER),
    Generated(resources.SECRETS, AUTHORITY_SECRET, {"data": {"tls.crt": b64("x")}}, "kubelb"),
]
IDS = [f"{each.resource.kind}-{each.name}" for each in GENERATED]
#: Deleted, they take their content along, or mean another credential.
KEPT = (resources.NAMESPACES, resources.TENANT_STATES)


@pytest.fixture
async def served(world: World) -> AsyncIterator[World]:
    """A tenant with one object of each kind, served."""
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.load_balancer("lb1", 5432, 30100)
    body: Object = {"metadata": {"name": "s1"}, "data": {"a": b64("1")}}
    await world.kube.create(resources.SYNC_SECRETS, typed(resources.SYNC_SECRETS, body), NAMESPACE)
    await world.certificate()
    async with world.envoy():
        await world.ready_pods("envoy-0")
        await world.address("envoy-ingress", "198.51.100.1")
        await world.address("envoy-lb1", "198.51.100.2")
        for resource, name in ((resources.ROUTES, "r1"), (resources.LOAD_BALANCERS, "lb1")):
            await until(lambda: world.condition(resource, name, "Programmed").get("status") == "True", name)  # noqa: B023
        await until(lambda: world.condition(resources.SYNC_SECRETS, "s1", "Synced").get("status") == "True", "synced")
        await world.quiet()
        yield world


def find(world: World, generated: Generated) -> tuple[Resource, str, str | None]:
    """Return where an object is; some names are not known before."""
    resource, name, _, namespace = generated
    if resource == resources.INGRESSES:
        (copy,) = world.kube.objects(resource, NAMESPACE)
        name = copy["metadata"]["name"]
    elif generated.edit is OTHER:
        name = world.get(resources.SYNC_SECRETS, "s1")["metadata"]["uid"]
    return resource, name, namespace


def told(obj: Object | None) -> Any:
    """Return what an object says, but for what differs in every life of it."""
    if obj is None:
        return None
    kept = {key: value for key, value in obj["metadata"].items() if key not in _VOLATILE}
    body = {key: value for key, value in obj.items() if key not in {"metadata", "status"}}
    if obj["kind"] == "Service":
        ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in body["spec"]["ports"]]
        given = ("clusterIP", "clusterIPs", "healthCheckNodePort")
        body["spec"] = {**{k: v for k, v in body["spec"].items() if k not in given}, "ports": ports}
    if obj["metadata"]["name"] == f"envoy-{NAMESPACE}-xds":
        body["data"] = sorted(body["data"])  # another certificate is as good
    return {**body, "metadata": kept}


def others(world: World, but: tuple[Resource, str, str | None]) -> Iterator[tuple[str, str, str]]:
    """Return the version of every object in the cluster but one, Events apart."""
    for resource in world.kube.store.resources():
        for obj in world.kube.objects(resource):
            metadata = obj["metadata"]
            if (resource, metadata["name"], metadata.get("namespace")) != but and resource != resources.EVENTS:
                yield str(resource), metadata["name"], metadata["resourceVersion"]


async def restored(world: World, place: tuple[Resource, str, str | None], before: Object, since: str) -> None:
    resource, name, namespace = place

    def done() -> bool:
        now = world.kube.peek(resource, name, namespace)
        return now is not None and now["metadata"]["resourceVersion"] != since and told(now) == told(before)

    try:
        await until(done, f"{resource.kind} {name} is restored", seconds=10)
    except AssertionError:
        assert told(world.kube.peek(resource, name, namespace)) == told(before)
        raise


@pytest.mark.parametrize("generated", GENERATED, ids=IDS)
async def test_edited(served: World, generated: Generated) -> None:
    place = find(served, generated)
    before = served.kube.peek(*place)
    unrelated = dict.fromkeys(others(served, place))
    labels = {names.LABEL_MANAGED_BY: None, names.LABEL_FLEET: None}
    for patch in (generated.edit, {"metadata": {"labels": labels}}):
        changed = await served.kube.patch(place[0], place[1], patch, place[2])
        await restored(served, place, before, changed["metadata"]["resourceVersion"])
    await served.quiet()
    assert dict.fromkeys(others(served, place)) == unrelated


@pytest.mark.parametrize(
    "generated",
    [each for each in GENERATED if each.resource not in KEPT],
    ids=lambda each: f"{each.resource.kind}-{each.name}",
)
async def test_deleted(served: World, generated: Generated) -> None:
    place = find(served, generated)
    before = served.kube.peek(*place)
    await served.kube.delete(place[0], place[1], place[2])
    await restored(served, place, before, "")


async def test_a_deleted_token_is_another_credential(served: World) -> None:
    kubeconfig = served.get(resources.SECRETS, names.CCM_KUBECONFIG_SECRET)
    await served.kube.delete(resources.SECRETS, names.CCM_TOKEN_SECRET, NAMESPACE)
    await until(lambda: served.get(resources.SECRETS, names.CCM_TOKEN_SECRET), "a Secret for a token")
    data = {"token": b64("another"), "ca.crt": b64("ca")}
    await served.kube.patch(resources.SECRETS, names.CCM_TOKEN_SECRET, {"data": data}, NAMESPACE)
    await until(
        lambda: served.get(resources.SECRETS, names.CCM_KUBECONFIG_SECRET)["data"] != kubeconfig["data"],
        "its kubeconfig",
    )


async def test_a_deleted_namespace_is_made_anew(world: World) -> None:
    await world.onboard()
    await world.quiet()
    before = world.kube.peek(resources.NAMESPACES, NAMESPACE)
    await world.kube.delete(resources.NAMESPACES, NAMESPACE)

    def anew() -> bool:
        now = world.kube.peek(resources.NAMESPACES, NAMESPACE)
        return now is not None and now["metadata"]["uid"] != before["metadata"]["uid"]

    await until(anew, "a namespace")
    await until(lambda: world.get(resources.ROLES, names.CCM_ACCOUNT), "what is in it")
