"""A running lab: what it tells of itself, and how its clusters are reached."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from standins import apis

from kubelb_common.kube.resources import NAMESPACES, SERVICES
from kubelb_common.testing import builders
from kubelb_e2e import tables
from kubelb_e2e.clusters.base import Capability, credential_name, tenants
from kubelb_e2e.clusters.kind import addresses
from kubelb_e2e.clusters.kind import lab as labs
from kubelb_e2e.clusters.kind.lab import KindLab
from kubelb_e2e.clusters.kind.provider import KindProvider
from kubelb_e2e.errors import LabError

MANAGEMENT, TENANT = "kubelb-shop-management", "kubelb-shop-tenant-1"


@pytest.fixture(scope="module")
def machine(used_machine):
    """One machine for all tests of this module, for they only look."""
    used_machine.run_pods(TENANT)
    return used_machine


@pytest.fixture
def lab(machine) -> KindLab:
    return KindProvider().find("shop")


def test_it_says_what_it_is(lab: KindLab) -> None:
    assert (lab.name, lab.provider, tenants(lab), lab.without) == ("shop", "kind", ("tenant-1",), ())
    assert lab.capabilities == {Capability.ENTER, Capability.LIMITS, Capability.POD_PROCESSES}
    assert lab.image("kubelb/ccm:0.1.0") == "kubelb/ccm:0.1.0", "images are loaded by their own names"
    with pytest.raises(LabError, match="management: its audit log cannot be read from here"):
        lab.audit_log("management")


def test_status_shows_nodes_and_who_gives_addresses(machine, lab: KindLab) -> None:
    service = builders.service("web", "shop").port(80).load_balancer().ingress_ip("172.30.255.1").build()
    kube = machine.api(MANAGEMENT).kube
    machine.stage.do(kube.create(NAMESPACES, {"metadata": {"name": "shop"}}))
    machine.stage.do(kube.create(SERVICES, service, "shop"))
    machine.stage.do(kube.patch(SERVICES, "web", {"status": service["status"]}, "shop", subresource="status"))
    now = lab.status()
    assert now.healthy
    address = {name: item.address for name, item in machine.engine.containers.items()}
    nodes = [f"{MANAGEMENT}-control-plane", f"{TENANT}-control-plane"]
    assert now.rows == (
        ("management", nodes[0], address[nodes[0]], "running"),
        ("tenant-1", nodes[1], address[nodes[1]], "running"),
        ("", "cloud-provider-kind", "", "runs"),
    )
    assert now.addresses == {"172.30.255.1": "shop/web"}
    assert now.headline.startswith("lab shop: ready, made ")
    assert "172.30.255.1  shop/web" in tables.status(now)


def test_facts_are_versions_image_and_memory(lab: KindLab) -> None:
    found = lab.facts()
    assert found.lines == (("Docker", "28.5.2"), ("kind", "0.33.0"), ("Memory of all nodes", "1025 MiB"))
    assert found.node_image == "kindest/node:v1.36.4"
    assert found.memory == {"management": 537395200, "tenant-1": 537395200}


def test_facts_without_memory_are_still_facts(machine, lab: KindLab) -> None:
    machine.engine.refused["stats",] = "Error response from daemon: no cgroups"
    try:
        assert lab.facts().lines == (("Docker", "28.5.2"), ("kind", "0.33.0"))
    finally:
        machine.engine.refused.clear()


@pytest.mark.parametrize(
    ("text", "size"),
    [("0B", 0), ("512B", 512), ("1.5KiB", 1536), ("59.98MiB", 62893588), ("23.54GiB", 25275882536), ("", 0), ("--", 0)],
)
def test_what_docker_writes_of_memory_is_bytes(text: str, size: int) -> None:
    assert labs._bytes(text) == size


def test_kubeconfigs_are_found_by_cluster_and_credential(machine, lab: KindLab) -> None:
    shutil.rmtree(machine.directory / "credentials", ignore_errors=True)
    assert lab.kubeconfig("tenant-1") == machine.directory / "clusters" / "tenant-1.kubeconfig"
    for name in ("tenant-2", "ccm-1", "", "../management"):
        with pytest.raises(
            LabError, match=rf"no kubeconfig '{name}' in lab 'shop'; there are management, tenant-1, ccm-1"
        ):
            lab.kubeconfig(name)
    lab.keep_credential("tenant-1", apis.credential("lab-1"))
    path = lab.kubeconfig(credential_name("tenant-1"))
    found = yaml.safe_load(path.read_text())
    # The manager gives an address that only clusters know; the host reaches the same server by another.
    assert found["clusters"][0]["cluster"]["server"] == machine.api(MANAGEMENT).url
    assert found["users"] == json.loads(apis.credential("lab-1"))["users"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_commands_get_kubeconfigs_and_kubectl(machine, lab: KindLab) -> None:
    lab.keep_credential("tenant-1", apis.credential("lab-1"))
    shown = lab.run(
        ["sh", "-c", "echo $KUBECONFIG; echo $KUBECONFIG_MANAGEMENT; echo $KUBECONFIG_CCM_1; echo $MORE"],
        cluster="tenant-1",
        env={"MORE": "yes"},
    ).stdout.split()
    assert shown == [
        str(lab.kubeconfig("tenant-1")),
        str(lab.kubeconfig("management")),
        str(lab.kubeconfig("ccm-1")),
        "yes",
    ]
    named = lab.run(["kubectl", "get", "nodes", "--output=name"], cluster="tenant-1")
    assert named.stdout == f"node/{TENANT}-control-plane\n"
    assert lab.run(["sh", "-c", "echo no >&2; exit 7"]).returncode == 7
    assert lab.command_line(["true"]) == ["true"]
    assert lab.forward("10.0.0.1:80") == "10.0.0.1:80"
    assert (machine.directory / "kubectl-cache").is_dir(), "kubectl leaves nothing elsewhere"


def test_node_addresses_are_those_of_the_network(machine, lab: KindLab) -> None:
    assert lab.node_addresses("tenant-1") == (machine.engine.containers[f"{TENANT}-control-plane"].address,)


def test_logs_are_of_the_last_run_or_of_the_one_before_too(machine, lab: KindLab) -> None:
    (found,) = lab.logs("web", container="app")
    assert (found.cluster, found.pod, found.run, found.text) == ("tenant-1", "web-1", 1, "second run\n")
    every = lab.logs("default/web-1", cluster="tenant-1", container="app", all_runs=True)
    assert [(item.run, item.text) for item in every] == [(0, "first run\n"), (1, "second run\n")]
    (side,) = lab.logs("web-1", cluster="tenant-1", container="side")
    assert side.text.startswith("(no log: ")
    with pytest.raises(LabError, match="no logs of a pod 'api'; there are: tenant-1: default/web-1"):
        lab.logs("api", cluster="tenant-1")
    with pytest.raises(LabError, match="no logs of a pod 'web'"):
        lab.logs("web", cluster="management")


def test_an_export_has_nodes_pods_and_the_labs_own_log(machine, lab: KindLab, tmp_path: Path) -> None:
    addresses.log_file(machine.directory).write_text("of the lab\n")
    (tmp_path / "export").mkdir()
    lab.export(tmp_path / "export")
    found = {str(path.relative_to(tmp_path / "export")) for path in (tmp_path / "export").rglob("*") if path.is_file()}
    assert found == {
        "lab.log",
        f"management/logs/nodes/{MANAGEMENT}-control-plane/journal.log",
        f"tenant-1/logs/nodes/{TENANT}-control-plane/journal.log",
        "tenant-1/logs/pods/default_web-1/app.0.log",
        "tenant-1/logs/pods/default_web-1/app.1.log",
        "tenant-1/logs/pods/default_web-1/side.0.log",
    }
    assert (tmp_path / "export/tenant-1/logs/pods/default_web-1/app.0.log").read_text() == "first run\n"
