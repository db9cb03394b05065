"""What this machine must offer for so many nodes; asked before anything starts, told in one line each."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubelb_e2e import config, docker
from kubelb_e2e.clusters.kind.faults import MORE_INOTIFY
from kubelb_e2e.clusters.kind.plan import ClusterPlan, LabPlan
from kubelb_e2e.errors import Unavailable

#: Measured: a cluster of one node takes about 28 instances, one of three nodes 58.
INOTIFY_PER_CLUSTER = 28
INOTIFY_PER_WORKER = 15
_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_MEMORY = Path("/proc/meminfo")
_PULL_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What counts of this machine.

    Attributes:
        memory: MiB that can be had without swapping.
        instances: inotify instances that a user may have.
        used: inotify instances that root has in use, as far as this user can see them: only root can.
    """

    memory: int
    instances: int
    used: int

    @classmethod
    def read(cls) -> Machine:
        """Look."""
        memory = next(line for line in _MEMORY.read_text().splitlines() if line.startswith("MemAvailable:"))
        return cls(int(memory.split()[1]) // 1024, int(_INSTANCES.read_text()), _inotify_in_use())


def check_room(plans: Sequence[ClusterPlan], settings: config.Kind, machine: Machine) -> None:
    """Raise Unavailable if memory or inotify instances do not suffice for these clusters."""
    clusters = len(plans)
    workers = sum(cluster.nodes - 1 for cluster in plans)
    memory = clusters * settings.node_mebibytes + workers * settings.worker_mebibytes
    what = f"{clusters} clusters with {clusters + workers} nodes"
    if memory > machine.memory:
        raise Unavailable(
            f"{what} need about {memory} MiB and {machine.memory} MiB are free: end other programs, or ask for less "
            "(--tenants, --nodes); e2e/config.yaml says how much is counted for a node"
        )
    instances = clusters * INOTIFY_PER_CLUSTER + workers * INOTIFY_PER_WORKER
    if machine.used + instances > machine.instances:
        raise Unavailable(
            f"{what} need about {instances} inotify instances, {machine.used} are in use and the limit is "
            f"{machine.instances}: nodes would never become Ready; {MORE_INOTIFY}"
        )


def side_by_side(plan: LabPlan, settings: config.Kind, machine: Machine) -> int:
    """Return how many clusters to create at the same time: as many as memory allows with half of it to spare."""
    largest = max(
        settings.node_mebibytes + (cluster.nodes - 1) * settings.worker_mebibytes for cluster in plan.clusters
    )
    return max(1, min(len(plan.clusters), machine.memory // 2 // largest))


def check_ports(ports: Iterable[int]) -> None:
    """Raise Unavailable if a port of this host's loopback is taken."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
                raise Unavailable(
                    f"port {port} of this host {why}; choose another --api-port, or leave the choice to kind"
                ) from error


def node_image(image: str, say: Callable[[str], None]) -> None:
    """See that the nodes' image is here, pull it if it is not; raises Unavailable."""
    if docker.image_id(image) is not None:
        return
    say(f"pulling the node image {image} (once, about 1 GB)")
    try:
        docker.docker("pull", "--quiet", image, timeout=_PULL_SECONDS)
    except docker.DockerError as error:
        raise Unavailable(
            f"node image {image} is not here and cannot be pulled ({error}); name one that is: --kind-image, "
            "or make KIND_IMAGE=..."
        ) from error


def _inotify_in_use(user: int = 0) -> int:
    """Count the inotify instances of a user, as far as they can be seen; nodes are root's, so root's limit counts."""
    count = 0
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if folder.stat().st_uid != user:
                continue
            for link in folder.iterdir():
                count += str(link.readlink()) == "anon_inode:inotify"
        except OSError:
            continue  # gone, or another user's
    return count
