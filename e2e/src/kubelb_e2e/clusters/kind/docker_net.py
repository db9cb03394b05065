"""The lab's Docker network: made first, removed last, and the proof of what is the lab's own.

kind labels its containers with their cluster only. The network is ours to label, so a cluster is
this lab's if its nodes are on the network that carries this lab's label; whatever else has one of our
names is somebody else's and is left alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from kubelb_e2e import docker
from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.kind.plan import network_name
from kubelb_e2e.errors import LabError

LABEL = "io.kubelb.e2e.lab"
#: Whose lab it is: a user, and the lab's folder.
OWNER, FOLDER = "io.kubelb.e2e.owner", "io.kubelb.e2e.folder"
#: Of kind, on the containers of its nodes.
CLUSTER_LABEL = "io.x-k8s.kind.cluster"
_REMOVE_SECONDS = 60.0


def ensure(lab: str) -> bool:
    """Make the network unless it is there; return whether it was made now. Raises LabError if it is not ours."""
    name = network_name(lab)
    found = docker.inspect("network", name)
    if not found:
        labels = {LABEL: lab, OWNER: str(os.getuid()), FOLDER: str(state.lab_directory(lab))}
        told = [f"--label={key}={value}" for key, value in labels.items()]
        docker.docker("network", "create", "--driver=bridge", *told, name)
        return True
    if (found[0].get("Labels") or {}).get(LABEL) != lab:
        raise LabError(
            f"Docker network {name} exists and is not of this lab; remove it (docker network rm {name}), "
            "or choose another lab name: --name"
        )
    return False


def check_owner(lab: str) -> None:
    """Raise LabError if the lab of this name is in use by another user, or from another folder."""
    found = docker.inspect("network", network_name(lab))
    labels = (found[0].get("Labels") or {}) if found else {}
    folder = str(state.lab_directory(lab))
    owner, place = labels.get(OWNER, str(os.getuid())), labels.get(FOLDER, folder)
    if labels.get(LABEL) != lab or place == folder:
        return
    if owner != str(os.getuid()) or Path(place).exists():
        raise LabError(
            f"lab {lab!r} on this Docker is one of user {owner}, in {place}; choose another name (--name), "
            f"or end it as that user: KUBELB_LAB_DIR={Path(place).parent} kubelb-e2e down --provider kind --name {lab}"
        )


def exists(lab: str) -> bool:
    """Tell whether the lab's network is there, and the lab's."""
    found = docker.inspect("network", network_name(lab))
    return bool(found) and (found[0].get("Labels") or {}).get(LABEL) == lab


def subnet(lab: str) -> str:
    """Return the network's IPv4 range."""
    found = docker.inspect("network", network_name(lab))
    ranges = [str(item["Subnet"]) for network in found for item in network["IPAM"]["Config"] or ()]
    for item in ranges:
        if ":" not in item:
            return item
    raise LabError(f"Docker network {network_name(lab)} has no IPv4 range, only {ranges}")


def clusters(lab: str) -> dict[str, list[str]]:
    """Return the lab's own kind clusters, running or not: name -> containers of its nodes."""
    filters = [f"--filter=network={network_name(lab)}", f"--filter=label={CLUSTER_LABEL}"]
    shown = f'{{{{.Names}}}} {{{{.Label "{CLUSTER_LABEL}"}}}}'
    found: dict[str, list[str]] = {}
    for line in docker.docker("ps", "--all", *filters, f"--format={shown}").splitlines():
        container, cluster = line.split()
        found.setdefault(cluster, []).append(container)
    return found


def foreign(lab: str, names: list[str]) -> list[str]:
    """Return which of these cluster names are taken by nodes that are not on the lab's network."""
    shown = f'{{{{.Label "{CLUSTER_LABEL}"}}}}'
    every = set(docker.docker("ps", "--all", f"--filter=label={CLUSTER_LABEL}", f"--format={shown}").split())
    return sorted((every & set(names)) - set(clusters(lab)))


def remove(lab: str) -> None:
    """Remove the network, and whatever is still on it loses it; harmless if it is not there."""
    if not exists(lab):
        return
    name = network_name(lab)
    (found,) = docker.inspect("network", name)
    for container in found.get("Containers") or {}:
        docker.docker("network", "disconnect", "--force", name, container)
    docker.docker("network", "rm", name, timeout=_REMOVE_SECONDS)
