"""A topology is changed live: the new fleet has the object before its Service leads there (ruling 29)."""

from __future__ import annotations

import pytest
from feature_world import FLEET, NAMESPACE, World, until

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager.controllers import snapshot
from kubelb_manager.desired.envoy_fleet import workload_name
from kubelb_manager.ir.model import FleetId
from kubelb_manager.settings import merged as settings
from kubelb_manager.xds.resources import LISTENER, ROUTES

GLOBAL = FleetId("kubelb", names.GLOBAL_FLEET)
OWN = FleetId(NAMESPACE, names.load_balancer_fleet("lb1"))


@pytest.fixture(autouse=True)
def _briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is on the way to a fleet here."""
    monkeypatch.setattr(snapshot, "LINGER", 0.3)
    monkeypatch.setattr(settings, "FLEET_HOLD_DOWN_SECONDS", 0.6)


async def _choose(world: World, topology: str) -> None:
    await world.kube.patch(resources.TENANTS, "a", {"spec": {"envoyProxy": {"topology": topology}}})


def _leads_to(world: World, service: str) -> str:
    return view.labels(world.get(resources.SERVICES, service) or {"metadata": {}}).get(names.LABEL_FLEET, "")


def _pieces(world: World, service: str) -> list[Object]:
    found = world.kube.objects(resources.ENDPOINT_SLICES, NAMESPACE)
    return [item for item in found if view.labels(item).get("kubernetes.io/service-name") == service]


def _pods(world: World, service: str) -> list[str]:
    endpoints = [each for piece in _pieces(world, service) for each in view.objects(piece, "endpoints")]
    return [view.text(each, "targetRef", "name") for each in endpoints]


def _address(world: World, name: str) -> object:
    return view.get(world.get(resources.LOAD_BALANCERS, name) or {}, "status", "loadBalancer", "ingress")


async def test_a_load_balancer_moves_to_its_own_fleet_and_back(world: World) -> None:
    await world.onboard()
    await world.load_balancer("lb1", 5432, 30100)
    await world.certificate()
    async with world.envoy() as shared:
        await world.ready_pods("envoy-0")
        await world.address("envoy-lb1", "198.51.100.2")
        await until(lambda: _address(world, "lb1") == [{"ip": "198.51.100.2"}], "served by the shared fleet")
        status = world.get(resources.LOAD_BALANCERS, "lb1")["status"]
        await _choose(world, "dedicated")
        await world.certificate(OWN)
        async with world.envoy("own-0", OWN) as own:
            await until(lambda: own.has[LISTENER], "its own fleet has the listener")
            await world.quiet()
            assert _leads_to(world, "envoy-lb1") == names.fleet_label(*FLEET), "no pod of the new fleet is ready yet"
            await world.ready_pods("own-0", fleet=OWN)
            await world.quiet()
            assert _leads_to(world, "envoy-lb1") == names.fleet_label(*FLEET), "not all pods of the new fleet are there"
            await world.roll_out(fleet=OWN)
            await until(lambda: _leads_to(world, "envoy-lb1") == names.fleet_label(*OWN), "the Service leads there")
            selector = world.get(resources.SERVICES, "envoy-lb1")["spec"]["selector"]
            assert selector[names.LABEL_FLEET] == names.fleet_label(*OWN)
            await until(lambda: not shared.has[LISTENER], "the shared fleet lets go")
            await until(lambda: not _workload(world, FLEET), "the shared fleet goes")
            assert world.get(resources.SECRETS, f"envoy-{NAMESPACE}-xds") is None
            assert world.get(resources.SERVICES, names.fleet_members(*FLEET)) is None
            await world.quiet()
            assert world.get(resources.LOAD_BALANCERS, "lb1")["status"] == status, "nothing is to be said of it"
            await _choose(world, "shared")
            await world.certificate()
            async with world.envoy("envoy-1") as again:
                await world.ready_pods("envoy-1")
                await world.roll_out(fleet=FLEET)
                await until(lambda: _leads_to(world, "envoy-lb1") == names.fleet_label(*FLEET), "back again")
                assert again.has[LISTENER]
                await until(lambda: not _workload(world, OWN), "its own fleet goes")


async def test_ingresses_move_to_the_fleet_of_all_tenants_and_back(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"web": 30080})
    await world.route("r2", "b.example.com", {"web": 30080})
    await world.certificate()
    async with world.envoy() as shared:
        await world.ready_pods("envoy-0")
        await until(lambda: shared.backend("a.example.com") and shared.backend("b.example.com"), "both are served")
        await world.kube.create(
            resources.ENDPOINT_SLICES,
            {
                "metadata": {
                    "name": "envoy-ingress-old",
                    "labels": {
                        names.LABEL_FLEET: names.fleet_label(*FLEET),
                        "kubernetes.io/service-name": "envoy-ingress",
                        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    },
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}],
            },
            NAMESPACE,
        )
        await _choose(world, "global")
        await world.certificate(GLOBAL)
        async with world.envoy("all-0", GLOBAL) as everybody:
            await until(lambda: everybody.backend("b.example.com"), "the global fleet has the routes")
            await world.ready_pods("all-0", fleet=GLOBAL)
            await world.roll_out(fleet=GLOBAL)
            await until(
                lambda: _leads_to(world, "envoy-ingress") == names.fleet_label(*GLOBAL), "the Service leads there"
            )
            assert "selector" not in world.get(resources.SERVICES, "envoy-ingress")["spec"]
            await until(lambda: _pods(world, "envoy-ingress") == ["all-0"], "its pods are the global ones")
            [piece] = _pieces(world, "envoy-ingress")
            assert piece["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
            await until(
                lambda: not shared.has[ROUTES].get("http") or not shared.backend("a.example.com"), "the old one lets go"
            )
            await world.ready_pods("all-0", "all-1", fleet=GLOBAL)
            await until(lambda: _pods(world, "envoy-ingress") == ["all-0", "all-1"], "pods are followed")


async def test_a_catch_all_in_the_global_fleet_needs_a_grant(world: World) -> None:
    await world.onboard()
    await _choose(world, "global")
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    await world.route("r1", "a.example.com", {"web": 30080}, defaultBackend=backend)
    await until(
        lambda: world.condition(resources.ROUTES, "r1", "Accepted").get("reason") == "HostNotAllowed", "refused"
    )
    await world.kube.patch(resources.TENANTS, "a", {"spec": {"hosts": {"allowed": ["*"]}}})
    await until(lambda: world.condition(resources.ROUTES, "r1", "Accepted").get("status") == "True", "granted")


def _workload(world: World, fleet: FleetId) -> Object | None:
    return world.get(resources.DEPLOYMENTS, workload_name(*fleet), fleet.namespace)
