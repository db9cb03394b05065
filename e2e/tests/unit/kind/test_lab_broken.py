"""A lab of which something is broken: it says what, and the rest can still be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelb_e2e import artifacts
from kubelb_e2e.errors import LabError

MANAGEMENT, TENANT = "kubelb-shop-management", "kubelb-shop-tenant-1"


@pytest.mark.parametrize("trouble", ["stopped", "gone", "process"])
def test_status_shows_what_is_broken(machine, trouble: str) -> None:
    lab = machine.up()
    node = f"{TENANT}-control-plane"
    if trouble == "stopped":
        machine.engine.containers[node].running = False
    elif trouble == "gone":
        del machine.engine.containers[node]
    else:
        machine.process().end()
    now = lab.status()
    assert not now.healthy
    assert now.headline.startswith("lab shop: broken")
    (broken,) = [row[1:] for row in now.rows if row[3] not in ("running", "runs")]
    told = {
        "stopped": (node, "", "exited"),
        "gone": (node, "", "gone"),
        "process": ("cloud-provider-kind", "", "ended"),
    }
    assert broken == told[trouble]


def test_a_cluster_that_does_not_answer_is_one_line(machine) -> None:
    lab = machine.up()
    machine.stage.do(machine.kind.apis.pop(TENANT).stop())
    with pytest.raises(
        LabError, match=r"^tenant-1: kubectl get nodes: The connection to the server .* was refused"
    ) as caught:
        lab.node_addresses("tenant-1")
    assert "\n" not in str(caught.value)


def test_what_still_answers_can_be_read(machine, tmp_path: Path) -> None:
    lab = machine.up()
    machine.run_pods(TENANT)
    machine.stage.do(machine.kind.apis.pop(MANAGEMENT).stop())
    artifacts.dump(lab, tmp_path / "dump")
    assert "lab shop: ready" in (tmp_path / "dump" / "status.txt").read_text()
    assert f"{TENANT}-control-plane" in (tmp_path / "dump" / "tenant-1" / "objects" / "node.yaml").read_text()
    assert (tmp_path / "dump/tenant-1/logs/pods/default_web-1/app.1.log").read_text() == "second run\n"
    assert (tmp_path / "dump/management/logs/nodes" / f"{MANAGEMENT}-control-plane" / "journal.log").is_file()
    missing = (tmp_path / "dump" / "missing.txt").read_text()
    assert "management: objects: management: kubectl api-resources: " in missing
    assert "logs: management: kubectl get pods: " in missing

    # The logs of one cluster do not need another.
    assert lab.logs("web-1", cluster="tenant-1", container="app")[0].text == "second run\n"
    with pytest.raises(LabError, match=r"management: kubectl get pods: .*refused"):
        lab.logs("web-1")
    with pytest.raises(LabError, match="no kubeconfig 'tenant-7'"):
        lab.logs("web-1", cluster="tenant-7")
