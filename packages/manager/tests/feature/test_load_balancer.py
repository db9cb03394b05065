"""Layer 4: ports in the status first, then the listener, then the address."""

from __future__ import annotations

import pytest
from feature_world import NODES, RELEASE_SECONDS, World, until

from kubelb_common.kube import resources
from kubelb_manager.ir.model import Endpoint
from kubelb_manager.ports import table
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import LISTENER


def _ports(world: World, name: str) -> list[int]:
    lb = world.get(resources.LOAD_BALANCERS, name) or {}
    return [port["targetPort"] for port in lb.get("status", {}).get("service", {}).get("ports", [])]


def _address(world: World, name: str) -> object:
    lb = world.get(resources.LOAD_BALANCERS, name) or {}
    return lb.get("status", {}).get("loadBalancer", {}).get("ingress")


async def test_listener_address_and_release(world: World) -> None:
    await world.onboard()
    await world.load_balancer("lb1", 5432, 30100)
    await until(lambda: _ports(world, "lb1"), "ports in the status")
    port = _ports(world, "lb1")[0]
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.has[LISTENER], "the listener")
        listener = pb.Listener.FromString(next(iter(envoy.has[LISTENER].values())))
        assert listener.address.socket_address.port_value == port
        await world.address("envoy-lb1", "198.51.100.2")
        await until(lambda: _address(world, "lb1") == [{"ip": "198.51.100.2"}], "the address")
        service = world.get(resources.SERVICES, "envoy-lb1")
        assert [item["targetPort"] for item in service["spec"]["ports"]] == [port]
        await world.kube.delete(resources.LOAD_BALANCERS, "lb1", "tenant-a")
        await until(lambda: not envoy.has[LISTENER], "the listener goes")
        assert world.get(resources.LOAD_BALANCERS, "lb1") is not None
        await until(lambda: world.get(resources.LOAD_BALANCERS, "lb1") is None, "released", seconds=RELEASE_SECONDS)
        await until(lambda: world.get(resources.SERVICES, "envoy-lb1") is None, "its Service goes")


async def test_no_listener_before_the_node_port_answers(world: World) -> None:
    await world.onboard()
    world.everything_open = False
    await world.load_balancer("lb1", 5432, 30100)
    await world.load_balancer("lb2", 5432, 30101)
    await world.certificate()
    async with world.envoy() as envoy:
        world.open = {Endpoint(ip, 30101) for ip in NODES}
        await until(lambda: envoy.has[LISTENER], "the one that answers is served")
        assert len(envoy.has[LISTENER]) == 1
        world.open |= {Endpoint(ip, 30100) for ip in NODES}
        await until(lambda: len(envoy.has[LISTENER]) == 2, "the other follows")


async def test_ports_of_two_load_balancers_differ_and_survive(world: World) -> None:
    await world.onboard()
    for number in range(8):
        await world.load_balancer(f"lb{number}", 80, 30100 + number)
    await until(lambda: all(_ports(world, f"lb{n}") for n in range(8)), "all have ports")
    ports = [_ports(world, f"lb{n}")[0] for n in range(8)]
    assert len(set(ports)) == 8
    await world.quiet()
    assert [_ports(world, f"lb{n}")[0] for n in range(8)] == ports


async def test_never_said_to_be_refused_on_its_way(world: World) -> None:
    """A LoadBalancer whose ports are being written is not "not accepted" in between."""
    await world.onboard()
    told: list[str] = []
    await world.load_balancer("lb1", 80, 30100)

    def accepted() -> str:
        found = world.condition(resources.LOAD_BALANCERS, "lb1", "Accepted").get("status", "")
        told.append(found)
        return found

    await until(accepted, "a word on Accepted")
    await world.quiet()
    assert "False" not in told
    statuses = [w for w in world.kube.writes() if w.resource.startswith("loadbalancers") and "status" in w.resource]
    assert len(statuses) <= 3, statuses


async def test_address_is_shown_when_it_takes_connections(world: World) -> None:
    await world.onboard()
    world.everything_open = False
    world.open = {Endpoint(ip, 30100) for ip in NODES}
    await world.load_balancer("lb1", 5432, 30100)
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.has[LISTENER], "the listener")
        await world.address("envoy-lb1", "198.51.100.2")
        await world.quiet()
        assert not _address(world, "lb1")
        world.open.add(Endpoint("198.51.100.2", 5432))
        await until(lambda: _address(world, "lb1") == [{"ip": "198.51.100.2"}], "the address")


async def test_a_full_range_is_a_condition_that_ends_when_a_port_comes_free(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "PORT_RANGE", range(10000, 10002))
    await world.onboard()
    for name in ("a", "b", "c"):
        await world.load_balancer(name, 80, 30100)
    lacking = [
        name
        for name in ("a", "b", "c")
        if await _reason(world, name) == "NoPortAvailable"  # waits for a word on each
    ]
    assert len(lacking) == 1
    assert _ports(world, lacking[0]) == []
    await world.quiet()
    world.kube.forget_requests()
    await world.quiet()
    assert world.kube.writes() == [], "no loop"
    other = next(name for name in ("a", "b", "c") if name not in lacking)
    await world.kube.delete(resources.LOAD_BALANCERS, other, "tenant-a")
    await until(lambda: _ports(world, lacking[0]), "the port comes free", seconds=RELEASE_SECONDS)


async def _reason(world: World, name: str) -> str:
    def found() -> str:
        return world.condition(resources.LOAD_BALANCERS, name, "Accepted").get("reason", "")

    await until(found, f"a word on {name}")
    return found()
