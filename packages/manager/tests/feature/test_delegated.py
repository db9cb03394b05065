"""Delegated Ingresses: ports in the status first, then Envoy listens, then Services and copy, then the address."""

from __future__ import annotations

from typing import Any

import pytest
from feature_world import FLEET, NAMESPACE, RELEASE_SECONDS, FakeEnvoy, World, running, typed, until

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager.controllers import route as route_controller
from kubelb_manager.controllers import snapshot
from kubelb_manager.desired import delegated
from kubelb_manager.ir.model import FleetId
from kubelb_manager.ports import table
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import LISTENER

ELSEWHERE = [{"ip": "203.0.113.7"}]


def copies(world: World) -> dict[str, Object]:
    """Return the copies in the management cluster by class."""
    found = world.kube.objects(resources.INGRESSES, NAMESPACE)
    return {item["spec"]["ingressClassName"]: item for item in found}


def backends(world: World) -> dict[str, Object]:
    """Return the copied Services by the tenant's names."""
    found = world.kube.objects(resources.SERVICES, NAMESPACE)
    own = [item for item in found if view.text(view.controller(item) or {}, "kind") == "Route"]
    return {view.labels(item)["kubelb.k8c.io/origin-name"]: item for item in own}


def ports(world: World, route: str = "r1") -> dict[str, int]:
    """Return Envoy's ports in the Route's status, by Service."""
    services = view.get(world.get(resources.ROUTES, route) or {}, "status", "resources", "services", default={})
    return {name: state["ports"][0]["targetPort"] for name, state in services.items() if state.get("ports")}


def listens(envoy: FakeEnvoy) -> dict[int, str]:
    """Return the cluster behind each port that all requests of go to one."""
    out: dict[int, str] = {}
    for name, body in envoy.has[LISTENER].items():
        routes = [route for found in envoy.table(name).values() for route in found]
        if name != "http" and routes:
            out[pb.Listener.FromString(body).address.socket_address.port_value] = routes[0].route.cluster
    return out


async def answer(world: World, ingress_class: str = "standin", address: list[Object] = ELSEWHERE) -> None:
    """Play the third-party controller."""
    await until(lambda: ingress_class in copies(world), f"the copy of class {ingress_class}")
    status: Any = {"status": {"loadBalancer": {"ingress": address}}}
    name = view.name(copies(world)[ingress_class])
    await world.kube.patch(resources.INGRESSES, name, status, NAMESPACE, subresource="status")


async def test_ports_listeners_services_copy_address(world: World) -> None:
    await world.configure(ingress={"class": "standin"})
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: ports(world), "ports in the status")
    port = ports(world)["default/echo"]
    await until(lambda: backends(world), "the Service leads to Envoy")
    assert backends(world)["echo"]["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": port}]
    await world.certificate()
    await world.quiet()
    assert copies(world) == {}, "no copy before Envoy listens"
    assert world.get(resources.SERVICES, "envoy-ingress") is None, "no address of ours"
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: listens(envoy), "the listener")
        assert list(listens(envoy)) == [port]
        assert "http" not in envoy.has[LISTENER]
        await answer(world)
        path = copies(world)["standin"]["spec"]["rules"][0]["http"]["paths"][0]
        assert path["backend"]["service"]["name"] == view.name(backends(world)["echo"])
        await until(lambda: world.shown(resources.ROUTES, "r1") == ELSEWHERE, "the address comes from the copy")
        await world.quiet()
        world.kube.forget_requests()
        await world.quiet()
        assert world.kube.writes() == []
        await world.kube.delete(resources.ROUTES, "r1", NAMESPACE)
        await until(lambda: not copies(world) and not backends(world), "copies go at once")
        await until(lambda: world.get(resources.ROUTES, "r1") is None, "released", seconds=RELEASE_SECONDS)


