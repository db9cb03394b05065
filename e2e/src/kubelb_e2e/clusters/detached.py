"""Programs that outlive the command that starts them, as nobody's children: no terminal's Ctrl-C is for them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from kubelb_e2e.clusters.state import ProcessId
from kubelb_e2e.errors import LabError

#: Tells its pid, which stays the program's, before it becomes the program and writes to the log.
_BECOME = 'echo $$ && exec "$@" >>"$0" 2>&1'


def start(command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> ProcessId | None:
    """Start a program in `/` with no input; return who it is, None if it has ended already.

    Raises:
        LabError: this system has no `setsid --fork` (util-linux).
    """
    words = ["setsid", "--fork", "sh", "-c", _BECOME, str(log), *command]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", env=environment, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise LabError(f"{command[0]} could not be started: setsid of util-linux is needed ({error})") from error
    return ProcessId.of(int(done.stdout))
