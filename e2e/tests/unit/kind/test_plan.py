from __future__ import annotations

import dataclasses
import ipaddress
import json
from itertools import combinations
from pathlib import Path

import pytest

from kubelb_common.testing import golden
from kubelb_e2e.clusters.kind import plan as plans
from kubelb_e2e.clusters.kind.plan import MAX_TENANTS, POOL_SIZE, ClusterPlan, LabPlan
from kubelb_e2e.errors import LabError

CONFIGURATIONS = Path(__file__).parent / "configurations"


def plan(name: str = "shop", directory: Path = Path("/labs/shop"), **wishes: object) -> LabPlan:
    defaults = {"tenants": 2, "nodes": 1, "node_image": "kindest/node:v1", "kind": Path("/kind"), "kubectl": Path("/k")}
    return plans.plan(name, directory, **{**defaults, **wishes})


def test_names_tell_lab_and_cluster() -> None:
    found = plan(nodes=3)
    assert [cluster.name for cluster in found.clusters] == ["management", "tenant-1", "tenant-2"]
    assert found.network == "kubelb-shop"
    assert found.clusters[2].node_names == (
        "kubelb-shop-tenant-2-control-plane",
        "kubelb-shop-tenant-2-worker",
        "kubelb-shop-tenant-2-worker2",
    )
    assert found.kubeconfig("tenant-1") == Path("/labs/shop/clusters/tenant-1.kubeconfig")


def test_two_labs_have_no_name_in_common() -> None:
    first, second = plan("shop"), plan("shop-2")
    names = [{first.network, *(node for item in first.clusters for node in item.node_names)}]
    names.append({second.network, *(node for item in second.clusters for node in item.node_names)})
    assert not names[0] & names[1]


def test_ranges_never_overlap_whatever_the_number_of_tenants() -> None:
    found = plan(tenants=MAX_TENANTS)
    ranges = [ipaddress.ip_network(text) for cluster in found.clusters for text in (cluster.pods, cluster.services)]
    assert len(ranges) == 2 * (MAX_TENANTS + 1)
    assert not [pair for pair in combinations(ranges, 2) if pair[0].overlaps(pair[1])]


def test_ranges_are_private_and_keep_off_what_docker_gives_networks() -> None:
    dockers = [ipaddress.ip_network("172.16.0.0/12"), ipaddress.ip_network("192.168.0.0/16")]
    for cluster in plan(tenants=MAX_TENANTS).clusters:
        for text in (cluster.pods, cluster.services):
            found = ipaddress.ip_network(text)
            assert found.is_private
            assert not any(found.overlaps(other) for other in dockers)


def test_ports_follow_each_other_and_are_kinds_choice_unless_asked_for() -> None:
    assert [cluster.api_port for cluster in plan(api_port=6443).clusters] == [6443, 6444, 6445]
    assert {cluster.api_port for cluster in plan().clusters} == {None}


@pytest.mark.parametrize("case", golden.cases(CONFIGURATIONS), ids=str)
def test_configuration(case: golden.Case, update_golden: bool) -> None:
    wishes = case.document()
    index = wishes.pop("cluster")
    case.check({"out": plan(**wishes).clusters[index].configuration()}, update=update_golden)


def test_configurations_have_no_orphans(update_golden: bool) -> None:
    golden.check_orphans(CONFIGURATIONS, update=update_golden)


def test_a_plan_survives_the_file(tmp_path: Path) -> None:
    planned = plan(directory=tmp_path, nodes=2, api_port=7000, without=("ccm",))
    planned.dump()
    assert LabPlan.load(tmp_path) == planned


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"clusters": [{"nodes": 1}]}', '{"clusters": 3}'])
def test_a_torn_file_is_no_plan(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    assert LabPlan.load(tmp_path) is None


def test_a_plan_of_another_release_is_none(tmp_path: Path) -> None:
    plan(directory=tmp_path).dump()
    raw = json.loads((tmp_path / "lab.json").read_text())
    raw["clusters"][0]["flavour"] = "new"
    (tmp_path / "lab.json").write_text(json.dumps(raw))
    assert LabPlan.load(tmp_path) is None


def test_too_many_tenants_are_refused() -> None:
    with pytest.raises(LabError, match=rf"--tenants 61: at most {MAX_TENANTS} with kind"):
        plan(tenants=MAX_TENANTS + 1)


@pytest.mark.parametrize(("nodes", "tenants"), [(1, 0), (3, 0), (1, 60), (12, 9)])
def test_a_lab_name_is_as_long_as_host_names_allow_and_no_longer(nodes: int, tenants: int) -> None:
    with pytest.raises(LabError, match="is too long for kind's node names: at most") as caught:
        plan("x" * 60, nodes=nodes, tenants=tenants)
    longest = int(str(caught.value).rpartition("at most ")[2].split()[0])
    found = plan("x" * longest, nodes=nodes, tenants=tenants)
    assert max(len(node) for cluster in found.clusters for node in cluster.node_names) == 63
    with pytest.raises(LabError, match=f"at most {longest} characters"):
        plan("x" * (longest + 1), nodes=nodes, tenants=tenants)


@pytest.mark.parametrize("subnet", ["172.18.0.0/16", "10.9.8.0/22", "192.168.0.0/20"])
def test_the_pool_is_the_end_of_the_network(subnet: str) -> None:
    network = ipaddress.ip_network(subnet)
    found = [ipaddress.ip_address(item) for item in plans.pool(subnet)]
    assert len(found) == len(set(found)) == POOL_SIZE
    assert all(item in network for item in found)
    assert not {network.network_address, network.broadcast_address} & set(found)
    # Docker numbers containers from the beginning.
    middle = int(network.network_address) + network.num_addresses // 2
    assert all(int(item) >= middle for item in found)
    assert found == sorted(found)


@pytest.mark.parametrize("subnet", ["10.0.0.0/24", "10.0.0.0/23", "fd00::/64"])
def test_a_network_without_room_for_a_pool_is_refused(subnet: str) -> None:
    with pytest.raises(LabError, match=rf"Docker network {subnet}: too small"):
        plans.pool(subnet)


def test_a_plan_is_a_value() -> None:
    assert plan() == plan()
    assert plan() != dataclasses.replace(plan(), node_image="kindest/node:v2")
    assert isinstance(plan().clusters[0], ClusterPlan)
