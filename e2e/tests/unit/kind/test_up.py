"""Starting, completing and ending a lab when nothing goes wrong."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.base import Wish
from kubelb_e2e.clusters.kind.plan import LabPlan
from kubelb_e2e.clusters.kind.provider import KindProvider
from kubelb_e2e.errors import LabError, Unavailable

MANAGEMENT, TENANT = "kubelb-shop-management", "kubelb-shop-tenant-1"
NODES = [f"{MANAGEMENT}-control-plane", f"{TENANT}-control-plane"]


def test_a_lab_starts_is_used_again_and_ends_without_a_trace(machine) -> None:
    lab = machine.up()
    assert lab.cluster_names == ("management", "tenant-1")
    assert machine.nodes() == NODES
    assert state.labs() == {"shop": "kind"}
    assert machine.engine.networks.keys() == {"kubelb-shop"}
    # Each cluster was given its plan, on the lab's network, and images where they run.
    for cluster in lab.plan.clusters:
        assert yaml.safe_load(machine.kind.given[cluster.kind_name]) == cluster.configuration()
    assert {item.network for item in machine.engine.containers.values()} == {"kubelb-shop"}
    loaded = {
        name: {image.partition(":")[0] for image in item.images} for name, item in machine.engine.containers.items()
    }
    assert loaded == {
        NODES[0]: {"kubelb/manager", "kubelb/envoy", "kubelb/echo", "kubelb/standin", "kubelb/tools"},
        NODES[1]: {"kubelb/ccm", "kubelb/echo", "kubelb/tools"},
    }
    process = machine.process()
    assert process is not None

    calls = len(machine.engine.calls)
    again = machine.up()
    assert again.plan == lab.plan
    later = machine.engine.calls[calls:]
    assert [call for call in later if call[:2] in (("kind", "create"), ("docker", "rm"), ("kind", "delete"))] == []
    assert machine.process() == process
    assert KindProvider().find("shop").plan == lab.plan

    assert machine.down()
    assert not process.alive
    assert machine.is_clean()
    assert not machine.down(), "there is nothing any more"


def test_what_a_running_lab_is_not_is_told_and_fresh_replaces_it(machine) -> None:
    machine.up(tenants=0)
    differing = [
        ({"tenants": 1}, "--tenants is 0"),
        ({"nodes": 2}, "--nodes is 1"),
        ({"node_image": "kindest/node:v1.35.8"}, "--kind-image is kindest/node:v1.36.4"),
        ({"node_image": None, "kubernetes": "1.35"}, "--kind-image is kindest/node:v1.36.4"),
        ({"api_port": 7000}, "--api-port is None"),
        ({"tenants": 1, "nodes": 2}, "--tenants is 0, --nodes is 1"),
    ]
    for wishes, told in differing:
        with pytest.raises(LabError, match=rf"^lab 'shop' runs already and {told}; replace it: --fresh, or end it"):
            machine.up(**{"tenants": 0, **wishes})
    with pytest.raises(LabError, match=r"no node image for Kubernetes '1.7'"):
        machine.up(tenants=0, node_image=None, kubernetes="1.7")
    assert machine.nodes() == NODES[:1], "nothing was touched"
    assert KindProvider().up("shop", Wish(), say=machine._say).cluster_names == ("management",), "no wish, any lab"

    first = machine.api(MANAGEMENT).url
    process = machine.process()
    assert machine.up(fresh=True, tenants=0).cluster_names == ("management",)
    assert machine.api(MANAGEMENT).url != first, "even an equal one is replaced if so wished"
    assert f"removing what is left of lab shop: {MANAGEMENT}" in machine.said
    assert process is not None
    assert not process.alive


def test_labs_stand_side_by_side(machine) -> None:
    machine.up(tenants=0)
    with pytest.raises(Unavailable):
        machine.up("other", tenants=0, node_image="kindest/node:nope")
    assert machine.nodes() == NODES[:1]
    assert not machine.down("other")
    assert machine.nodes() == NODES[:1]
    assert machine.process() is not None


def test_a_lab_of_which_a_node_is_stopped_does_not_run_and_is_made_anew(machine) -> None:
    lab = machine.up(tenants=0)
    machine.engine.containers[NODES[0]].running = False
    assert not lab.status().healthy
    machine.up(tenants=0)
    assert machine.engine.containers[NODES[0]].running
    assert lab.status().healthy


def test_clusters_are_made_by_the_program_and_image_that_were_asked_for(machine, tmp_path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "my-kind").symlink_to(machine.stage.bin / "kind")
    machine.engine.add_image("kindest/node:own")
    machine.kind.troubles[MANAGEMENT] = lambda _: "ERROR: stop here"
    with pytest.raises(LabError, match="stop here"):
        machine.up(kind=tmp_path / "own" / "my-kind", node_image="kindest/node:own", tenants=0)
    (created,) = machine.engine.made("kind", "create")
    assert "--image=kindest/node:own" in created


def test_a_node_image_that_is_not_here_is_pulled_once(machine) -> None:
    del machine.engine.images["kindest/node:v1.36.4"]
    machine.engine.pullable.add("kindest/node:v1.36.4")
    machine.kind.troubles[MANAGEMENT] = lambda _: "ERROR: stop here"
    for _ in range(2):
        with pytest.raises(LabError, match="stop here"):
            machine.up(tenants=0)
    assert machine.engine.made("docker", "pull") == [("docker", "pull", "--quiet", "kindest/node:v1.36.4")]
    assert machine.said[0] == "pulling the node image kindest/node:v1.36.4 (once, about 1 GB)"


def test_a_plan_can_be_read_by_who_looks_into_the_folder(machine) -> None:
    lab = machine.up(tenants=0, without=("ccm",))
    raw = json.loads((machine.directory / "lab.json").read_text())
    assert raw["without"] == ["ccm"]
    assert LabPlan.load(machine.directory) == lab.plan
    assert lab.without == ("ccm",)
    assert dataclasses.asdict(lab.plan)["network" if "network" in raw else "name"] == "shop"
