"""The manager's roles are what the manager calls and what it grants, no more and no less.

A whole manager runs over the fake API server, through the life of a tenant and its objects, and each
request is noted. What it asks for and the role lacks is missing; what it never asks for is too much.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from feature_world import FLEET, NAMESPACE, POD_MONITOR_CRD, RELEASE_SECONDS, World, running, typed, until

from kubelb_common import names
from kubelb_common.api import crd_schema
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import view
from kubelb_common.testing.fake_kube import FakeKube
from kubelb_manager.desired import network_policy, tenant
from kubelb_manager.ir.model import FleetId

DEPLOY = Path(__file__).parents[2] / "deploy" / "manager.yaml"
Right = tuple[str, str]
TENANT: Object = {"metadata": {"name": "a", "uid": "u"}}


def rights_of(rules: Iterable[dict[str, Any]]) -> set[Right]:
    """Return the (verb, `plural[.group][/subresource]`) pairs of RBAC rules."""
    found = set()
    for rule in rules:
        assert set(rule) == {"apiGroups", "resources", "verbs"}, f"a form that this test does not judge: {rule}"
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                plural, slash, sub = resource.partition("/")
                name = (f"{plural}.{group}" if group else plural) + slash + sub
                found |= {(verb, name) for verb in rule["verbs"]}
    return found


@pytest.fixture(scope="session")
def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(DEPLOY.read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def granted(manifests: list[dict[str, Any]]) -> set[Right]:
    """The rights of the manager's account, wherever it asks."""
    (role,) = (item for item in manifests if item["kind"] == "ClusterRole")
    return rights_of(role["rules"])


@pytest.fixture(scope="session")
def granted_at_home(manifests: list[dict[str, Any]]) -> set[Right]:
    """The rights of the manager's account in its own namespace alone."""
    (role,) = (item for item in manifests if item["kind"] == "Role")
    assert role["metadata"]["namespace"] == names.MANAGER_NAMESPACE
    return rights_of(role["rules"])


def _granted_to_tenants() -> set[Right]:
    forms = [(False, False), (False, True), (True, False)]
    roles = [tenant.role(TENANT, legacy_agent=legacy, terminating=ending) for legacy, ending in forms]
    return {right for role in roles for right in rights_of(role["rules"])}


def test_manager_holds_what_it_grants(granted: set[Right]) -> None:
    assert _granted_to_tenants() - granted == set()


def test_no_right_to_take_rights(granted: set[Right]) -> None:
    words = {verb for verb, _ in granted} | {resource for _, resource in granted}
    assert not words & {"*", "escalate", "bind", "impersonate", "pods/exec", "clusterroles.rbac.authorization.k8s.io"}


def test_account_is_bound_and_used(manifests: list[dict[str, Any]]) -> None:
    by_kind = {item["kind"]: item for item in manifests}
    account, binding = by_kind["ServiceAccount"], by_kind["ClusterRoleBinding"]
    subject = {"kind": "ServiceAccount", **{key: account["metadata"][key] for key in ("name", "namespace")}}
    assert binding["subjects"] == by_kind["RoleBinding"]["subjects"] == [subject]
    assert binding["roleRef"]["name"] == by_kind["ClusterRole"]["metadata"]["name"]
    assert by_kind["RoleBinding"]["roleRef"]["name"] == by_kind["Role"]["metadata"]["name"]
    assert by_kind["RoleBinding"]["metadata"]["namespace"] == by_kind["Role"]["metadata"]["namespace"]
    assert by_kind["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    assert account["metadata"]["namespace"] == names.MANAGER_NAMESPACE


def test_envoys_find_the_control_plane(manifests: list[dict[str, Any]]) -> None:
    by_kind = {item["kind"]: item for item in manifests}
    service, pod = by_kind["Service"], by_kind["Deployment"]["spec"]["template"]
    assert (service["metadata"]["name"], service["metadata"]["namespace"]) == (
        names.XDS_SERVICE,
        names.MANAGER_NAMESPACE,
    )
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    ports = [port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]]
    assert service["spec"]["ports"][0]["targetPort"] in ports
    assert service["spec"]["ports"][0]["port"] == names.XDS_PORT