async def test_another_backend_is_made_before_the_old_one_goes(world: World) -> None:
    world.manager.routes.handover = 0.3
    await world.configure(ingress={"class": "standin"})
    await world.onboard()
    await world.route("r1", "a.example.com", {"one": 30001})
    await until(lambda: backends(world), "the Service")
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await answer(world)
        await until(lambda: world.shown(resources.ROUTES, "r1"), "served")
        before = ports(world)["default/one"]
        seen: list[set[int]] = []
        await world.route("r1", "a.example.com", {"two": 30002})

        def moved() -> bool:
            seen.append(set(listens(envoy)))
            path = copies(world)["standin"]["spec"]["rules"][0]["http"]["paths"][0]
            return path["backend"]["service"]["name"] == view.name(backends(world).get("two", {"metadata": {}}))

        await until(moved, "the copy names the new Service")
        assert before in listens(envoy), "the old one is still listened on"
        assert all(before in each for each in seen)
        assert ports(world)["default/two"] in listens(envoy), "and the new one already"
        await until(lambda: set(backends(world)) == {"two"}, "the old Service goes")
        await until(lambda: set(listens(envoy)) == {ports(world)["default/two"]}, "the old listener goes")
        assert set(ports(world)) == {"default/two"}
        assert not envoy.faults


async def test_class_changed_there_and_back(world: World) -> None:
    world.manager.routes.handover = 0.3
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    native = [{"ip": "198.51.100.1"}]
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await world.address("envoy-ingress", "198.51.100.1")
        await until(lambda: world.shown(resources.ROUTES, "r1") == native, "native")
        await world.configure(ingress={"class": "standin"})
        await until(lambda: "standin" in copies(world), "the delegated copy")
        assert world.shown(resources.ROUTES, "r1") == native, "the address stays until the other one is there"
        assert envoy.backend("a.example.com"), "both ways serve"
        assert listens(envoy)
        await world.quiet()
        assert set(copies(world)) == {"standin", "kubelb"}
        await answer(world)
        await until(lambda: world.shown(resources.ROUTES, "r1") == ELSEWHERE, "handed over")
        await until(lambda: set(copies(world)) == {"standin"}, "the native copy goes")
        await until(lambda: world.get(resources.SERVICES, "envoy-ingress") is None, "our address goes")
        await until(lambda: "http" not in envoy.has[LISTENER], "and our listener")

        await world.ready_pods("envoy-0")
        await world.configure(ingress={"class": None})
        await until(lambda: envoy.backend("a.example.com"), "served natively again")
        await world.quiet()
        assert world.shown(resources.ROUTES, "r1") == ELSEWHERE
        assert listens(envoy)
        await world.address("envoy-ingress", "198.51.100.2")
        await until(lambda: world.shown(resources.ROUTES, "r1") == [{"ip": "198.51.100.2"}], "handed over")
        await until(lambda: set(copies(world)) == {"kubelb"}, "the delegated copy goes")
        await until(lambda: not backends(world) and not listens(envoy) and not ports(world), "nothing is left of it")
        assert not envoy.faults


async def test_a_restart_changes_nothing(world: World) -> None:
    await world.configure(ingress={"class": "standin"})
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: backends(world), "the Service")
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await answer(world)
        await until(lambda: world.shown(resources.ROUTES, "r1"), "served")
        await world.quiet()
        before, versions = ports(world), {url: dict(found) for url, found in envoy.versions.items()}
        world.manager.supervisor.stop()
        await until(lambda: envoy.error is not None or not world.manager.supervisor.ready, "the manager stops")
    world.kube.forget_requests()
    async with running(world.kube, world):
        again = world.envoy()
        again.versions = versions
        async with again:
            await until(lambda: world.manager.cache.progress("tenant-a/shared").streams, "connected")
            await world.quiet()
            assert world.kube.writes() == []
    assert ports(world) == before


