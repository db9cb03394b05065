"""The pytest plugin behind the page: `pytest_plugins = ["kubelb_e2e.report.plugin"]`.

In which order: conftest fills `report.run(config)` -> tests are collected, each `needs` marker is held
against the provider's capabilities, and what is lacking becomes a skip before any fixture starts ->
an old page is removed -> tests run, their reports are kept -> after the last fixture is gone the page is
written, and the terminal's last line names it. That holds too for a run that is interrupted, that stops
at its first failure, or whose lab does not start: the page says so at its top.

There is no page, and an old one stays, when no scenario was collected (a run of unit tests), with
`--collect-only`, and under pytest-xdist, whose workers cannot share a lab.
"""

from __future__ import annotations

import inspect
import os
import shlex
import time
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.report import page, record
from kubelb_e2e.report.judge import Judgement, judge, plain
from kubelb_e2e.report.model import Outcome, Report, Scenario

_UNIT = "unit"
_LACKING = pytest.StashKey[bool]()
_NAME = "kubelb-report"
PAGE = "report.html"


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker; watch the run unless it is one without a page."""
    config.addinivalue_line(
        "markers",
        "needs(capability, ...): skip where the lab's provider lacks one of these Capability members",
    )
    distributed = hasattr(config, "workerinput") or config.pluginmanager.hasplugin("dsession")
    if not (config.option.collectonly or distributed):
        config.pluginmanager.register(Collector(config), _NAME)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Turn lacking capabilities into skips that say so."""
    run = record.run(config)
    for item in items:
        if lacking := run.lacking(_needed(item)):
            words = ", ".join(capability.value for capability in lacking)
            skip = pytest.mark.skip(reason=f"needs {words}: not on {run.provider or 'this provider'}")
            item.add_marker(skip, append=False)
            item.stash[_LACKING] = True


def _needed(item: pytest.Item) -> list[Capability]:
    found: list[Capability] = []
    for marker in item.iter_markers("needs"):
        wrong = [*(word for word in marker.args if not isinstance(word, Capability)), *marker.kwargs]
        if wrong or not marker.args:
            raise pytest.UsageError(f"{item.nodeid}: the marker `needs` takes members of Capability, not {wrong}")
        found += marker.args
    return found


