"""The process that gives addresses: its life, and what it does to nodes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from standins.stage import until

from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import NODES, SERVICES
from kubelb_common.testing import builders
from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.kind import addresses
from kubelb_e2e.clusters.kind.addresses import Nodes
from kubelb_e2e.docker import DockerError
from kubelb_e2e.errors import LabError

MANAGEMENT = "kubelb-shop-management"
ONE, TWO = f"{MANAGEMENT}-control-plane", f"{MANAGEMENT}-worker"
FIRST, SECOND = "172.30.254.255", "172.30.255.0"


class Hub:
    """The management cluster of a lab whose addresses are given by the harness's own process."""

    def __init__(self, machine) -> None:
        self.machine = machine
        machine.give_addresses_by("lab")

    @property
    def kube(self):
        return self.machine.api(MANAGEMENT).kube

    def balanced(self, name: str) -> None:
        service = builders.service(name).port(80).load_balancer().build()
        self.machine.stage.do(self.kube.create(SERVICES, service, "default"))

    def service(self, name: str) -> Object:
        return self.machine.stage.do(self.kube.get(SERVICES, name, "default"))

    def address(self, name: str) -> str | None:
        ingress = self.service(name).get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
        return ingress[0].get("ip")

    def placed(self) -> dict[str, list[str]]:
        return {node: item.addresses for node, item in self.machine.engine.containers.items() if item.addresses}

    def announced(self) -> list[str]:
        return [call[-1] for call in self.machine.engine.made("docker", "run")]


@pytest.fixture
def hub(machine) -> Hub:
    return Hub(machine)


def test_a_service_gets_an_address_on_a_node_as_long_as_the_lab_lives(machine, hub: Hub) -> None:
    lab = machine.up(tenants=0, nodes=2)
    first = addresses.running(machine.directory)
    assert first is not None
    hub.balanced("web")
    until(lambda: hub.address("web") == FIRST, "no address")
    assert hub.service("web")["status"]["loadBalancer"]["ingress"] == [{"ip": FIRST, "ipMode": "VIP"}]
    ((node, own),) = hub.placed().items()
    assert own == [FIRST]
    assert hub.announced() == [], "nobody knows it yet"
    assert lab.status().addresses == {FIRST: "default/web"}

    # It is killed: `status` says so, and the next `up` starts another one, which takes over what is on the nodes.
    first.kill()
    until(lambda: not first.alive, "it lives")
    assert not lab.status().healthy
    assert ("", "address controller", "", "ended") in lab.status().rows
    hub.balanced("more")  # by its name it comes before the one that has an address
    machine.up(tenants=0, nodes=2)
    second = addresses.running(machine.directory)
    assert second is not None
    assert second != first
    assert lab.status().healthy
    until(lambda: hub.address("more") == SECOND, "no second address")
    assert hub.address("web") == FIRST
    assert hub.placed()[node][0] == FIRST

    # Its node dies: the address moves, and neighbours are told.
    conditions = [{"type": "Ready", "status": "Unknown"}]
    patch = hub.kube.patch(NODES, node, {"status": {"conditions": conditions}}, subresource="status")
    machine.stage.do(patch)
    (other,) = {ONE, TWO} - {node}
    until(lambda: {FIRST, SECOND} <= set(hub.placed().get(other, ())) and node not in hub.placed(), "it does not move")
    announce = next(call for call in machine.engine.made("docker", "run") if call[-1] == FIRST)
    assert announce[2:] == (
        "--rm",
        f"--network=container:{other}",
        "--cap-drop=ALL",
        "--cap-add=NET_RAW",
        "--user=0",
        "--entrypoint=python3",
        addresses.TOOLS_IMAGE,
        "-c",
        announce[-3],
        "eth0",
        FIRST,
    )
    compile(announce[-3], "arp", "exec")

    machine.down()
    assert not second.alive
    assert machine.is_clean()