async def test_disable_takes_everything(world: World) -> None:
    await world.configure(ingress={"class": "standin"})
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: backends(world), "the Service")
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await answer(world)
        await until(lambda: world.shown(resources.ROUTES, "r1"), "served")
        await world.configure(ingress={"disable": True})
        await until(lambda: not copies(world) and not backends(world), "copies go at once")
        await until(lambda: not envoy.has[LISTENER] and not ports(world), "nothing listens")
        assert world.shown(resources.ROUTES, "r1") == []
        await world.configure(ingress={"disable": False})
        await answer(world)
        await until(lambda: world.shown(resources.ROUTES, "r1") == ELSEWHERE, "back")


async def test_topology_changed_while_delegated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Services of the copy lead to the other fleet when that listens on their ports (ruling 29)."""
    monkeypatch.setattr(snapshot, "LINGER", 0.3)
    dedicated = FleetId(NAMESPACE, names.INGRESS_FLEET)
    await world.configure(ingress={"class": "standin"})
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()

    def leads_to() -> str:
        return view.labels(backends(world)["echo"])[names.LABEL_FLEET]

    async with world.envoy() as shared:
        await world.ready_pods("envoy-0")
        await answer(world)
        await until(lambda: world.shown(resources.ROUTES, "r1"), "served")
        before = ports(world)
        await world.configure(envoyProxy={"topology": "dedicated"})
        await world.certificate(dedicated)
        async with world.envoy("own-0", dedicated) as own:
            await until(lambda: listens(own) == listens(shared), "the other fleet listens too")
            await world.quiet()
            assert leads_to() == names.fleet_label(*FLEET), "no pod of it is ready yet"
            await world.ready_pods("own-0", fleet=dedicated)
            await world.roll_out(fleet=dedicated)
            await until(lambda: leads_to() == names.fleet_label(*dedicated), "the Service leads there")
            await until(lambda: not listens(shared), "the shared fleet lets go")
            assert listens(own)
            assert ports(world) == before
            assert world.shown(resources.ROUTES, "r1") == ELSEWHERE


async def test_no_port_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full range is a condition of the object that came last, and ends when a port is given back."""
    monkeypatch.setattr(table, "PORT_RANGE", range(10000, 10001))
    monkeypatch.setattr(route_controller, "_RETRY", 0.2)
    await world.configure(ingress={"class": "standin"})
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: ports(world), "the only port")
    await world.route("r2", "b.example.com", {"echo": 30001})
    last = resources.ROUTES, "r2", "Programmed"
    await until(lambda: world.condition(*last).get("reason") == "NoPortAvailable", "said on the object")
    assert world.condition(*last)["message"] == "The proxy has no port left for default/echo port 80."
    await world.kube.delete(resources.ROUTES, "r1", NAMESPACE)
    await until(lambda: ports(world, "r2"), "the port is given back", seconds=RELEASE_SECONDS)


async def test_secrets_by_origin_and_late_ones(world: World) -> None:
    """`spec.tls` names a synced Secret as soon as there is one, and never the tenant's raw name (ruling 15, defect 69)."""
    await world.configure(ingress={"class": "standin"})
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001}, tls=[{"hosts": ["a.example.com"], "secretName": "cert"}])
    await world.certificate()

    def secret() -> str:
        copy = copies(world).get("standin", {})
        return str(view.get(copy, "spec", "tls", 0, "secretName", default=""))

    async with world.envoy():
        await world.ready_pods("envoy-0")
        unsynced = delegated.secret_name("default", "cert")
        await until(lambda: secret() == unsynced, "none is synced")
        labels = {names.LABEL_ORIGIN_NAMESPACE: "default", names.LABEL_ORIGIN_NAME: "cert"}
        body = {"metadata": {"name": "s1", "labels": labels, "finalizers": [names.FINALIZER]}, "data": {"a": "YQ=="}}
        sync_secret = typed(resources.SYNC_SECRETS, body)
        stored = await world.kube.create(resources.SYNC_SECRETS, sync_secret, NAMESPACE)
        await until(lambda: secret() == view.uid(stored), "the synced one")
        await world.kube.delete(resources.SYNC_SECRETS, "s1", NAMESPACE)
        await until(lambda: secret() == unsynced, "none again")
