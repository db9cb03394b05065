"""What the command lines share: tables and documents for people, faults in one line, times in Go's syntax.

Standard output carries the answer and nothing else, so that `-o json | jq` always works; progress and warnings go
to standard error. Exit codes: 0, 1 for a failure, 2 for wrong usage.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar

import click
import yaml
from click.shell_completion import get_completion_class
from tabulate import tabulate

from kubelb_common.faults import Fault
from kubelb_common.kube.errors import ApiError, Forbidden, KubeError, Unauthorized
from kubelb_common.objects import view

Format = Literal["table", "json", "yaml"]
_Command = TypeVar("_Command", bound=Callable[..., Any])
_T = TypeVar("_T")
#: What moves a terminal's cursor or colours its text; a name or message from a cluster must not.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


class Failure(click.ClickException):
    """A foreseeable failure: one line on standard error (what, where, what to do), exit code 1."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Duration(click.ParamType[float]):
    """A time such as `90s`, `4m` or `1h30m`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See click."""
        if isinstance(value, int | float):
            return float(value)
        try:
            seconds = view.parse_duration(value).total_seconds()
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not seconds:
            self.fail("must be more than nothing", param, ctx)
        return seconds


def output_option(command: _Command) -> _Command:
    """Add `-o table|json|yaml`, which arrives as the parameter `output`."""
    choice = click.Choice(("table", "json", "yaml"))
    return click.option("-o", "--output", type=choice, default="table", show_default=True, help="How to print it.")(
        command
    )


def printable(text: str) -> str:
    """Return `text` as one line without control characters."""
    return _CONTROL.sub(" ", text).strip()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows below upper-case column names, as kubectl prints them; an empty cell is `-`."""
    cells = [[printable(str(cell)) if cell not in (None, "") else "-" for cell in row] for row in rows]
    return tabulate(cells, headers=[name.upper() for name in columns], tablefmt="plain", disable_numparse=True)


def fields(pairs: Iterable[tuple[str, object]]) -> str:
    """Return `Name:  value` lines with the values below each other."""
    rows = [(f"{name}:", printable(str(value)) if value not in (None, "") else "-") for name, value in pairs]
    return tabulate(rows, tablefmt="plain", disable_numparse=True)


def document(value: Any, output: Format) -> str:
    """Return a value as JSON or YAML, its keys in the given order."""
    if output == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip("\n")


def age(since: datetime | None, now: datetime) -> str:
    """Return the time between as kubectl does: the largest unit, `-` where the beginning is not known."""
    if since is None:
        return "-"
    seconds = max(int((now - since).total_seconds()), 0)
    return next((f"{seconds // size}{unit}" for unit, size in _UNITS if seconds >= size), "0s")


def completion_script(command: click.Command, program: str, shell: str) -> str:
    """Return what `shell` (bash, zsh or fish) needs to complete the commands of `program`."""
    found = get_completion_class(shell)
    assert found is not None, shell
    return found(command, {}, program, f"_{program.upper().replace('-', '_')}_COMPLETE").source()


def explained(error: KubeError | Fault) -> str:
    """Return what an error says, and what to do where its text leaves that open."""
    text = error.message if isinstance(error, ApiError) and error.message else str(error)
    if isinstance(error, Unauthorized):
        return f"the API server does not accept this credential ({text}); get a new kubeconfig"
    if isinstance(error, Forbidden):
        return f"{text}; check that the kubeconfig and the tenant's name belong together"
    return text


def run(work: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """Run the work of a command; a fault, or no end within so many seconds, becomes a `Failure`.

    Raises:
        Failure: what a person has to read.
    """
    try:
        return asyncio.run(_within(work, seconds))
    except TimeoutError as error:
        raise Failure(f"not done within {seconds:g} s; give more time with --timeout") from error
    except (KubeError, Fault) as error:
        raise Failure(explained(error)) from error


async def _within(work: Coroutine[Any, Any, _T], seconds: float) -> _T:
    async with asyncio.timeout(seconds):
        return await work
