"""The executables. In bash, since each call would cost an interpreter's start otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

_CLIENT = r"""#!/usr/bin/env bash
# Hands its command line to the engine of the test that wrote it, and prints what that answers.
exec 3<>/dev/tcp/127.0.0.1/@PORT@ || exit 125
input=$(cat)
printf '%s\0' "@NAME@" "${@VARIABLE@-}" "$input" "$#" "$@" >&3
while IFS= read -r line <&3; do
  case $line in
    1*) printf '%s\n' "${line#1}" ;;
    2*) printf '%s\n' "${line#2}" >&2 ;;
    0*) exit "${line#0}" ;;
  esac
done
exit 125
"""

#: Program -> which variable of its environment the engine is to know.
_VARIABLES = {
    "docker": "DOCKER_HOST",
    "kind": "KIND_EXPERIMENTAL_DOCKER_NETWORK",
    "quick-kubectl": "KUBECONFIG",
}


def write(folder: Path, port: int) -> None:
    """Write programs that ask the engine at this port of loopback, and a process that gives addresses.

    `quick-kubectl` can do little, but the real one takes its time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, variable in _VARIABLES.items():
        text = _CLIENT.replace("@PORT@", str(port)).replace("@NAME@", name).replace("@VARIABLE@", variable)
        script(folder / name, text)
    script(folder / "cloud-provider-kind", '#!/bin/sh\nexec tail -f "$0"\n')


def script(path: Path, text: str) -> Path:
    """Write an executable and return its path."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def python(path: Path, text: str) -> Path:
    """Write an executable of this interpreter's, which sees the standard library only, and return its path."""
    source = path.with_suffix(".py")
    source.write_text(text)
    return script(path, f'#!/bin/sh\nexec "{sys.executable}" -IS "{source}" "$@"\n')
