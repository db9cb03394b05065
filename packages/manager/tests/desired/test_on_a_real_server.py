"""A real API server accepts every wanted object, and what it stores needs no second write (ruling 35)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from kubelb_common import names
from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import Forbidden
from kubelb_common.kube.port import Object, Resource
from kubelb_common.kube.resources import (
    DAEMON_SETS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    INGRESSES,
    NAMESPACES,
    NETWORK_POLICIES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from kubelb_common.testing.envtest import RealApi
from kubelb_manager.bootstrap.render import BootstrapOptions, render
from kubelb_manager.desired import envoy_fleet, monitoring, network_policy, service, tenant
from kubelb_manager.desired.live import prepared, updated
from kubelb_manager.settings.merged import EnvoySettings, Settings
from kubelb_manager.translate.addresses import address_policy
from kubelb_manager.translate.context import Context
from kubelb_manager.translate.egress import egress
from kubelb_manager.translate.route import translate_route

MANAGER = Path(__file__).parents[2] / "deploy" / "manager.yaml"
RESOURCES = {
    resource.kind: resource
    for resource in (
        NAMESPACES,
        SERVICE_ACCOUNTS,
        ROLES,
        ROLE_BINDINGS,
        SECRETS,
        SERVICES,
        DEPLOYMENTS,
        DAEMON_SETS,
        INGRESSES,
        DISRUPTION_BUDGETS,
        NETWORK_POLICIES,
    )
}
FULL = EnvoySettings(
    replicas=2,
    single_pod_per_node=True,
    node_selector={"role": "edge"},
    tolerations=({"key": "edge", "operator": "Exists"},),
    affinity={"nodeAffinity": {}},
    resources={"limits": {"cpu": "2", "memory": "1Gi"}},
)


@pytest.fixture
async def client(real_api: RealApi) -> AsyncIterator[AioClient]:
    client = AioClient(kubeconfig.load(real_api.kubeconfig))
    yield client
    await client.close()


@pytest.fixture
def owner() -> Object:
    """A Tenant that is not stored: nothing here collects garbage."""
    name = f"t{uuid.uuid4().hex[:8]}"
    return {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": {"name": name, "uid": "tenant-uid"}}


async def settles(client: AioClient, wanted: Object) -> Object:
    resource: Resource = RESOURCES[wanted["kind"]]
    live = await client.create(resource, prepared(wanted), wanted["metadata"].get("namespace"))
    assert updated(live, wanted) is None
    return live


async def rewritten(client: AioClient, live: Object, wanted: Object) -> Object:
    change = updated(live, wanted)
    assert change is not None
    after = await client.replace(RESOURCES[wanted["kind"]], change, wanted["metadata"].get("namespace"))
    assert updated(after, wanted) is None
    return after


async def test_account_and_fleet(client: AioClient, owner: Object) -> None:
    home = tenant.tenant_namespace(owner)
    await settles(client, tenant.namespace(owner))
    for wanted in (
        tenant.service_account(owner),
        tenant.role(owner),
        tenant.role_binding(owner),
        tenant.token_secret(owner),
        tenant.kubeconfig_secret(owner, server="https://127.0.0.1:6443", ca=b"ca", token="t"),
        envoy_fleet.xds_secret(owner, home, "shared", certificate=b"c", key=b"k", ca=b"a", files={"sds.json": "{}"}),
    ):
        await settles(client, wanted)


async def test_pods_are_restricted(client: AioClient, owner: Object) -> None:
    """The strictest of Kubernetes' Pod Security Standards takes the fleets' pods and the manager's."""
    home = tenant.tenant_namespace(owner)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await client.create(NAMESPACES, {"metadata": {"name": home, "labels": labels}})
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, home)
    agent = envoy_fleet.Agent("manager", "token")
    fleet = envoy_fleet.workload(
        owner, home, "shared", bootstrap="{}", image="envoy", agent=agent, settings=EnvoySettings()
    )
    manifest = yaml.safe_load_all(MANAGER.read_text(encoding="utf-8"))
    [manager] = [item for item in manifest if item["kind"] == "Deployment"]
    for name, workload in (("fleet", fleet), ("manager", manager)):
        spec = workload["spec"]["template"]["spec"]
        assert name == "manager" or spec["automountServiceAccountToken"] is False
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
        await client.create(PODS, {"metadata": {"name": name}, "spec": {**spec, "serviceAccountName": "default"}}, home)
    loose = {"containers": [{"name": "x", "image": "x"}]}
    with pytest.raises(Forbidden):
        await client.create(PODS, {"metadata": {"name": "loose"}, "spec": loose}, home)


