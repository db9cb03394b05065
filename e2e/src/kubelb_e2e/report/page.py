"""The page: a `Report` as one HTML file that needs nothing else, no script either."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from kubelb_e2e.report.model import Outcome, Report, Scenario

_TEMPLATE = "report.html.jinja"
_DASH = "\N{EN DASH}"
#: Shape, so that nothing is told by colour alone, and the CSS class.
_SIGNS = {
    Outcome.PASSED: ("\N{CHECK MARK}", "passed"),
    Outcome.FAILED: ("\N{BALLOT X}", "failed"),
    Outcome.NOT_HERE: ("\N{EMPTY SET}", "not-here"),
    Outcome.SKIPPED: ("\N{RIGHTWARDS ARROW}", "skipped"),
    Outcome.NOT_RUN: ("\N{WHITE CIRCLE}", "not-run"),
}


def render(report: Report) -> str:
    """Return the page; the same report gives the same text."""
    environment = Environment(
        loader=PackageLoader("kubelb_e2e.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "size": size, "number": number, "milliseconds": milliseconds}
    return environment.get_template(_TEMPLATE).render(
        report=report,
        Outcome=Outcome,
        signs={outcome: sign for outcome, (sign, _) in _SIGNS.items()},
        classes={outcome: name for outcome, (_, name) in _SIGNS.items()},
        dash=_DASH,
        anchor=_anchor,
    )


def _anchor(scenario: Scenario) -> str:
    return "-".join(f"{scenario.folder}/{scenario.name}".split())


def duration(seconds: float | None) -> str:
    """Return `3.4 s`, `5 min 07 s`, `1 h 02 min`; a dash for None."""
    if seconds is None:
        return _DASH
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def size(count: int | None) -> str:
    """Return bytes as MiB or GiB; a dash for None."""
    if count is None:
        return _DASH
    mebibytes = count / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"


def number(count: int) -> str:
    """Return a number with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def milliseconds(value: float) -> str:
    """Return milliseconds, with a digit after the point below ten."""
    return f"{value:.1f}" if value < 10 else number(round(value))
