"""Who gives Services their addresses: what is configured is checked, started once and ended."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
from pathlib import Path

import pytest
from standins import programs
from standins.stage import until

from kubelb_e2e import config
from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.kind import balancer, docker_net
from kubelb_e2e.clusters.kind.plan import LabPlan, plan, pool
from kubelb_e2e.errors import LabError, Unavailable


@pytest.fixture
def lab(machine) -> LabPlan:
    docker_net.ensure("shop")
    machine.directory.mkdir(parents=True)
    given = {"node_image": "kindest/node:v1", "kind": machine.stage.bin / "kind", "kubectl": Path("/kubectl")}
    return plan("shop", machine.directory, tenants=0, nodes=1, **given)


def settings(addresses: str, **more: str) -> config.Kind:
    return dataclasses.replace(config.kind(), addresses=addresses, **more)


def test_the_harness_needs_nothing_more() -> None:
    balancer.check(settings("lab"))


def test_a_word_that_is_none_is_told_with_those_there_are() -> None:
    with pytest.raises(LabError, match=r"kind.addresses is 'cilium': expected lab, metallb or cloud-provider-kind"):
        balancer.check(settings("cilium"))


def test_metallb_needs_its_manifest(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"kind.metallb is '/nonexistent': expected MetalLB's manifest"):
        balancer.check(settings("metallb", metallb="/nonexistent"))
    (tmp_path / "metallb.yaml").touch()
    balancer.check(settings("metallb", metallb=str(tmp_path / "metallb.yaml")))


def test_a_program_that_is_not_there_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"no `cloud-provider-kind` on this machine: install it, name it \("):
        balancer.check(settings("cloud-provider-kind"))
    path = programs.script(tmp_path / "mine", "#!/bin/sh\n")
    balancer.check(settings("cloud-provider-kind", cloud_provider_kind=str(path)))


def test_metallb_gets_the_labs_pool(lab: LabPlan) -> None:
    own = list(pool("172.30.0.0/16"))
    found = balancer.metallb_objects("172.30.0.0/16")
    assert [item["kind"] for item in found] == ["IPAddressPool", "L2Advertisement"]
    first, last = found[0]["spec"]["addresses"][0].split("-")
    assert (first, last) == (own[0], own[-1])
    assert int(ipaddress.ip_address(last)) - int(ipaddress.ip_address(first)) + 1 == len(own)
    assert found[1]["spec"]["ipAddressPools"] == [found[0]["metadata"]["name"]]


def test_metallb_is_applied_and_waited_for(lab: LabPlan, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    kubectl = programs.script(tmp_path / "kubectl", f'#!/bin/sh\necho "$@" >>"{seen}"\ncat >>"{seen}.input"\n')
    balancer.start(dataclasses.replace(lab, kubectl=kubectl), settings("metallb", metallb="/m.yaml"))
    flag = f"--kubeconfig={lab.kubeconfig('management')}"
    assert seen.read_text().splitlines() == [
        f"{flag} apply --filename=/m.yaml",
        f"{flag} rollout status --namespace=metallb-system deployment/controller --timeout=180s",
        f"{flag} rollout status --namespace=metallb-system daemonset/speaker --timeout=180s",
        f"{flag} apply --filename=-",
    ]
    assert "kind: IPAddressPool" in Path(f"{seen}.input").read_text()
    assert balancer.state_of(lab.directory, settings("metallb")) == ("metallb", True)


def test_metallb_that_does_not_come_is_told_in_one_line(lab: LabPlan, tmp_path: Path) -> None:
    kubectl = programs.script(tmp_path / "kubectl", "#!/bin/sh\necho 'error: timed out' >&2; exit 1\n")
    with pytest.raises(LabError, match=r"^MetalLB: kubectl apply: error: timed out$"):
        balancer.start(dataclasses.replace(lab, kubectl=kubectl), settings("metallb", metallb="/m.yaml"))


def test_the_program_runs_once_on_the_labs_network_and_is_ended(lab: LabPlan, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    program = programs.script(
        tmp_path / "mine", f'#!/bin/sh\necho "$KIND_EXPERIMENTAL_DOCKER_NETWORK" >>"{seen}"\nexec tail -f /dev/null\n'
    )
    chosen = settings("cloud-provider-kind", cloud_provider_kind=str(program))
    assert balancer.state_of(lab.directory, chosen) == ("cloud-provider-kind", False)
    balancer.start(lab, chosen)
    balancer.start(lab, chosen)
    assert balancer.state_of(lab.directory, chosen) == ("cloud-provider-kind", True)
    process = state.ProcessId.read(lab.directory / "cloud-provider-kind.json")
    assert process is not None
    assert os.getsid(process.pid) != os.getsid(0), "a terminal's Ctrl-C is not for it"
    until(lambda: seen.exists() and seen.read_text(), "it does not run")
    balancer.stop(lab.directory)
    assert not process.alive
    assert seen.read_text() == "kubelb-shop\n", "once"
    balancer.stop(lab.directory)


def test_a_program_that_ended_is_started_again(lab: LabPlan) -> None:
    chosen = settings("cloud-provider-kind")
    balancer.start(lab, chosen)
    first = state.ProcessId.read(lab.directory / "cloud-provider-kind.json")
    assert first is not None
    first.kill()
    until(lambda: not first.alive, "it lives")
    assert balancer.state_of(lab.directory, chosen) == ("cloud-provider-kind", False)
    balancer.start(lab, chosen)
    assert balancer.state_of(lab.directory, chosen) == ("cloud-provider-kind", True)
    balancer.stop(lab.directory)
