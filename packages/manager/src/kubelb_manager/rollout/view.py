"""What a rollout may know of the world when it decides."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from kubelb_manager.ir.model import Cluster


class Reach(StrEnum):
    """What connecting to a cluster's node ports has shown so far."""

    #: Not known yet; somebody is asking.
    ASKING = "Asking"
    #: Connections are taken: traffic would arrive.
    ANSWERS = "Answers"
    #: The bound passed without an answer.
    SILENT = "Silent"


class View(Protocol):
    """Facts about node ports and Envoys of one fleet, as of now."""

    def reach(self, cluster: Cluster) -> Reach:
        """Whether the node ports behind `cluster` take connections (ruling 26)."""

    def has_endpoints(self, cluster: str) -> bool:
        """Whether every connected Envoy acknowledged the endpoints of `cluster` (ruling 27); True without Envoys."""

    def has_clusters(self, generation: int) -> bool:
        """Whether every serving Envoy acknowledged the clusters of `generation`; True without Envoys."""

    def has_routes(self, generation: int) -> bool:
        """Whether every serving Envoy acknowledged listeners and routes of `generation`; True without Envoys."""