class Notes:
    """An authorizer that allows everything and notes what was asked."""

    def __init__(self) -> None:
        self.asked: set[Right] = set()
        self.at_home: set[Right] = set()

    def __call__(self, verb: str, resource: str, namespace: str | None, _name: str) -> bool:
        (self.at_home if namespace == names.MANAGER_NAMESPACE else self.asked).add((verb, resource))
        return True


async def _tamper(
    world: World, resource: Resource, name: str, patch: Object, namespace: str | None = NAMESPACE
) -> None:
    """Somebody changes an object of ours; wait until the manager has put it right."""
    before = world.kube.peek(resource, name, namespace)
    assert before is not None, f"{resource} {name}"
    changed = await world.kube.patch(resource, name, patch, namespace)

    def repaired() -> bool:
        now = world.kube.peek(resource, name, namespace)
        return now is not None and now["metadata"]["resourceVersion"] != changed["metadata"]["resourceVersion"]

    await until(repaired, f"{resource.kind} {name} is put right")


async def _life(world: World) -> None:
    """Everything that the manager does in the life of a tenant."""
    kube = world.kube
    config = {"metadata": {"name": names.CONFIG_NAME}, "spec": {"envoyProxy": {"podMonitor": {"enabled": True}}}}
    await kube.create(resources.CONFIGS, typed(resources.CONFIGS, config), "kubelb")
    await world.onboard()
    ask = {names.ANNOTATION_TOKEN_GENERATION: "2", names.ANNOTATION_TOKEN_OVERLAP: "0s"}
    await kube.patch(resources.TENANTS, "a", {"metadata": {"annotations": ask}})
    await world.fill_token("kubelb-ccm-2", "fresh")
    await until(lambda: world.get(resources.SECRETS, "kubelb-ccm") is None, "the token is rotated")
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.load_balancer("lb1", 5432, 30100)
    await world.load_balancer("refused", 5432, 80)
    await until(lambda: world.kube.objects(resources.EVENTS, NAMESPACE), "an Event of the refusal")
    await kube.delete(resources.LOAD_BALANCERS, "refused", NAMESPACE)
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await world.ready_pods("envoy-0")
        await world.address("envoy-ingress", "198.51.100.1")
        await world.address("envoy-lb1", "198.51.100.2")

        def programmed() -> bool:
            kinds = ((resources.ROUTES, "r1"), (resources.LOAD_BALANCERS, "lb1"))
            return all(world.condition(kind, name, "Programmed").get("status") == "True" for kind, name in kinds)

        await until(programmed, "programmed")
        ingresses = kube.objects(resources.INGRESSES, NAMESPACE)
        await until(lambda: kube.objects(resources.INGRESSES, NAMESPACE)[0].get("status"), "the copy's status")
        await _tampering(world, ingresses[0]["metadata"]["name"])
        await _secrets(world)
        await _other_workload(world)
        await _other_topology(world)
        await _objects_come_and_go(world, envoy)
        await _whole_tenant_goes(world)


