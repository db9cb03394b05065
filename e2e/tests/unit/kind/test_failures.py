"""A start that fails: one line that names cause and cure, and nothing is left of it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from standins import says

from kubelb_e2e.clusters.kind import cluster
from kubelb_e2e.docker import DockerError
from kubelb_e2e.errors import LabError, Unavailable

MANAGEMENT, TENANT = "kubelb-shop-management", "kubelb-shop-tenant-1"
IMAGE = "kindest/node:v1.36.4"


def fails(machine, error: type[LabError] = LabError, /, **wishes: object) -> str:
    """Start a lab, which must fail in one line and leave nothing; return the line."""
    with pytest.raises(error) as caught:
        machine.up(**wishes)
    text = str(caught.value)
    assert "\n" not in text
    assert type(caught.value) is error
    assert machine.is_clean()
    return text


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_no_docker_is_unavailable_before_anything_is_touched(machine) -> None:
    machine.engine.die()
    assert "Docker does not answer" in fails(machine, Unavailable)
    assert len(machine.engine.calls) == 1


def test_a_taken_port_is_told_before_anything_is_made(machine, taken: int) -> None:
    assert f"port {taken} of this host is taken" in fails(machine, Unavailable, api_port=taken)
    assert machine.engine.made("docker", "network", "create") == []


def test_a_port_that_is_taken_meanwhile_is_told_and_all_is_removed(machine) -> None:
    machine.kind.troubles[TENANT] = says.port_of_docker
    told = fails(machine)
    assert told.startswith(f"{TENANT}: port 6443 of this host is taken; choose others (--api-port)")


def test_a_node_image_that_cannot_be_had_is_told_before_anything_is_made(machine) -> None:
    machine.engine.images.clear()
    told = fails(machine, Unavailable)
    assert f"node image {IMAGE} is not here and cannot be pulled (docker pull --quiet:" in told
    assert "--kind-image" in told
    assert machine.engine.made("docker", "network", "create") == []


def test_a_node_image_that_goes_meanwhile_is_told(machine) -> None:
    machine.kind.troubles[MANAGEMENT] = says.no_image
    assert fails(machine).startswith(f"{MANAGEMENT}: node image {IMAGE} is not here and cannot be pulled; `docker pull")


def test_images_that_were_not_built_are_told_before_anything_is_made(machine) -> None:
    for name in ("kubelb/ccm:0.1.0", "kubelb/echo:0.1.0"):
        del machine.engine.images[name]
    assert fails(machine) == "not built yet: kubelb/ccm:0.1.0, kubelb/echo:0.1.0; build them: make images"
    assert machine.engine.made("docker", "network", "create") == []


def test_an_image_that_goes_meanwhile_is_told(machine) -> None:
    machine.kind.hold(TENANT)

    def lose() -> None:
        machine.stage.reached(TENANT)
        del machine.engine.images["kubelb/tools:0.1.0"]
        machine.stage.release(TENANT)

    with machine.meanwhile(lose):
        assert fails(machine).startswith("not built yet: kubelb/tools:0.1.0; build them: make images")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("meminfo", "MemAvailable: 1024000 kB\n", "2 clusters with 2 nodes need about 1800 MiB and 1000 MiB are free"),
        ("max_user_instances", "1\n", "sysctl -w fs.inotify.max_user_instances=1024"),
    ],
)
def test_a_machine_without_room_is_told_before_anything_is_made(
    machine, tmp_path: Path, file: str, text: str, told: str
) -> None:
    (tmp_path / file).write_text(text)
    assert told in fails(machine, Unavailable)
    assert machine.engine.made("docker", "network", "create") == []


def test_a_lab_name_that_is_too_long_is_told_before_anything_is_made(machine) -> None:
    with pytest.raises(LabError, match="is too long for kind's node names: at most 31 characters"):
        machine.up("x" * 32)
    assert machine.is_clean()


def test_a_cluster_of_our_name_that_is_not_ours_is_left_alone_and_named(machine) -> None:
    machine.engine.add_network("kind")
    theirs = machine.engine.add_container(f"{TENANT}-control-plane", "kind", cluster=TENANT)
    with pytest.raises(LabError) as caught:
        machine.up()
    assert str(caught.value) == (
        f"kind cluster {TENANT} exists and is not of this lab; delete it (kind delete cluster --name {TENANT}), "
        "or choose another lab name: --name"
    )
    assert not machine.down()
    assert machine.engine.containers == {theirs.name: theirs}
    assert not machine.directory.exists()


def test_a_network_of_our_name_that_is_not_ours_is_left_alone_and_named(machine) -> None:
    theirs = machine.engine.add_network("kubelb-shop")
    guest = machine.engine.add_container("guest", "kubelb-shop")
    other = machine.engine.add_container("other-control-plane", "kubelb-shop", cluster="other")
    with pytest.raises(LabError, match=r"Docker network kubelb-shop exists and is not of this lab; remove it"):
        machine.up()
    assert not machine.down()
    assert machine.engine.networks == {"kubelb-shop": theirs}
    assert machine.engine.containers == {"guest": guest, other.name: other}
    assert machine.engine.made("kind", "export") == [], "their logs are none of ours"
    assert not machine.directory.exists()


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (says.no_boot, "a node did not boot"),
        (says.kubeadm, "control plane did not come up in time"),
        (says.killed, "killed for lack of memory"),
        (says.exists, "node(s) already exist for a cluster"),
        (lambda _: "ERROR: failed to create cluster: the moon is full", "the moon is full"),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_what_kind_says_is_told_and_the_nodes_logs_are_kept(machine, tmp_path: Path, trouble, told: str) -> None:
    machine.kind.troubles[TENANT] = trouble
    line = fails(machine)
    assert told in line
    folder = tmp_path / "artifacts" / "kind-shop"
    assert line.endswith(f"; logs of the nodes: {folder}")
    assert (folder / "tenant-1" / f"{TENANT}-control-plane" / "journal.log").is_file()


def test_logs_that_cannot_be_kept_are_not_promised(machine, tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file where the folder should be")
    machine.kind.troubles[TENANT] = says.kubeadm
    assert "logs of the nodes" not in fails(machine)


def test_logs_of_an_earlier_failure_are_not_taken_for_those_of_this_one(machine, tmp_path: Path) -> None:
    machine.kind.troubles[TENANT] = says.kubeadm
    fails(machine, tenants=1)
    old = tmp_path / "artifacts" / "kind-shop" / "tenant-1"
    assert old.is_dir()
    machine.kind.troubles = {MANAGEMENT: says.kubeadm}
    fails(machine, tenants=0)
    assert not old.exists()


def test_nodes_that_never_become_ready_for_want_of_inotify(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_READY_SECONDS", 0.0)
    machine.kind.unready.add(TENANT)
    told = fails(machine)
    assert (
        f"{TENANT}: after 0 s still missing: node {TENANT}-control-plane is not Ready; the kernel gives out no" in told
    )
    assert "sysctl -w fs.inotify.max_user_instances=1024" in told


def test_nodes_that_never_become_ready_for_another_reason(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_READY_SECONDS", 0.0)
    machine.kind.hold(TENANT)
    machine.kind.unready.add(TENANT)

    def calm() -> None:
        machine.stage.reached(TENANT)
        machine.engine.containers[f"{TENANT}-control-plane"].journal = "kubelet: image is being pulled"
        machine.stage.release(TENANT)

    with machine.meanwhile(calm):
        told = fails(machine)
    assert f"node {TENANT}-control-plane is not Ready; the exported logs say more" in told
    assert "inotify" not in told


def test_docker_that_ends_while_clusters_are_made(machine) -> None:
    machine.kind.hold(TENANT)

    def end() -> None:
        machine.stage.reached(TENANT)
        machine.engine.die()
        machine.stage.release(TENANT)

    with machine.meanwhile(end), pytest.raises(LabError) as caught:
        machine.up()
    told = str(caught.value)
    assert "\n" not in told
    assert told.startswith("Docker stopped answering while lab shop was made"), told
    assert told.endswith("start Docker again, then: kubelb-e2e down --name shop")
    machine.engine.revive()
    assert machine.down(), "and that command does what is promised of it"
    assert machine.is_clean()


def test_docker_may_end_at_any_call(machine) -> None:
    """Whenever it ends: one line; and when it is back, one `down` leaves nothing."""
    machine.up(tenants=0)
    calls = len(machine.engine.calls)
    assert calls > 15
    machine.down()
    for dies_at in range(1, calls + 1):
        machine.engine.calls.clear()
        machine.engine.dies_at = dies_at
        with pytest.raises(LabError) as caught:
            machine.up(tenants=0)
        assert "\n" not in str(caught.value)
        assert re.search("Docker|not present locally", str(caught.value)), f"call {dies_at}: {caught.value}"
        machine.engine.revive()
        machine.down()
        assert machine.is_clean(), f"Docker ended at call {dies_at}"


def test_an_image_that_a_node_does_not_take(machine) -> None:
    machine.kind.refused["load", "docker-image"] = (
        'ERROR: failed to load image: command "docker exec" failed\n\nno space left on device'
    )
    assert "kind load kubelb/" in fails(machine)


def test_what_cannot_be_removed_is_told_and_kept_known(machine) -> None:
    machine.kind.troubles[TENANT] = says.kubeadm
    machine.engine.refused["rm",] = "Error response from daemon: cannot remove container: device or resource busy"
    with pytest.raises(LabError, match="device or resource busy; kubelb-e2e down --name shop") as caught:
        machine.up()
    assert "control plane did not come up" in str(caught.value)
    with pytest.raises(DockerError, match="device or resource busy"):
        machine.down()
    machine.engine.refused.clear()
    assert machine.down()
    assert machine.is_clean()


@pytest.mark.parametrize("program", ["kind", "kubectl"])
def test_a_program_that_is_not_there_is_told_before_anything_is_made(machine, program: str) -> None:
    path = machine.here.parent / "nowhere" / program
    assert fails(machine, Unavailable, **{program: path}) == f"{path}: no such program"
    assert machine.engine.made("docker", "network", "create") == []


def test_what_cannot_give_addresses_is_told_before_anything_is_made(machine) -> None:
    machine.give_addresses_by("metallb")
    assert "kind.metallb is ''" in fails(machine)
    assert machine.engine.made("docker", "network", "create") == []


def test_a_network_without_room_for_addresses_is_told_before_clusters_are_made(machine) -> None:
    machine.engine.subnet_bits = 24
    machine.give_addresses_by("lab")
    told = fails(machine)
    assert told.startswith("Docker network 172.30.0.0/24: too small")
    assert "default-address-pools" in told
    assert machine.engine.made("kind", "create") == []


def test_a_folder_that_cannot_be_made_is_told(machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KUBELB_LAB_DIR", str(tmp_path / "file" / "labs"))
    with pytest.raises(LabError, match=r"cannot use the labs' folder .*: Not a directory; set KUBELB_LAB_DIR"):
        machine.up()
    assert machine.nodes() == []
