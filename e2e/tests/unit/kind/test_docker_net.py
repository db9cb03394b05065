"""The lab's network, and what it proves about clusters."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kubelb_e2e.clusters.kind import docker_net
from kubelb_e2e.docker import DockerError
from kubelb_e2e.errors import LabError

NETWORK = "kubelb-shop"


@pytest.fixture(autouse=True)
def there(machine) -> None:  # the programs
    pass


def test_the_network_is_made_once_and_carries_the_lab(machine) -> None:
    assert not docker_net.exists("shop")
    assert docker_net.ensure("shop")
    assert not docker_net.ensure("shop")
    assert machine.engine.networks[NETWORK].labels == {
        docker_net.LABEL: "shop",
        docker_net.OWNER: str(os.getuid()),
        docker_net.FOLDER: str(machine.directory),
    }
    assert docker_net.exists("shop")


@pytest.mark.parametrize("labels", [{}, {docker_net.LABEL: "other"}])
def test_a_network_of_our_name_that_is_not_ours_is_left_alone(machine, labels: dict[str, str]) -> None:
    theirs = machine.engine.add_network(NETWORK, labels)
    assert not docker_net.exists("shop")
    with pytest.raises(LabError, match=rf"{NETWORK} exists and is not of this lab; remove it \(docker network rm"):
        docker_net.ensure("shop")
    docker_net.remove("shop")
    assert machine.engine.networks == {NETWORK: theirs}


def test_the_range_is_the_ipv4_one(machine) -> None:
    machine.engine.add_network(NETWORK, subnet="172.20.0.0/16")
    assert docker_net.subnet("shop") == "172.20.0.0/16"
    machine.engine.add_network(NETWORK, subnet="fd00:1::/64")
    with pytest.raises(LabError, match=re.escape(f"{NETWORK} has no IPv4 range, only ['fd00:1::/64']")):
        docker_net.subnet("shop")


def test_clusters_are_known_by_the_network_of_their_nodes(machine) -> None:
    docker_net.ensure("shop")
    machine.engine.add_network("kind")
    for node in ("control-plane", "worker"):
        machine.engine.add_container(f"kubelb-shop-tenant-1-{node}", NETWORK, cluster="kubelb-shop-tenant-1")
    machine.engine.add_container("kubelb-shop-tenant-2-control-plane", "kind", cluster="kubelb-shop-tenant-2")
    machine.engine.add_container("helper", NETWORK)
    machine.engine.add_container("web-control-plane", "kind", cluster="web")
    machine.engine.containers["kubelb-shop-tenant-1-worker"].running = False
    own = ["kubelb-shop-tenant-1-control-plane", "kubelb-shop-tenant-1-worker"]
    assert docker_net.clusters("shop") == {"kubelb-shop-tenant-1": own}
    names = ["kubelb-shop-management", "kubelb-shop-tenant-1", "kubelb-shop-tenant-2"]
    assert docker_net.foreign("shop", names) == ["kubelb-shop-tenant-2"]


def test_without_a_network_there_are_no_clusters(machine) -> None:
    assert docker_net.clusters("shop") == {}
    docker_net.remove("shop")


def test_the_network_goes_although_something_is_still_on_it(machine) -> None:
    docker_net.ensure("shop")
    debugger = machine.engine.add_container("debugger", NETWORK)
    docker_net.remove("shop")
    assert machine.engine.networks == {}
    assert debugger.running, "whose it is, is not known: it stays"
    assert debugger.network == ""


def test_what_keeps_the_network_is_told(machine) -> None:
    docker_net.ensure("shop")
    machine.engine.refused["network", "rm"] = (
        f"Error response from daemon: error while removing network: network {NETWORK} id 5a has active endpoints\n"
        "exit status 1"
    )
    with pytest.raises(DockerError, match="has active endpoints"):
        docker_net.remove("shop")


def test_all_address_ranges_in_use_is_told(machine) -> None:
    machine.engine.refused["network", "create"] = (
        "Error response from daemon: all predefined address pools have been fully subnetted"
    )
    with pytest.raises(DockerError, match="all predefined address pools have been fully subnetted"):
        docker_net.ensure("shop")


def _lab_of(machine, owner: int, folder: Path) -> None:
    labels = {docker_net.LABEL: "shop", docker_net.OWNER: str(owner), docker_net.FOLDER: str(folder)}
    machine.engine.add_network(NETWORK, labels)


def test_a_lab_that_runs_from_another_folder_is_left_alone(machine, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "shop"
    elsewhere.mkdir(parents=True)
    _lab_of(machine, os.getuid(), elsewhere)
    for act in (machine.up, machine.down):
        with pytest.raises(LabError, match=f"is one of user {os.getuid()}, in {elsewhere}; choose another name"):
            act()
    assert NETWORK in machine.engine.networks
    elsewhere.rmdir()  # now it is what somebody left
    assert machine.down()
    assert machine.engine.networks == {}


def test_a_lab_of_another_user_is_left_alone_wherever_it_is(machine, tmp_path: Path) -> None:
    _lab_of(machine, os.getuid() + 1, tmp_path / "not to be seen" / "shop")
    for act in (machine.up, machine.down):
        with pytest.raises(LabError, match="choose another name"):
            act()
    assert NETWORK in machine.engine.networks
