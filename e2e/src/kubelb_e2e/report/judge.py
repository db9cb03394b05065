"""From pytest's reports of one test's phases to an outcome, a reason and the text of the failure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from kubelb_e2e.report.model import Outcome

#: A failure is cut in its middle to this many characters; the dump has the rest.
LONGEST = 20_000
LONGEST_LINE = 400
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SKIPPED = "Skipped: "


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a test ended."""

    outcome: Outcome
    reason: str = ""
    details: str = ""
    seconds: float | None = None


def judge(phases: Sequence[pytest.TestReport]) -> Judgement:
    """Judge a test by the reports of setup, call and teardown that there are."""
    call = next((phase for phase in phases if phase.when == "call"), None)
    seconds = call.duration if call is not None else None
    failed = [phase for phase in phases if phase.failed]
    if failed:
        details = "\n\n".join(_heading(phase) + plain(phase.longreprtext) for phase in failed)
        return Judgement(Outcome.FAILED, _where(failed[0]) + _message(failed[0]), _cut(details), seconds)
    skipped = next((phase for phase in phases if phase.skipped), None)
    if skipped is not None:
        return Judgement(Outcome.SKIPPED, _why_skipped(skipped), seconds=seconds)
    if call is not None:
        return Judgement(Outcome.PASSED, seconds=seconds)
    return Judgement(Outcome.NOT_RUN, "interrupted while it ran" if phases else "the run ended before it")


def plain(text: str) -> str:
    """Return text without terminal colours and control characters."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _ESCAPES.sub("", text).replace("\r\n", "\n"))


def _where(phase: pytest.TestReport) -> str:
    return "" if phase.when == "call" else f"in {phase.when}: "


def _heading(phase: pytest.TestReport) -> str:
    return "" if phase.when == "call" else f"In {phase.when}:\n"


def _message(phase: pytest.TestReport) -> str:
    """The first line of the assertion, or of whatever was raised."""
    crash = getattr(phase.longrepr, "reprcrash", None)
    lines = (crash.message if crash is not None else phase.longreprtext).strip().splitlines()
    if not lines:
        return "no message"
    line = plain(lines[0] if crash is not None else lines[-1]).removeprefix("AssertionError: ")
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."


def _why_skipped(phase: pytest.TestReport) -> str:
    expected = getattr(phase, "wasxfail", None)
    if expected is not None:
        return plain(f"expected to fail: {expected or 'no reason given'}")
    if isinstance(phase.longrepr, tuple):
        return plain(phase.longrepr[2].removeprefix(_SKIPPED).strip()) or "no reason given"
    return plain(phase.longreprtext)


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n\n... {len(text) - 2 * half} characters left out ...\n\n{text[-half:]}"
