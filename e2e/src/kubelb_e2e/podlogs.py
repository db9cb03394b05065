"""The log files of pods in a lab's folder, found by the beginning of a pod's name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kubelb_e2e.clusters.base import LabError
from kubelb_e2e.clusters.local.model import LabSpec


@dataclass(frozen=True, slots=True)
class PodLog:
    """One run of one container."""

    cluster: str
    namespace: str
    pod: str
    container: str
    run: int
    path: Path

    @property
    def title(self) -> str:
        """Which log this is, for people."""
        return f"{self.cluster}: {self.namespace}/{self.pod}, container {self.container}, run {self.run}"


def find(
    lab: LabSpec, pod: str, *, cluster: str | None = None, container: str | None = None, all_runs: bool = False
) -> list[PodLog]:
    """Return the logs of the pods whose name is, or else begins with, `pod` (`[namespace/]name`).

    Raises LabError if there is none; the text names the pods that have logs.
    """
    namespace, _, name = pod.rpartition("/")
    everything = [log for log in all_logs(lab) if cluster in (None, log.cluster) and namespace in ("", log.namespace)]
    found = [log for log in everything if log.pod == name] or [log for log in everything if log.pod.startswith(name)]
    if container is not None:
        found = [log for log in found if log.container == container]
    if not found:
        known = sorted({f"{log.cluster}: {log.namespace}/{log.pod}" for log in all_logs(lab)})
        raise LabError(f"no logs of a pod {pod!r}; there are: {', '.join(known) or 'none yet'}")
    if all_runs:
        return found
    last: dict[tuple[Path, str], PodLog] = {}
    for log in found:
        last[log.path.parent.parent, log.container] = log
    return list(last.values())


def all_logs(lab: LabSpec) -> list[PodLog]:
    """Return every log of every pod, sorted by cluster, namespace, pod, container and run."""
    found = []
    for cluster in lab.clusters:
        for path in (cluster.logs / "pods").glob("*/*/*.log"):
            namespace, pod, _ = path.parent.parent.name.split("_", 2)
            found.append(PodLog(cluster.name, namespace, pod, path.parent.name, int(path.stem), path))
    return sorted(found, key=lambda log: (log.cluster, log.namespace, log.pod, log.container, log.run))