def test_the_process_ends_by_itself_when_its_lab_is_gone(machine, hub: Hub) -> None:
    machine.up(tenants=0)
    process = addresses.running(machine.directory)
    assert process is not None
    state.remove(machine.directory)  # by hand, so that nobody can end it any more
    until(lambda: not process.alive, "it lives")


def test_a_process_that_cannot_begin_says_why_and_all_is_removed(machine, hub: Hub) -> None:
    machine.engine.refused["exec", ONE, "ip"] = "Error response from daemon: container 5a is paused"
    with pytest.raises(LabError, match=r"the address controller ended: .*container 5a is paused"):
        machine.up(tenants=0)
    assert machine.is_clean()


def test_a_process_that_does_not_watch_yet_is_ended_too(machine, hub: Hub) -> None:
    """As when `up` is killed while it waits for it, and `down` comes next."""
    machine.up(tenants=0)
    addresses.stop(machine.directory)
    machine.stage.do(machine.kind.apis.pop(MANAGEMENT).stop())  # so it would wait for ever
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(addresses.start, machine.directory)
        until((machine.directory / "addresses.json").exists, "nobody knows who it is")
        process = state.ProcessId.read(machine.directory / "addresses.json")
        assert process is not None
        assert addresses.running(machine.directory) is None
        machine.down()
        assert not process.alive, "it ends at the first request"
        with pytest.raises((LabError, OSError)):  # whose lab has gone away
            starting.result()
    assert machine.is_clean()


def test_a_process_that_does_not_come_is_told(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_START_SECONDS", 0.0)
    with pytest.raises(LabError, match="the address controller does not watch after 0 s: it printed nothing"):
        addresses.start(tmp_path)  # which is no lab's folder, so the process ends


def test_stopping_what_does_not_run_is_harmless(tmp_path) -> None:
    addresses.stop(tmp_path)
    assert addresses.running(tmp_path) is None


@pytest.fixture
def nodes(machine) -> Nodes:
    machine.engine.add_network("kubelb-shop")
    for name in (ONE, TWO):
        machine.engine.add_container(name, "kubelb-shop")
    return Nodes()


def test_what_is_on_nodes_is_found(machine, nodes: Nodes) -> None:
    machine.engine.containers[TWO].addresses = [FIRST, "10.0.0.9"]
    assert nodes.placed((ONE, TWO), {FIRST, SECOND}) == {FIRST: TWO}


def test_a_node_that_cannot_be_asked_is_told(machine, nodes: Nodes) -> None:
    machine.engine.containers[TWO].running = False
    with pytest.raises(DockerError, match="is not running"):
        nodes.placed((ONE, TWO), {FIRST})


def test_an_address_is_put_once_and_announced_when_somebody_may_know_it(machine, nodes: Nodes) -> None:
    nodes.put(ONE, FIRST)
    nodes.put(ONE, FIRST)
    assert machine.engine.containers[ONE].addresses == [FIRST]
    assert len(machine.engine.made("docker", "run")) == 1, "the second time it is announced"


def test_an_address_that_an_earlier_process_placed_is_announced_when_it_moves(machine, nodes: Nodes) -> None:
    machine.engine.containers[ONE].addresses = [FIRST]
    nodes.placed((ONE, TWO), {FIRST})
    nodes.put(TWO, FIRST)
    assert [call[3] for call in machine.engine.made("docker", "run")] == [f"--network=container:{TWO}"]


def test_taking_an_address_from_a_node_that_is_gone_is_harmless(machine, nodes: Nodes) -> None:
    nodes.put(ONE, FIRST)
    nodes.take(ONE, FIRST)
    assert machine.engine.containers[ONE].addresses == []
    nodes.take(ONE, FIRST)
    nodes.take("kubelb-shop-nowhere", FIRST)
    with pytest.raises(DockerError, match="No such container"):
        nodes.put("kubelb-shop-nowhere", FIRST)
