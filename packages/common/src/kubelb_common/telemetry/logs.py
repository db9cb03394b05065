"""Logs: a constant message plus fields; JSON lines in a cluster, readable on a terminal; no secret in either.

The message never carries values, so that one search finds every occurrence; values go into fields. Libraries that
use the standard `logging` come out in the same form. Redaction is the last step before rendering and sees stack
traces too.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

HIDDEN = "[redacted]"

_SECRET_FIELDS = frozenset(
    {
        "authorization",
        "bearer",
        "client_key_data",
        "kubeconfig_data",
        "password",
        "private_key",
        "token",
        "tls_key",
    }
)
_SECRET_TEXT = re.compile(
    r"(?P<bearer>(?i:bearer)\s+)[\w.~+/=-]{8,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_MAX_DEPTH = 6


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; `name` is the module's `__name__`."""
    return structlog.stdlib.get_logger(name)


def configure(level: str = "info", *, json: bool | None = None, stream: TextIO | None = None) -> None:
    """Set up logging for the process; may be called again.

    Args:
        level: debug, info, warning or error.
        json: JSON lines, or readable text; None: JSON unless the stream is a terminal.
        stream: where to write; standard error by default.

    Raises:
        ValueError: the level is none of the four; the text names them.
    """
    number = logging.getLevelNamesMapping().get(level.upper()) if level.isalpha() else None
    if number not in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        raise ValueError(f"unknown log level {level!r}; use debug, info, warning or error")
    out = stream or sys.stderr
    as_json = not out.isatty() if json is None else json
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                _renderer(as_json=as_json, colors=out.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for chatty in ("asyncio", "aiohttp.access", "watchfiles"):
        logging.getLogger(chatty).setLevel(max(number, logging.WARNING))


def _renderer(*, as_json: bool, colors: bool) -> structlog.typing.Processor:
    if as_json:
        return structlog.processors.JSONRenderer(sort_keys=False, default=str)
    return structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="time")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secrets in a log event: fields named as such, and bearer tokens, JWTs and private keys in any text."""
    for name, value in event.items():
        event[name] = _clean(name, value, _MAX_DEPTH)
    return event


def _clean(name: str, value: Any, depth: int) -> Any:
    if value and name.lower().replace("-", "_") in _SECRET_FIELDS:
        return HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda hit: (hit["bearer"] or "") + HIDDEN, value)
    if depth and isinstance(value, dict):
        return {key: _clean(str(key), inner, depth - 1) for key, inner in value.items()}
    if depth and isinstance(value, list | tuple):
        return [_clean("", inner, depth - 1) for inner in value]
    return value