class Collector:
    """Keeps what happens and writes the page."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._run = record.run(config)
        self._began = datetime.now(UTC)
        self._start = time.monotonic()
        self._items: list[pytest.Item] = []
        self._phases: dict[str, list[pytest.TestReport]] = {}
        self._lab_seconds: float | None = None
        self._lab_trouble = ""
        self._troubles: list[str] = []
        self._told = ""

    @property
    def _page(self) -> Path:
        return self._run.folder / PAGE

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be collected."""
        if report.failed:
            last = plain(report.longreprtext).strip().splitlines()[-1:]
            self._troubles.append(f"{report.nodeid} could not be collected: {' '.join(last)}")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take the tests in their order; from here on an old page would tell of another run."""
        self._items = list(session.items)
        if any(self._is_scenario(item) for item in self._items):
            try:
                self._page.unlink(missing_ok=True)
            except OSError as error:
                self._told = f"report: cannot replace {self._page}: {error.strerror}; KUBELB_ARTIFACTS chooses a folder"

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Time the lab's start; keep why it failed."""
        if fixturedef.argname != self._run.lab_fixture or fixturedef.scope != "session":
            return (yield)
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self._lab_seconds = time.monotonic() - began
            cached = fixturedef.cached_result
            if cached is not None and cached[2] is not None:
                self._lab_trouble = _told_by(cached[2][0])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the report of a phase."""
        self._phases.setdefault(report.nodeid, []).append(report)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Keep what ended the run: Ctrl-C, `pytest.exit`, a failed collection."""
        text = plain(str(excinfo.value))
        by_hand = type(excinfo.value) is KeyboardInterrupt
        self._troubles.append("The run was interrupted (Ctrl-C)." if by_hand else f"The run was ended: {text}")

    def pytest_internalerror(self, excrepr: object) -> None:
        """Keep pytest's own fault."""
        last = plain(str(excrepr)).strip().splitlines()[-1:]
        self._troubles.append(f"pytest failed: {' '.join(last)}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the page: now every fixture is gone, and every dump is there."""
        if self._told or not any(self._is_scenario(item) for item in self._items):
            return
        if stopped := session.shouldfail or session.shouldstop:
            self._troubles.append(f"The run was ended: {stopped}")
        try:
            self._page.parent.mkdir(parents=True, exist_ok=True)
            self._page.write_text(page.render(self._report()), encoding="utf-8", errors="replace")
        except OSError as error:
            self._told = f"report: cannot write {self._page}: {error.strerror}; KUBELB_ARTIFACTS chooses a folder"
        else:
            self._told = f"report: {self._page}"

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """Say where the page is, below everything else."""
        terminal: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
        if self._told and terminal is not None:
            terminal.write_line(self._told)

    def _is_scenario(self, item: pytest.Item) -> bool:
        parts = self._place(item)
        return bool(parts) and parts[0] not in (_UNIT, "..")

    def _place(self, item: pytest.Item) -> tuple[str, ...]:
        """Return the folders of a test below the root of all scenarios, `..` first if it is not below."""
        root = self._run.root or self._config.rootpath
        return Path(os.path.relpath(item.path.parent, root)).parts or (root.name,)

    def _report(self) -> Report:
        scenarios = tuple(self._scenario(item) for item in self._items if self._is_scenario(item))
        others = Counter(self._judge(item).outcome for item in self._items if not self._is_scenario(item))
        trouble = [f"The lab did not start: {self._lab_trouble}"] if self._lab_trouble else []
        # A lab that did not start may end the run, with the same words.
        trouble += [text for text in self._troubles if not (self._lab_trouble and text.endswith(self._lab_trouble))]
        return Report(
            provider=self._run.provider,
            lab=self._run.lab,
            command=shlex.join(["pytest", *map(str, self._config.invocation_params.args)]),
            began=self._began,
            seconds=time.monotonic() - self._start,
            lab_seconds=self._lab_seconds,
            facts=tuple(self._run.facts.items()),
            clusters=tuple(self._run.clusters),
            scenarios=scenarios,
            others=dict(others),
            troubles=tuple(dict.fromkeys(trouble)),
        )

    def _judge(self, item: pytest.Item) -> Judgement:
        phases = self._phases.get(item.nodeid, [])
        found = judge(phases)
        if found.outcome is Outcome.SKIPPED and item.stash.get(_LACKING, False):
            return Judgement(Outcome.NOT_HERE, found.reason)
        if self._lab_trouble and any(phase.failed and phase.when == "setup" for phase in phases):
            return Judgement(Outcome.NOT_RUN, "the lab did not start")
        return found

    def _scenario(self, item: pytest.Item) -> Scenario:
        noted = record.of(item)
        found = self._judge(item)
        return Scenario(
            folder="/".join(self._place(item)),
            name=plain(f"{item.path.name}::{item.name}"),
            title=_title(item),
            outcome=found.outcome,
            seconds=found.seconds,
            requests=noted.requests,
            failed_requests=noted.failures,
            slowest_ms=noted.slowest_ms,
            reason=found.reason,
            details=found.details,
            dump=_link(noted.dump, self._page.parent) if noted.dump else "",
        )


def _title(item: pytest.Item) -> str:
    lines = (inspect.getdoc(getattr(item, "obj", None)) or "").splitlines() if isinstance(item, pytest.Function) else []
    return plain(lines[0]) if lines else item.name.removeprefix("test_").replace("_", " ")


def _link(target: Path, base: Path) -> str:
    return quote(Path(os.path.relpath(target, base)).as_posix()) + "/"


def _told_by(error: BaseException) -> str:
    text = plain(str(error)).strip()
    return text or type(error).__name__
