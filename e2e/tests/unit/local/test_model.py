from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from kubelb_e2e.clusters.base import tenant_name
from kubelb_e2e.clusters.local import model
from kubelb_e2e.clusters.local.model import LabSpec, NodeSpec


def lab(directory: Path, **wishes: int) -> LabSpec:
    return model.plan("x", directory, binaries=Path("/bin"), **{"tenants": 2, "nodes": 3, **wishes})


def test_plan_survives_the_file(tmp_path: Path) -> None:
    planned = lab(tmp_path)
    planned.dump()
    assert LabSpec.load(tmp_path) == planned
    node = planned.tenants[1].nodes[2]
    node.dump(tmp_path / "node.json")
    assert NodeSpec.load(tmp_path / "node.json") == node


def test_every_address_on_the_lab_network_is_given_once(tmp_path: Path) -> None:
    planned = lab(tmp_path, tenants=model.MAX_TENANTS, nodes=model.MAX_NODES)
    addresses = [model.LAB_ADDRESS, *model.pool_addresses()]
    for cluster in planned.clusters:
        addresses += [cluster.api_address, cluster.dns_address, *(node.address for node in cluster.nodes)]
    assert len(addresses) == len(set(addresses))
    network = ipaddress.ip_network(model.NODE_NETWORK)
    assert all(ipaddress.ip_address(address) in network for address in addresses)


def test_pod_ranges_are_apart_within_a_cluster_and_equal_across_clusters(tmp_path: Path) -> None:
    planned = lab(tmp_path)
    ranges = [[node.pod_cidr for node in cluster.nodes] for cluster in planned.clusters]
    assert ranges[0] == ranges[1] == ranges[2]
    assert len(set(ranges[0])) == 3
    whole = ipaddress.ip_network(model.CLUSTER_CIDR)
    assert all(ipaddress.ip_network(item).subnet_of(whole) for item in ranges[0])


def test_names_of_nodes_and_namespaces_are_unique(tmp_path: Path) -> None:
    planned = lab(tmp_path)
    spaces = [cluster.netns for cluster in planned.clusters]
    spaces += [node.netns for cluster in planned.clusters for node in cluster.nodes]
    assert len(spaces) == len(set(spaces)) == 12


def test_a_tenants_object_does_not_share_the_prefix_of_its_cluster() -> None:
    assert tenant_name("tenant-2") == "lab-2"


@pytest.mark.parametrize("wrong", [{"tenants": -1}, {"tenants": 101}, {"nodes": 0}, {"nodes": 101}])
def test_a_plan_has_bounds(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a lab has"):
        lab(tmp_path, **wrong)
