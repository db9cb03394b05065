"""Who gives LoadBalancer Services of the management cluster their addresses: `kind.addresses` of e2e/config.yaml.

lab                   the harness's own controller (`addresses.py`); nothing to download
metallb               MetalLB from the manifest that `kind.metallb` names, with the lab's pool announced by ARP
cloud-provider-kind   that program, from `kind.cloud_provider_kind` or PATH, as a process of the lab's own
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from kubelb_e2e import config
from kubelb_e2e.clusters import detached, kubectl, programs, state
from kubelb_e2e.clusters.base import MANAGEMENT
from kubelb_e2e.clusters.kind import addresses, docker_net
from kubelb_e2e.clusters.kind.cluster import NETWORK
from kubelb_e2e.clusters.kind.plan import LabPlan, pool
from kubelb_e2e.errors import LabError, last_line

LAB, METALLB, CLOUD = "lab", "metallb", "cloud-provider-kind"
_PID = "cloud-provider-kind.json"
_READY_SECONDS = 180
_NAMESPACE = "metallb-system"


def check(settings: config.Kind) -> None:
    """Raise LabError if what is configured cannot be started; nothing is touched."""
    if settings.addresses not in (LAB, METALLB, CLOUD):
        raise LabError(
            f"{config.CONFIG}: kind.addresses is {settings.addresses!r}: expected {LAB}, {METALLB} or {CLOUD}"
        )
    if settings.addresses == METALLB and not Path(settings.metallb).is_file():
        raise LabError(
            f"{config.CONFIG}: kind.metallb is {settings.metallb!r}: expected MetalLB's manifest, "
            f"or kind.addresses: {LAB}"
        )
    if settings.addresses == CLOUD:
        _cloud_program(settings)


def check_network(lab: LabPlan, settings: config.Kind) -> None:
    """Raise LabError if the lab's network has no room for the addresses that we choose."""
    if settings.addresses != CLOUD:
        pool(docker_net.subnet(lab.name))


def start(lab: LabPlan, settings: config.Kind) -> None:
    """Have it running; harmless if it is. Raises LabError."""
    if settings.addresses == METALLB:
        _metallb(lab, settings)
    elif settings.addresses == CLOUD:
        _cloud(lab, settings)
    else:
        addresses.start(lab.directory)


def stop(directory: Path) -> None:
    """End processes on the host; harmless if there are none."""
    addresses.stop(directory)
    if (found := _cloud_process(directory)) is not None:
        found.end()


def state_of(directory: Path, settings: config.Kind) -> tuple[str, bool]:
    """Return what gives addresses, and whether it is known to run; MetalLB is a matter of its cluster."""
    if settings.addresses == CLOUD:
        return CLOUD, _cloud_process(directory) is not None
    if settings.addresses == METALLB:
        return METALLB, True
    return addresses.PART, addresses.running(directory) is not None


def metallb_objects(subnet: str) -> list[dict[str, Any]]:
    """Return MetalLB's configuration for the lab's pool, announced by ARP."""
    own = list(pool(subnet))
    metadata = {"name": "lab", "namespace": _NAMESPACE}
    version = "metallb.io/v1beta1"
    return [
        {
            "apiVersion": version,
            "kind": "IPAddressPool",
            "metadata": metadata,
            "spec": {"addresses": [f"{own[0]}-{own[-1]}"]},
        },
        {
            "apiVersion": version,
            "kind": "L2Advertisement",
            "metadata": metadata,
            "spec": {"ipAddressPools": [metadata["name"]]},
        },
    ]


def _metallb(lab: LabPlan, settings: config.Kind) -> None:
    def call(*arguments: str, text: str = "") -> None:
        kubectl.run(lab.kubectl, lab.kubeconfig(MANAGEMENT), *arguments, who="MetalLB", text=text)

    call("apply", f"--filename={settings.metallb}")
    limit = f"--timeout={_READY_SECONDS}s"
    call("rollout", "status", f"--namespace={_NAMESPACE}", "deployment/controller", limit)
    call("rollout", "status", f"--namespace={_NAMESPACE}", "daemonset/speaker", limit)
    call("apply", "--filename=-", text=yaml.safe_dump_all(metallb_objects(docker_net.subnet(lab.name))))


def _cloud_program(settings: config.Kind) -> Path:
    cure = f"install it, name it (kind.cloud_provider_kind in {config.CONFIG}), or kind.addresses: {LAB}"
    return programs.find(CLOUD, None, settings.cloud_provider_kind, cure=cure)


def _cloud(lab: LabPlan, settings: config.Kind) -> None:
    if _cloud_process(lab.directory) is not None:
        return
    log = lab.directory / "cloud-provider-kind.log"
    found = detached.start([str(_cloud_program(settings))], log, environment={**os.environ, NETWORK: lab.network})
    if found is None:
        raise LabError(f"{CLOUD} ended at once: {last_line(log.read_text(errors='replace'))}")
    found.write(lab.directory / _PID)


def _cloud_process(directory: Path) -> state.ProcessId | None:
    return state.ProcessId.read(directory / _PID)
