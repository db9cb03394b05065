"""Layer 4: ports in the status first, then the listener, then the address."""

from __future__ import annotations

from typing import Any

import pytest
from feature_world import NODES, RELEASE_SECONDS, FakeEnvoy, World, typed, until

from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_manager.controllers import snapshot
from kubelb_manager.ir.model import Endpoint
from kubelb_manager.ports import table
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, LISTENER


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


def _clusters(envoy: FakeEnvoy) -> set[str]:
    """Return the ends of the clusters' names, and what of them connections or datagrams reach."""
    return {name.removeprefix("tenant-a/") for name in envoy.has[CLUSTER]}


async def test_tcp_and_udp_under_one_number(world: World) -> None:
    await world.onboard()
    await world.write_load_balancer("lb1", ("dns-tcp", 53, "TCP", 30053), ("dns", 53, "UDP", 30053))
    await until(lambda: len(_ports(world, "lb1")) == 2, "ports in the status")
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: len(envoy.has[LISTENER]) == 2, "both listeners")
        bound = {
            (item.address.socket_address.protocol == pb.SocketAddress.UDP, item.address.socket_address.port_value)
            for item in map(pb.Listener.FromString, envoy.has[LISTENER].values())
        }
        assert len({port for _, port in bound}) == 2
        assert {is_udp for is_udp, _ in bound} == {True, False}
        await until(lambda: _programmed(world, "lb1"), "programmed")
        service = world.get(resources.SERVICES, "envoy-lb1")
        assert [(p["name"], p["port"], p["protocol"]) for p in service["spec"]["ports"]] == [
            ("dns-tcp", 53, "TCP"),
            ("dns", 53, "UDP"),
        ]
        assert not envoy.faults


async def test_udp_alone_is_served_without_an_answer_of_its_node_port(world: World) -> None:
    await world.onboard()
    world.everything_open = False
    await world.write_load_balancer("lb1", ("u", 53, "UDP", 30053))
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.has[LISTENER], "the listener")
        await world.address("envoy-lb1", "198.51.100.2")
        await until(lambda: _address(world, "lb1") == [{"ip": "198.51.100.2"}], "the address")
        assert world.asked == set(), "nobody sends datagrams to applications, nor connects to their UDP ports"


async def test_renamed_and_reordered_ports_move_nothing(world: World) -> None:
    await world.onboard()
    await world.write_load_balancer("lb1", ("a", 80, "TCP", 30080), ("b", 443, "TCP", 30443))
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: _programmed(world, "lb1"), "programmed")
        before, count = {url: dict(each) for url, each in envoy.has.items()}, len(envoy.received)
        await world.write_load_balancer("lb1", ("https", 443, "TCP", 30443), ("http", 80, "TCP", 30080))
        await until(lambda: _names(world, "lb1") == {443: "https", 80: "http"}, "names in the status")
        await world.quiet()
        service = world.get(resources.SERVICES, "envoy-lb1")
        kept = {item["port"]: item["name"] for item in service["spec"]["ports"]}
        assert kept == {80: "a", 443: "b"}, "kube-proxy would refuse connections to a renamed port for a while"
        assert envoy.has == before
        assert len(envoy.received) == count, "nothing is sent for a name"


async def test_proxy_protocol_is_another_cluster_and_the_listener_stays(world: World) -> None:
    await world.onboard()
    await world.load_balancer("lb1", 25, 30025)
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: _programmed(world, "lb1"), "programmed")
        (listener,) = envoy.has[LISTENER]
        assert envoy.proxied(listener) == "tenant-a/lb1/25/30025/tcp"
        envoy.received.clear()
        for value, kind in (("v2", "tcp-proxy"), (None, "tcp")):
            note = {"metadata": {"annotations": {"kubelb.k8c.io/proxy-protocol": value}}}
            await world.kube.patch(resources.LOAD_BALANCERS, "lb1", note, "tenant-a")
            await until(lambda kind=kind: envoy.proxied(listener) == f"tenant-a/lb1/25/30025/{kind}", "the switch")
            await until(lambda kind=kind: _clusters(envoy) == {f"lb1/25/30025/{kind}"}, "the old way leaves")
        assert not envoy.faults
        assert not [each for each in envoy.received if each[1] == LISTENER]


