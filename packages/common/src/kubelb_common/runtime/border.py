"""The border between our own mistakes and the process: the one place that catches every exception.

A foreseeable fault (`KubeError`, `Fault`) is handled where it is understood. Anything else is a mistake in the
code that runs inside the border: it is logged with its stack, counted in `kubelb_programming_errors_total`, and
the caller goes on with the next piece of work. Cancellation always passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kubelb_common.telemetry import logs, metrics

_log = logs.get(__name__)


@contextmanager
def contained(where: str, **fields: object) -> Iterator[None]:
    """Run the block; report whatever it raises as a programming error and go on after it.

    Args:
        where: which part runs here, for the log and the metric's label (a small, fixed set of values).
        fields: what the log line should say besides, for example the object's key.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001  # this is the border
        report(where, error, **fields)


def report(where: str, error: BaseException, **fields: object) -> None:
    """Log a programming error with its stack and count it."""
    metrics.PROGRAMMING_ERRORS.labels(where).inc()
    _log.error("programming error", where=where, exc_info=error, **fields)
