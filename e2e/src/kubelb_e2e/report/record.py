"""What fixtures and tests write down while a run goes on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from kubelb_common.objects import view
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.report.model import Cluster


class Tally(Protocol):
    """Counted traffic, as `kubelb_e2e.traffic.Tally` has it."""

    requests: int
    failures: int
    slowest_ms: float


@dataclass(slots=True)
class Run:
    """The run as its conftest describes it; `run(config)` returns it.

    `provider`, `capabilities` and `root` have to be there when tests are collected, the rest at the end.
    """

    provider: str = ""
    #: None: not told, and no scenario is left out for lack of a capability.
    capabilities: frozenset[Capability] | None = None
    lab: str = ""
    clusters: list[Cluster] = field(default_factory=list)
    #: Further lines of the page's head, as "Docker": "27.1".
    facts: dict[str, str] = field(default_factory=dict)
    #: The folder whose folders hold scenarios. What is in its folder `unit`, or not below it, is only counted.
    root: Path | None = None
    #: Where the page goes.
    folder: Path = field(default_factory=lambda: Path(os.environ.get("KUBELB_ARTIFACTS", "artifacts")))
    #: The session fixture that starts the lab: its time is shown, and its failure ends up at the top of the page.
    lab_fixture: str = "lab"

    def lacking(self, needed: Iterable[Capability]) -> list[Capability]:
        """Return what of `needed` the provider cannot do, in the order of the enumeration."""
        if self.capabilities is None:
            return []
        wanted = set(needed) - self.capabilities
        return [item for item in Capability if item in wanted]


@dataclass(slots=True)
class Record:
    """One test's traffic and dump; `of(item)` returns it."""

    requests: int = 0
    failures: int = 0
    slowest_ms: float = 0.0
    #: Folder of the dump, if one was made.
    dump: Path | None = None

    def count(self, tally: Tally) -> None:
        """Add a load's or a check's traffic, once, when it has ended."""
        self.requests += tally.requests
        self.failures += tally.failures
        self.slowest_ms = max(self.slowest_ms, tally.slowest_ms)


RUN = pytest.StashKey[Run]()
TALLY = pytest.StashKey[Record]()


def run(config: pytest.Config) -> Run:
    """Return the run's record; it is the same object all the time."""
    return config.stash.setdefault(RUN, Run())


def of(item: pytest.Item) -> Record:
    """Return a test's record; in a fixture, `of(request.node)`."""
    return item.stash.setdefault(TALLY, Record())


def describe(
    name: str, nodes: Iterable[Mapping[str, Any]], *, version: str = "", image: str = "", memory: int | None = None
) -> Cluster:
    """Return a cluster's line from its Node objects: version (the kubelets', if not given), image, OS, runtime.

    Args:
        name: The cluster's name in the lab.
        nodes: Raw Node objects.
        version: Of the API server, if known.
        image: Of the nodes, if they are containers.
        memory: Bytes in use by the nodes.
    """
    found = list(nodes)
    kubelets = sorted({view.text(node, "status", "nodeInfo", "kubeletVersion") for node in found} - {""})
    made_of = {image} | {
        view.text(node, "status", "nodeInfo", key) for node in found for key in ("osImage", "containerRuntimeVersion")
    }
    # The image first, then what the nodes say of themselves.
    system = sorted(made_of - {""}, key=lambda text: (text != image, text))
    return Cluster(name, version or ", ".join(kubelets), len(found), ", ".join(system), memory)
