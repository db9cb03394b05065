"""One cluster by pytest-kind: where it writes, how long it waits, what it says."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from standins import programs

from kubelb_e2e.clusters.kind import cluster, docker_net
from kubelb_e2e.clusters.kind.cluster import Cluster
from kubelb_e2e.clusters.kind.plan import LabPlan, plan
from kubelb_e2e.errors import LabError

IMAGE = "kindest/node:v1.36.4"


@pytest.fixture
def lab(machine) -> LabPlan:
    docker_net.ensure("shop")
    machine.directory.mkdir(parents=True)
    given = {"node_image": IMAGE, "kind": machine.stage.bin / "kind", "kubectl": machine.kubectl}
    return plan("shop", machine.directory, tenants=30, nodes=1, **given)


def saying(machine, script: str) -> Path:
    """Return a kind that does this."""
    return programs.script(machine.here.parent / "saying", f"#!/bin/sh\n{script}\n")


def other(lab: LabPlan, kind: Path) -> Cluster:
    return Cluster(LabPlan(**{**{name: getattr(lab, name) for name in lab.__slots__}, "kind": kind}), lab.clusters[0])


def test_nothing_is_made_where_we_stand(machine, lab: LabPlan) -> None:
    own = Cluster(lab, lab.clusters[0])
    assert list(machine.here.iterdir()) == []
    own.create()
    own.load("kubelb/manager:0.1.0")
    own.export_logs(machine.here.parent / "logs")
    own.delete()
    assert list(machine.here.iterdir()) == []
    assert machine.nodes() == []


def test_nothing_is_made_where_we_stand_by_many_side_by_side(machine, lab: LabPlan) -> None:
    with ThreadPoolExecutor(max_workers=16) as pool:
        made = list(pool.map(lambda item: Cluster(lab, item), lab.clusters * 20))
    assert len(made) == 31 * 20
    assert list(machine.here.iterdir()) == []


def test_a_folder_of_somebody_elses_pytest_kind_stays(machine, lab: LabPlan) -> None:
    theirs = machine.here / ".pytest-kind" / "web" / "kubeconfig"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    Cluster(lab, lab.clusters[0])
    assert [path.name for path in (machine.here / ".pytest-kind").rglob("*")] == ["web", "kubeconfig"]


def test_a_place_where_nothing_can_be_written_is_told(machine, lab: LabPlan) -> None:
    machine.here.rmdir()
    with pytest.raises(LabError, match=r"pytest-kind cannot work here: .*; go to a folder that can be written"):
        Cluster(lab, lab.clusters[0])
    machine.here.mkdir()


def test_a_cluster_is_usable_when_nodes_and_service_account_are_there(machine, lab: LabPlan) -> None:
    own = Cluster(lab, lab.clusters[0])
    own.create()
    assert own.kubeconfig_path == lab.kubeconfig("management")
    assert own.api.url == machine.api("kubelb-shop-management").url, "pytest-kind is connected"
    assert [call[1:3] for call in machine.engine.made("kind")] == [("create", "cluster"), ("get", "clusters")]


def test_the_service_account_is_waited_for(machine, lab: LabPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Cluster(lab, lab.clusters[0])
    own.create()
    api = machine.api("kubelb-shop-management")
    machine.stage.do(api.kube.delete(cluster.SERVICE_ACCOUNTS, "default", "default"))
    monkeypatch.setattr(cluster, "_READY_SECONDS", 0.0)
    with pytest.raises(LabError, match="after 0 s still missing: ServiceAccount default/default"):
        own.wait_usable()


def test_an_api_server_that_does_not_answer_is_waited_for(
    machine, lab: LabPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Cluster(lab, lab.clusters[0])
    own.create()
    machine.stage.do(machine.kind.apis.pop("kubelb-shop-management").stop())
    monkeypatch.setattr(cluster, "_READY_SECONDS", 0.0)
    with pytest.raises(LabError, match="after 0 s still missing: an answer"):
        own.wait_usable()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 3", "kind could not create it: it printed nothing"),
        ("echo ERROR: no luck >&2; exit 1", "kind could not create it: no luck"),
        ("kill -9 $$", "kind could not create it: it printed nothing"),
    ],
)
def test_a_kind_that_ends_is_told(machine, lab: LabPlan, script: str, told: str) -> None:
    with pytest.raises(LabError) as caught:
        other(lab, saying(machine, script)).create()
    assert str(caught.value) == f"kubelb-shop-management: {told}"


def test_a_kind_that_does_not_end_is_ended(machine, lab: LabPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CREATE_SECONDS", 0.3)
    own = other(lab, saying(machine, f"echo $$ >'{machine.here.parent}/pid'\necho hello\nexec tail -f /dev/null"))
    with pytest.raises(LabError, match="kind could not create it: no end after 0 s"):
        own.create()
    pid = int((machine.here.parent / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_a_kind_that_is_no_program_is_told(machine, lab: LabPlan) -> None:
    path = machine.here.parent / "text"
    path.write_text("not a program")
    path.chmod(0o755)
    with pytest.raises(LabError, match=f"kind could not create it: {path}: Exec format error"):
        other(lab, path).create()


@pytest.mark.parametrize("step", ["load", "export_logs", "delete"])
def test_a_step_that_fails_is_told_by_kinds_last_line(machine, lab: LabPlan, step: str) -> None:
    own = other(lab, saying(machine, "echo first; echo ERROR: no luck >&2; echo; exit 1"))
    arguments = {"load": ("kubelb/a:1",), "export_logs": (machine.here.parent / "logs",), "delete": ()}[step]
    with pytest.raises(LabError, match=r"^kubelb-shop-management: kind .*: ERROR: no luck$"):
        getattr(own, step)(*arguments)


def test_kind_gets_the_network_and_neither_terminal_nor_wait(machine, lab: LabPlan) -> None:
    out = machine.here.parent / "seen"
    script = f'echo "$KIND_EXPERIMENTAL_DOCKER_NETWORK $@" >"{out}"; cat >>"{out}"; exit 1'
    with pytest.raises(LabError):
        other(lab, saying(machine, script)).create()
    words, _, document = out.read_text().partition("\n")
    assert words == (
        f"kubelb-shop create cluster --name=kubelb-shop-management --kubeconfig={lab.kubeconfig('management')} "
        f"--retain --image={IMAGE} --config=-"
    )
    assert document.startswith("kind: Cluster\n")
    assert os.environ.get("KIND_EXPERIMENTAL_DOCKER_NETWORK") is None
    assert subprocess.run([str(lab.kind), "get", "clusters"], capture_output=True, check=True, input=b"").stdout == b""
