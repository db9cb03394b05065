"""What a page of a run shows, as values; nothing here knows pytest or HTML."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

Facts = tuple[tuple[str, str], ...]


class Outcome(enum.Enum):
    """How a test ended; the value is the word on the page."""

    PASSED = "passed"
    FAILED = "failed"
    #: It needs what this provider cannot do, and says so by its marker.
    NOT_HERE = "not for this provider"
    SKIPPED = "skipped"
    #: The run ended before it, or it had no lab to run on.
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster of the lab; what is not known stays empty and shows as a dash."""

    name: str
    version: str = ""
    nodes: int = 0
    #: Node image, operating system, runtime: what the nodes are made of.
    system: str = ""
    #: Bytes that its nodes had in use, as the provider measured.
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One test with traffic."""

    folder: str
    name: str
    #: First line of the docstring.
    title: str
    outcome: Outcome
    #: Of the test's own body, without fixtures; None if it never ended.
    seconds: float | None = None
    requests: int = 0
    failed_requests: int = 0
    slowest_ms: float = 0.0
    #: One line: why it did not run, or what failed.
    reason: str = ""
    #: The failure at length.
    details: str = ""
    #: Address of the dump folder, relative to the page.
    dump: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """Scenarios of one folder."""

    name: str
    scenarios: tuple[Scenario, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. Requests are those of the scenarios' loads and checks as far as they were counted."""

    provider: str
    lab: str
    command: str
    began: datetime
    seconds: float
    #: How long the lab took until the product stood in it; None if there was none.
    lab_seconds: float | None = None
    facts: Facts = ()
    clusters: tuple[Cluster, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    #: Tests of the harness itself, which are counted and not listed.
    others: Mapping[Outcome, int] = field(default_factory=dict)
    #: What ended the run early, and what kept it from starting.
    troubles: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[Folder, ...]:
        """By name; within a folder in the order of the run."""
        names = sorted({scenario.folder for scenario in self.scenarios})
        return tuple(Folder(name, tuple(item for item in self.scenarios if item.folder == name)) for name in names)

    @property
    def failures(self) -> tuple[Scenario, ...]:
        """The scenarios that failed."""
        return tuple(item for item in self.scenarios if item.outcome is Outcome.FAILED)

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """Scenarios by outcome; every outcome is there."""
        found = Counter(item.outcome for item in self.scenarios)
        return {outcome: found[outcome] for outcome in Outcome}

    @property
    def requests(self) -> int:
        """Of all scenarios."""
        return sum(item.requests for item in self.scenarios)

    @property
    def failed_requests(self) -> int:
        """Of all scenarios."""
        return sum(item.failed_requests for item in self.scenarios)

    @property
    def verdict(self) -> Outcome:
        """FAILED if anything did, NOT_RUN if something is missing or nothing ran, else PASSED."""
        counts = self.counts
        if self.others.get(Outcome.FAILED) or counts[Outcome.FAILED]:
            return Outcome.FAILED
        if self.troubles or counts[Outcome.NOT_RUN] or not counts[Outcome.PASSED]:
            return Outcome.NOT_RUN
        return Outcome.PASSED
