"""What a scenario may expect of a lab, whoever provides its clusters.

A provider that lacks something says so by `capabilities`; a scenario that needs it is skipped with
that reason, never silently.
"""

from __future__ import annotations

import enum
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class LabError(Exception):
    """A lab cannot do what was asked; the text says what, where and what to do."""


class Unavailable(LabError):  # noqa: N818  # named for what it says
    """This provider cannot work on this machine (exit code 2); the text says what is missing and the cure."""


class Capability(enum.Enum):
    """What not every provider can do."""

    #: Run a command inside the clusters' network.
    ENTER = "run commands inside the clusters' network"
    #: Read the API servers' audit logs.
    AUDIT = "read the audit log"
    #: Stop nodes' heartbeats and processes.
    NODE_FAULTS = "stop parts of nodes"
    #: Enforce limits, users and sysctls of pods.
    LIMITS = "enforce limits of pods"


class Lab(Protocol):
    """Running clusters: `management`, `tenant-1`, ..."""

    @property
    def name(self) -> str:
        """The lab's name."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this provider can do."""

    @property
    def cluster_names(self) -> tuple[str, ...]:
        """`management` first, then tenants in order."""

    def kubeconfig(self, name: str) -> Path:
        """Return a kubeconfig that works on the host: a cluster's name, or `ccm-<n>`."""

    def node_addresses(self, cluster: str) -> tuple[str, ...]:
        """Return the InternalIPs of a cluster's nodes."""

    def forward(self, target: str) -> str:
        """Return `127.0.0.1:port` on the host that leads to `address:port` of the lab."""

    def command_line(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs `command` inside the lab's network from the host."""

    def environment(self, cluster: str) -> dict[str, str]:
        """Return the variables of such a command."""

    def run(
        self, command: Sequence[str], *, cluster: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the lab's network and return its output."""