async def test_guards(client: AioClient, owner: Object) -> None:
    home = tenant.tenant_namespace(owner)
    await settles(client, tenant.namespace(owner))
    agent = envoy_fleet.Agent("manager", "token")
    fleet = envoy_fleet.workload(
        owner, home, "shared", bootstrap="{}", image="envoy", agent=agent, settings=EnvoySettings()
    )
    await settles(client, monitoring.disruption_budget(fleet))

    def border(*nodes: str, granted: tuple[str, ...] = ()) -> Object:
        reach = egress(nodes, [address_policy(granted=granted)])
        return network_policy.fleet_policy(home, reach, manager_namespace="kubelb", owner=owner)

    live = await settles(client, border())
    live = await rewritten(client, live, border("192.0.2.1", "2001:db8::1", granted=("0.0.0.0/0", "::/0")))
    await rewritten(client, live, border("192.0.2.1"))


@pytest.mark.parametrize("daemon_set", [False, True])
async def test_workload(client: AioClient, owner: Object, daemon_set: bool) -> None:
    home = tenant.tenant_namespace(owner)
    await settles(client, tenant.namespace(owner))
    bootstrap, agent = render(BootstrapOptions()), envoy_fleet.Agent("manager", "token")
    settings = EnvoySettings(use_daemon_set=daemon_set)

    def wanted(settings: EnvoySettings) -> Object:
        return envoy_fleet.workload(
            owner, home, "shared", bootstrap=bootstrap, image="envoy", agent=agent, settings=settings
        )

    live = await settles(client, wanted(settings))
    if not daemon_set:
        full = await rewritten(client, live, wanted(FULL))
        plain = await rewritten(client, full, wanted(settings))
        assert "nodeSelector" not in plain["spec"]["template"]["spec"]


async def test_services(client: AioClient, owner: Object) -> None:
    home = tenant.tenant_namespace(owner)
    await settles(client, tenant.namespace(owner))
    await settles(client, service.ingress(owner, home, settings=Settings(load_balancer_class="a.io/b")))

    def wanted(kind: str, *numbers: int, lb_class: str = "") -> Object:
        lb: Object = {
            "apiVersion": names.API_VERSION,
            "kind": "LoadBalancer",
            "metadata": {"name": "lb", "namespace": home, "uid": "lb-uid"},
            "spec": {"type": kind},
        }
        ports = [service.service_port(f"p{number}", number, 12000 + number) for number in numbers]
        return service.load_balancer(lb, settings=Settings(load_balancer_class=lb_class), ports=ports)

    first = await settles(client, wanted("LoadBalancer", 80))
    node_port = first["spec"]["ports"][0]["nodePort"]
    more = await rewritten(client, first, wanted("LoadBalancer", 81, 80))
    assert {port["port"]: port["nodePort"] for port in more["spec"]["ports"]}[80] == node_port
    plain = await rewritten(client, more, wanted("ClusterIP", 80))
    assert plain["spec"]["clusterIP"] == first["spec"]["clusterIP"]
    classed = await rewritten(client, plain, wanted("LoadBalancer", 80, lb_class="a.io/b"))
    assert classed["spec"]["loadBalancerClass"] == "a.io/b"
    await rewritten(client, classed, wanted("LoadBalancer", 80, 82, lb_class="c.io/d"))


async def test_copy_of_an_ingress(client: AioClient, owner: Object) -> None:
    home = tenant.tenant_namespace(owner)
    await settles(client, tenant.namespace(owner))
    backend = {"service": {"name": "web", "port": {"name": "http"}}}
    paths = [
        {"path": "/a", "pathType": "Exact", "backend": backend},
        {"pathType": "ImplementationSpecific", "backend": {"service": {"name": "web", "port": {"number": 80}}}},
        {"path": "/r", "pathType": "Prefix", "backend": {"resource": {"apiGroup": "x.io", "kind": "B", "name": "b"}}},
    ]
    rules = [{"host": "a.example.com", "http": {"paths": paths}}, {"host": "*.example.com"}, {"http": {"paths": paths}}]
    resource = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "site", "namespace": "default"},
        "spec": {"rules": rules, "defaultBackend": backend, "tls": [{"hosts": ["a.example.com"]}]},
    }
    route: Object = {
        "apiVersion": names.API_VERSION,
        "kind": "Route",
        "metadata": {"name": "uid", "namespace": home, "uid": "route-uid"},
        "spec": {"source": {"kubernetes": {"resource": resource}}},
    }
    copied = translate_route(route, Context(home)).copy
    assert copied is not None
    await settles(client, copied)
