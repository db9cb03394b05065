"""The one way to run kubectl for the harness itself: bounded in time, and one line when it fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kubelb_e2e.errors import LabError, one_line

#: Longer than any `--timeout` that is given to kubectl itself.
_SECONDS = 300.0


def run(
    program: Path,
    kubeconfig: Path,
    *arguments: str,
    who: str,
    text: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run kubectl with `text` as its input and return its output.

    Args:
        program: the program.
        kubeconfig: of the cluster.
        arguments: of kubectl.
        who: begins the text of an error: the cluster, or what is being done there.
        text: its input.
        environment: its variables, None: ours.

    Raises:
        LabError: it failed, or did not end.
    """
    words = " ".join(word for word in arguments[:2] if not word.startswith("-"))
    try:
        done = subprocess.run(
            [str(program), f"--kubeconfig={kubeconfig}", *arguments],
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_SECONDS,
            env=environment or os.environ,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{who}: kubectl {words}: no end after {_SECONDS:.0f} s") from error
    except OSError as error:
        raise LabError(f"{who}: {program}: {error.strerror}") from error
    if done.returncode:
        raise LabError(f"{who}: kubectl {words}: {one_line(done.stderr)}")
    return done.stdout
