"""Which logs are meant by the beginning of a pod's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kubelb_e2e.clusters.base import PodLog
from kubelb_e2e.errors import LabError


@dataclass(frozen=True, slots=True)
class LogSource:
    """One run of one container, and how its log is read; `run` is None for the last of runs that are not counted."""

    cluster: str
    namespace: str
    pod: str
    container: str
    run: int | None
    read: Callable[[], str]

    def load(self) -> PodLog:
        """Read the log."""
        return PodLog(self.cluster, self.namespace, self.pod, self.container, self.run, self.read())


def choose(
    sources: Iterable[LogSource],
    pod: str,
    *,
    cluster: str | None = None,
    container: str | None = None,
    all_runs: bool = False,
) -> list[PodLog]:
    """Read the logs of the pods whose name is, or else begins with, `pod` (`[namespace/]name`).

    Of several runs of a container the last, unless `all_runs`; sources are in the order of runs.
    Raises LabError if there is none; the text names the pods that have logs.
    """
    every = list(sources)
    namespace, _, name = pod.rpartition("/")
    here = [item for item in every if cluster in (None, item.cluster) and namespace in ("", item.namespace)]
    found = [item for item in here if item.pod == name] or [item for item in here if item.pod.startswith(name)]
    if container is not None:
        found = [item for item in found if item.container == container]
    if not found:
        known = sorted({f"{item.cluster}: {item.namespace}/{item.pod}" for item in every})
        raise LabError(f"no logs of a pod {pod!r}; there are: {', '.join(known) or 'none yet'}")
    if not all_runs:
        found = list({(item.cluster, item.namespace, item.pod, item.container): item for item in found}.values())
    return [item.load() for item in found]