async def _tampering(world: World, ingress: str) -> None:
    foreign: Object = {"metadata": {"labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY}, "ownerReferences": None}}
    for resource, name in (
        (resources.SERVICE_ACCOUNTS, names.CCM_ACCOUNT),
        (resources.ROLE_BINDINGS, names.CCM_ACCOUNT),
        (resources.TENANT_STATES, names.TENANT_STATE_NAME),
    ):
        await _tamper(world, resource, name, foreign)
    await _tamper(world, resources.ROLES, names.CCM_ACCOUNT, {"rules": []})
    kubeconfig = {"data": {names.CCM_KUBECONFIG_KEY: base64.b64encode(b"{}").decode()}}
    await _tamper(world, resources.SECRETS, names.CCM_KUBECONFIG_SECRET, kubeconfig)
    await _tamper(world, resources.NAMESPACES, NAMESPACE, foreign, None)
    await _tamper(world, resources.DEPLOYMENTS, f"envoy-{NAMESPACE}", {"spec": {"replicas": 7}})
    for resource, name in (
        (resources.DISRUPTION_BUDGETS, f"envoy-{NAMESPACE}"),
        (resources.NETWORK_POLICIES, "envoy-proxy"),
        (resources.POD_MONITORS, "envoy-proxy"),
    ):
        await until(lambda: world.get(resource, name), resource.kind)  # noqa: B023
        await _tamper(world, resource, name, {"spec": {"selector": None, "podSelector": None}})
    await _tamper(world, resources.SERVICES, "envoy-lb1", {"spec": {"selector": {"other": "pods"}}})
    await _tamper(world, resources.INGRESSES, ingress, {"spec": {"rules": None, "defaultBackend": None}})
    unfollowed: Object = {"metadata": {"labels": {names.LABEL_MANAGED_BY: None, names.LABEL_FLEET: None}}}
    for resource, name in (
        (resources.SERVICES, "envoy-lb1"),
        (resources.INGRESSES, ingress),
        (resources.DEPLOYMENTS, f"envoy-{NAMESPACE}"),
        (resources.DISRUPTION_BUDGETS, f"envoy-{NAMESPACE}"),
        (resources.NETWORK_POLICIES, network_policy.NAME),
    ):
        await _tamper(world, resource, name, unfollowed)


async def _secrets(world: World) -> None:
    """A tenant's Secret comes, changes its type, loses our label, and goes."""
    kube = world.kube
    body: Object = {"metadata": {"name": "s1"}, "data": {"username": "bWU="}}
    uid = (await kube.create(resources.SYNC_SECRETS, typed(resources.SYNC_SECRETS, body), NAMESPACE))["metadata"]["uid"]
    await until(lambda: world.get(resources.SECRETS, uid), "its Secret")
    await kube.patch(resources.SYNC_SECRETS, "s1", {"type": "kubernetes.io/basic-auth"}, NAMESPACE)
    await until(lambda: (world.get(resources.SECRETS, uid) or {}).get("type") == "kubernetes.io/basic-auth", "its type")
    await _tamper(world, resources.SECRETS, uid, {"metadata": {"labels": {names.LABEL_MANAGED_BY: None}}})
    await kube.delete(resources.SYNC_SECRETS, "s1", NAMESPACE)
    await until(lambda: world.get(resources.SYNC_SECRETS, "s1") is None, "it goes")
    assert world.get(resources.SECRETS, uid) is None


async def _configure(world: World, **envoy_proxy: Any) -> None:
    await world.kube.patch(resources.CONFIGS, names.CONFIG_NAME, {"spec": {"envoyProxy": envoy_proxy}}, "kubelb")


async def _other_workload(world: World) -> None:
    """The Envoys become a DaemonSet, and a Deployment again."""
    name = f"envoy-{NAMESPACE}"
    await _configure(world, useDaemonset=True, podMonitor={"enabled": False}, networkPolicy={"disable": True})
    for resource in (resources.NETWORK_POLICIES, resources.POD_MONITORS):
        await until(lambda: world.get(resource, "envoy-proxy") is None, f"no {resource.kind}")  # noqa: B023
    await until(lambda: world.get(resources.DAEMON_SETS, name), "a DaemonSet")
    await world.roll_out(resources.DAEMON_SETS)
    await until(lambda: world.get(resources.DEPLOYMENTS, name) is None, "no Deployment")
    await _tamper(
        world, resources.DAEMON_SETS, name, {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    )
    await _tamper(world, resources.DAEMON_SETS, name, {"metadata": {"labels": {names.LABEL_FLEET: None}}})
    await _configure(world, useDaemonset=False)
    await until(lambda: world.get(resources.DEPLOYMENTS, name), "a Deployment")
    await world.roll_out(resources.DEPLOYMENTS)
    await until(lambda: world.get(resources.DAEMON_SETS, name) is None, "no DaemonSet")


async def _other_topology(world: World) -> None:
    """The tenant comes to share Envoys with all others, and gets its own again."""
    everybody = FleetId("kubelb", names.GLOBAL_FLEET)
    await _configure(world, topology="global")
    await world.certificate(everybody)
    async with world.envoy("all-0", everybody):
        await world.ready_pods("all-0", fleet=everybody)
        await world.roll_out(fleet=everybody)

        def piece() -> str:
            found = world.kube.objects(resources.ENDPOINT_SLICES, NAMESPACE)
            own = {"kubernetes.io/service-name": "envoy-lb1", names.LABEL_MANAGED_BY: names.MANAGED_BY}
            return next((view.name(item) for item in found if own.items() <= view.labels(item).items()), "")

        await until(piece, "the LoadBalancer's own EndpointSlice")
        await _tamper(world, resources.ENDPOINT_SLICES, piece(), {"endpoints": []})
        await _configure(world, topology="shared")
        await world.roll_out()
        of_the_cluster = {
            "metadata": {
                "name": "envoy-lb1-x",
                "labels": {names.LABEL_FLEET: names.fleet_label(*FLEET), "kubernetes.io/service-name": "envoy-lb1"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
        }
        await world.kube.create(resources.ENDPOINT_SLICES, of_the_cluster, NAMESPACE)
        await until(lambda: not piece(), "it goes")
    await world.ready_pods(fleet=everybody)


async def _objects_come_and_go(world: World, envoy: Any) -> None:
    kube = world.kube
    await kube.delete(resources.ROUTES, "r1", NAMESPACE)
    await kube.delete(resources.LOAD_BALANCERS, "lb1", NAMESPACE)
    await until(lambda: not kube.objects(resources.ROUTES, NAMESPACE), "the Route is released", seconds=RELEASE_SECONDS)
    await until(
        lambda: not kube.objects(resources.LOAD_BALANCERS, NAMESPACE), "the LoadBalancer too", seconds=RELEASE_SECONDS
    )
    await until(lambda: world.get(resources.SERVICES, "envoy-lb1") is None, "its Service goes")
    await world.load_balancer("lb2", 80, 30200)
    await kube.patch(resources.LOAD_BALANCERS, "lb2", {"metadata": {"finalizers": None}}, NAMESPACE)
    await until(lambda: world.get(resources.LOAD_BALANCERS, "lb2")["metadata"].get("finalizers"), "held again")
    assert not envoy.faults


async def _whole_tenant_goes(world: World) -> None:
    kube = world.kube
    held = {"metadata": {"name": "held", "finalizers": ["example.com/never"]}}
    await kube.create(resources.SYNC_SECRETS, typed(resources.SYNC_SECRETS, held), NAMESPACE)
    await world.route("r2", "b.example.com", {"echo": 30001})
    await until(lambda: kube.objects(resources.INGRESSES, NAMESPACE), "a copy")
    await kube.delete(resources.TENANTS, "a")
    await until(lambda: kube.peek(resources.TENANTS, "a") is None, "the Tenant is gone", seconds=RELEASE_SECONDS)


@pytest.fixture
async def notes() -> Notes:
    """What a manager asks its API server for."""
    notes = Notes()
    admin = FakeKube(namespaces=["kubelb"], crds=[*crd_schema.crds(), POD_MONITOR_CRD], garbage_collection=True)
    api_server = {
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [{"name": "https", "port": 6443}],
    }
    admin.put(resources.ENDPOINT_SLICES, api_server)
    async with running(admin.as_client(notes), leader_election=True) as world:
        world.kube = admin
        await _life(world)
    return notes


async def test_roles_are_what_the_manager_needs(granted: set[Right], granted_at_home: set[Right], notes: Notes) -> None:
    asked = notes.asked | (notes.at_home - granted_at_home)
    assert [" ".join(right) for right in sorted(asked - granted)] == [], "the manager asks for what the role lacks"
    needed = asked | notes.at_home | _granted_to_tenants()
    assert [" ".join(right) for right in sorted(granted_at_home - notes.at_home)] == [], "nobody asks for that at home"
    assert [" ".join(right) for right in sorted(granted - needed)] == [], "the role gives what nobody asks for"
