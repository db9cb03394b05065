"""The log files of pods in a lab's folder."""

from __future__ import annotations

import functools
from pathlib import Path

from kubelb_e2e.clusters.local.model import LabSpec
from kubelb_e2e.clusters.podlogs import LogSource


def sources(lab: LabSpec) -> list[LogSource]:
    """Return every log of every pod, also of those that are gone, by cluster, namespace, pod, container and run."""
    found = []
    for cluster in lab.clusters:
        for path in (cluster.logs / "pods").glob("*/*/*.log"):
            namespace, pod, uid = path.parent.parent.name.split("_", 2)
            order = (cluster.name, namespace, pod, uid, path.parent.name, int(path.stem))
            read = functools.partial(_read, path)
            found.append((order, LogSource(cluster.name, namespace, pod, path.parent.name, int(path.stem), read)))
    return [source for _, source in sorted(found, key=lambda item: item[0])]


def _read(path: Path) -> str:
    return path.read_text(errors="replace")
