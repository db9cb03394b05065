"""A running kind lab."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from pathlib import Path

from kubelb_e2e import config, docker
from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.base import Capability, Facts, Status
from kubelb_e2e.clusters.kind import addresses, balancer, docker_net
from kubelb_e2e.clusters.kind.cluster import Cluster
from kubelb_e2e.clusters.kind.plan import LabPlan
from kubelb_e2e.clusters.outside import OutsideLab
from kubelb_e2e.errors import LabError

NAME = "kind"
#: Network faults belong to `local`; a kind cluster writes no audit log.
CAPABILITIES = frozenset({Capability.ENTER, Capability.LIMITS, Capability.POD_PROCESSES})
_SIZE = re.compile(r"([\d.]+)([KMGT]?)i?B")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class KindLab(OutsideLab):
    """See Lab. The host is on the lab's network: Docker puts it there as the gateway."""

    provider = NAME
    capabilities = CAPABILITIES

    def __init__(self, plan: LabPlan) -> None:
        """Take the plan of a lab that runs, or of one that is being made."""
        kubeconfigs = {cluster.name: plan.kubeconfig(cluster.name) for cluster in plan.clusters}
        super().__init__(plan.name, plan.directory, kubeconfigs, plan.kubectl, plan.without)
        self.plan = plan

    def check(self) -> None:
        """Nothing: this lab is made for it."""

    def image(self, name: str) -> str:
        """Return the catalogue's own name: that is how images are loaded."""
        return name

    def status(self) -> Status:
        """Ask Docker for the nodes, and look whether the address controller lives."""
        rows = []
        found = {item["Name"].removeprefix("/"): item for item in docker.inspect("container", *self._containers())}
        for cluster in self.plan.clusters:
            for node in cluster.node_names:
                item = found.get(node)
                where = item["NetworkSettings"]["Networks"].get(self.plan.network, {}) if item else {}
                phase = str(item["State"]["Status"]) if item else "gone"
                rows.append((cluster.name, node, where.get("IPAddress", ""), phase))
        name, runs = balancer.state_of(self.directory, config.kind())
        rows.append(("", name, "", "runs" if runs else "ended"))
        healthy = all(row[3] in ("running", "runs") for row in rows)
        served: dict[str, str] = {}
        with contextlib.suppress(LabError):
            served = self.addresses()
        age = time.time() - (self.directory / "lab.json").stat().st_mtime
        return Status(
            headline=f"lab {self.name}: {'ready' if healthy else 'broken'}, made {age:.0f} s ago, "
            f"network {self.plan.network}, folder {self.directory}",
            columns=("cluster", "node", "address", "state"),
            rows=tuple(rows),
            addresses=served,
            healthy=healthy,
        )

    def facts(self) -> Facts:
        """Return versions, the nodes' image and memory."""
        memory = {}
        with contextlib.suppress(LabError):
            memory = self._memory()
        lines = [("Docker", docker.check()), ("kind", self._kind_version())]
        if memory:
            lines.append(("Memory of all nodes", f"{sum(memory.values()) / 2**20:.0f} MiB"))
        return Facts(tuple(lines), self.plan.node_image, memory)

    def export(self, folder: Path) -> None:
        """Write `kind export logs` of each cluster, the logs of all pods, and the lab's own log."""
        for cluster in self.plan.clusters:
            with contextlib.suppress(LabError):
                Cluster(self.plan, cluster).export_logs(folder / cluster.name / "logs" / "nodes")
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(addresses.log_file(self.directory), folder / "lab.log")
        super().export(folder)

    def _containers(self) -> list[str]:
        return [node for cluster in self.plan.clusters for node in cluster.node_names]

    def _memory(self) -> dict[str, int]:
        """Return the bytes that the nodes of each cluster have in use."""
        shown = docker.docker("stats", "--no-stream", "--format={{json .}}", *self._containers())
        by_node = {}
        for line in shown.splitlines():
            item = json.loads(line)
            by_node[item["Name"]] = _bytes(item["MemUsage"].split("/")[0].strip())
        return {
            cluster.name: sum(by_node.get(node, 0) for node in cluster.node_names) for cluster in self.plan.clusters
        }

    def _kind_version(self) -> str:
        done = self.run([str(self.plan.kind), "version", "--quiet"])
        return done.stdout.strip() or "unknown"


def _bytes(text: str) -> int:
    """Return what Docker writes as `512.3MiB`."""
    found = _SIZE.fullmatch(text)
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


def complete(plan: LabPlan) -> list[str]:
    """Return what a lab lacks of its plan, empty if all of it is there and runs."""
    if state.provider_of(plan.directory) != NAME:
        return ["its folder"]
    own = docker_net.clusters(plan.name)
    lacking = [
        cluster.kind_name for cluster in plan.clusters if set(own.get(cluster.kind_name, ())) != set(cluster.node_names)
    ]
    found = docker.inspect("container", *(node for cluster in plan.clusters for node in cluster.node_names))
    stopped = [item["Name"].removeprefix("/") for item in found if not item["State"]["Running"]]
    return lacking + [f"{node} is stopped" for node in stopped]
