"""The lab's network in real namespaces, without clusters: who reaches whom, and that nothing gets out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from kubelb_e2e.clusters.local import system
from kubelb_e2e.errors import LabError

SCRIPT = '''
import json, socket, subprocess, sys
from pathlib import Path
from kubelb_e2e.clusters.local import model, netns, network

subprocess.run("mount -t tmpfs tmpfs /run && mkdir /run/netns", shell=True, check=True)
directory = Path("/run/lab")
directory.mkdir()
lab = model.plan("x", directory, tenants=1, nodes=2, binaries=directory, ip_family="dual")
network.create_lab(lab)
for cluster in lab.clusters:
    network.create_control(cluster)
    for node in cluster.nodes:
        network.create_node(cluster, node)
hub, tenant = lab.clusters
pod = network.attach_pod(hub.nodes[0], "a")
neighbour = network.attach_pod(hub.nodes[0], "b")
far = network.attach_pod(hub.nodes[1], "c")
foreign = network.attach_pod(tenant.nodes[0], "d")
network.put_address(hub.nodes[0], "10.99.200.1")
network.put_address(hub.nodes[0], "fd99::c8:1")

def reach(space, address):
    return netns.call(space, lambda: reach_here(address))

def reach_here(address):
    """refused: a host answered; anything else: none did."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.settimeout(2)
        try:
            client.connect((address, 9))
        except ConnectionRefusedError:
            return "answers"
        except OSError as error:
            return type(error).__name__ + " " + str(error.errno)

def source_seen(space, node, address):
    """Which address a node sees when a pod of another cluster calls it."""
    family, every = (socket.AF_INET6, "::") if ":" in address else (socket.AF_INET, "0.0.0.0")
    server = netns.call(node.netns, lambda: socket.create_server((every, 7000), family=family))
    client = netns.call(space, lambda: socket.create_connection((address, 7000), timeout=2))
    peer = server.accept()[1][0]
    client.close(); server.close()
    return peer

result = {
    "same node": reach(pod.netns, neighbour.address),
    "other node": reach(pod.netns, far.address),
    "own api": reach(pod.netns, hub.api_address),
    "foreign node": reach(pod.netns, tenant.nodes[0].address),
    "dns": reach(pod.netns, hub.dns_address),
    "api to pod": reach(hub.netns, far.address),
    "lb from tenant pod": reach(foreign.netns, "10.99.200.1"),
    "foreign pod": reach(foreign.netns, far.address),
    "outside from pod": reach(pod.netns, "192.0.2.1"),
    "outside from node": reach(hub.nodes[0].netns, "192.0.2.1"),
    "outside from control": reach(hub.netns, "192.0.2.1"),
    "masquerade": [source_seen(foreign.netns, hub.nodes[0], hub.nodes[0].address), tenant.nodes[0].address],
    "within": [source_seen(far.netns, hub.nodes[0], hub.nodes[0].address), hub.nodes[1].address],
    "same node, IPv6": reach(pod.netns, neighbour.addresses[1]),
    "other node, IPv6": reach(pod.netns, far.addresses[1]),
    "foreign node, IPv6": reach(pod.netns, tenant.nodes[0].address6),
    "lb from tenant pod, IPv6": reach(foreign.netns, "fd99::c8:1"),
    "lb from lab, IPv6": reach_here("fd99::c8:1"),
    "foreign pod, IPv6": reach(foreign.netns, far.addresses[1]),
    "outside from pod, IPv6": reach(pod.netns, "2001:db8::1"),
    "outside from node, IPv6": reach(hub.nodes[0].netns, "2001:db8::1"),
    "masquerade, IPv6": [
        source_seen(foreign.netns, hub.nodes[0], hub.nodes[0].address6), tenant.nodes[0].address6
    ],
}
try:
    socket.create_connection(("192.0.2.1", 9), timeout=2)
except OSError as error:
    result["outside from lab"] = "OSError " + str(error.errno)
links = json.loads(subprocess.run(["ip", "-json", "-details", "link"], capture_output=True, text=True).stdout)
result["links"] = sorted({item.get("linkinfo", {}).get("info_kind", item["link_type"]) for item in links})
result["default routes"] = subprocess.run(["ip", "route", "show", "default"], capture_output=True, text=True).stdout
result["again"] = network.attach_pod(hub.nodes[0], "a") == pod
network.detach_pod(hub.nodes[0], "a"); network.detach_pod(hub.nodes[0], "a")
result["detached"] = pod.netns not in netns.names()
result["reused"] = network.attach_pod(hub.nodes[0], "e").address == pod.address
json.dump(result, sys.stdout)
'''


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    try:
        system.check_tools()
        mode = system.choose_mode()
    except LabError as error:
        pytest.skip(str(error))
    command = [*system.unshare_command(mode), sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=system.environment())
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "way",
    [
        *["same node", "other node", "own api", "foreign node", "dns", "api to pod", "lb from tenant pod"],
        *["same node, IPv6", "other node, IPv6", "foreign node, IPv6", "lb from tenant pod, IPv6", "lb from lab, IPv6"],
    ],
)
def test_what_must_be_reached_answers(seen: dict[str, Any], way: str) -> None:
    assert seen[way] == "answers"


def test_a_foreign_pod_address_is_unreachable(seen: dict[str, Any]) -> None:
    # 10.244.2.2 exists in the management cluster only; the tenant's own range for it has no such pod.
    assert seen["foreign pod"].startswith(("OSError", "TimeoutError"))
    assert seen["foreign pod, IPv6"].startswith(("OSError", "TimeoutError"))


def test_no_packet_can_leave(seen: dict[str, Any]) -> None:
    unreachable = "OSError 101"
    for where in ("pod", "node", "control", "lab", "pod, IPv6", "node, IPv6"):
        assert seen[f"outside from {where}"] == unreachable, where
    assert seen["default routes"] == ""
    assert seen["links"] == ["bridge", "loopback", "veth"], "another kind of link could lead out"


def test_pods_are_seen_as_their_node_outside_their_cluster(seen: dict[str, Any]) -> None:
    assert seen["masquerade"][0] == seen["masquerade"][1]
    assert seen["masquerade, IPv6"][0] == seen["masquerade, IPv6"][1]
    assert seen["within"][0] == seen["within"][1]


def test_a_pod_keeps_its_network_until_it_is_detached(seen: dict[str, Any]) -> None:
    assert seen["again"]
    assert seen["detached"]
    assert not seen["reused"], "a freed address must not become another pod's at once"