async def test_what_is_not_served_is_said_and_taken_back(world: World) -> None:
    await world.onboard()
    await world.write_load_balancer("lb1", ("a", 80, "TCP", 30080), ("b", 81, "TCP", 30081))
    note = {"metadata": {"annotations": {"kubelb.k8c.io/proxy-protocol": "v1"}}}
    await world.kube.patch(resources.LOAD_BALANCERS, "lb1", note, "tenant-a")
    said = lambda: world.condition(resources.LOAD_BALANCERS, "lb1", "PartiallyInvalid")  # noqa: E731
    await until(lambda: said().get("reason") == "UnsupportedValue", "the tenant is told")
    assert world.condition(resources.LOAD_BALANCERS, "lb1", "Accepted")["status"] == "True"
    note["metadata"]["annotations"]["kubelb.k8c.io/proxy-protocol"] = "v2"
    await world.kube.patch(resources.LOAD_BALANCERS, "lb1", note, "tenant-a")
    await until(lambda: not said(), "nothing to say any more")


async def test_source_ranges_are_never_open_for_a_wrong_word(world: World) -> None:
    await world.onboard()
    await world.write_load_balancer("lb1", ("p", 22, "TCP", 30022), sourceRanges=["10.0.0.0/8"])
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.has[LISTENER], "the listener")
        (body,) = envoy.has[LISTENER].values()
        assert pb.Listener.FromString(body).HasField("filter_chain_matcher")
        await world.write_load_balancer("lb1", ("p", 22, "TCP", 30022), sourceRanges=["10.0.0.0"])
        await until(lambda: not envoy.has[LISTENER], "the listener goes")
        await until(
            lambda: world.condition(resources.LOAD_BALANCERS, "lb1", "Accepted").get("reason") == "InvalidSpec", "said"
        )


async def test_a_node_that_moves_overlaps(world: World) -> None:
    """The endpoints of a Service move from node to node; Envoy is never without one that it has checked."""
    await world.onboard()
    own = {"metadata": {"name": "own"}, "spec": {"addresses": [{"ip": NODES[0]}]}}
    await world.kube.create(resources.ADDRESSES, typed(resources.ADDRESSES, own), "tenant-a")
    await world.write_load_balancer("lb1", ("p", 80, "TCP", 30080), addresses="own", externalTrafficPolicy="Local")
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: _programmed(world, "lb1"), "programmed")
        seen = _follow_endpoints(envoy)
        await world.kube.patch(resources.ADDRESSES, "own", {"spec": {"addresses": [{"ip": NODES[1]}]}}, "tenant-a")
        await until(lambda: seen and seen[-1] == [NODES[1]], "the new node alone")
        assert seen == [list(NODES), [NODES[1]]]


def _follow_endpoints(envoy: FakeEnvoy) -> list[list[str]]:
    seen: list[list[str]] = []
    before = envoy.refuse

    def look(url: str, name: str, body: bytes) -> str | None:
        if url == ENDPOINTS:
            found = pb.ClusterLoadAssignment.FromString(body)
            seen.append([e.endpoint.address.socket_address.address for e in found.endpoints[0].lb_endpoints])
        return before(url, name, body)

    envoy.refuse = look
    return seen


def _programmed(world: World, name: str) -> bool:
    return world.condition(resources.LOAD_BALANCERS, name, "Programmed").get("status") == "True"


def _names(world: World, name: str) -> dict[int, str]:
    told = (world.get(resources.LOAD_BALANCERS, name) or {}).get("status", {}).get("service", {}).get("ports", [])
    return {item["port"]: item["name"] for item in told}


async def test_nodes_of_one_service_cost_no_other_object(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods move often; only the object that refers to their nodes is looked at again."""
    await world.onboard()
    own = {"metadata": {"name": "own"}, "spec": {"addresses": [{"ip": NODES[0]}]}}
    await world.kube.create(resources.ADDRESSES, typed(resources.ADDRESSES, own), "tenant-a")
    await world.write_load_balancer("lb1", ("p", 80, "TCP", 30080), addresses="own")
    await world.load_balancer("lb2", 80, 30081)
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.quiet()
    looked: list[str] = []
    for name in ("translate_load_balancer", "translate_route"):
        translate = getattr(snapshot, name)

        def noting(obj: Object, *rest: Any, translate: Any = translate) -> Any:
            looked.append(obj["metadata"]["name"])
            return translate(obj, *rest)

        monkeypatch.setattr(snapshot, name, noting)
    await world.kube.patch(resources.ADDRESSES, "own", {"spec": {"addresses": [{"ip": NODES[1]}]}}, "tenant-a")
    await until(lambda: looked, "the object that refers to them")
    await world.quiet()
    assert set(looked) == {"lb1"}
    looked.clear()
    addresses = [{"ip": NODES[0]}]
    await world.kube.patch(resources.ADDRESSES, "default", {"spec": {"addresses": addresses}}, "tenant-a")
    await until(lambda: set(looked) == {"lb2", "r1"}, "the others, when their nodes change")
