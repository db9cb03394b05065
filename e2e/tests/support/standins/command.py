"""`kubelb-e2e` as a process of its own, on the test's machine: `python -m standins.command FOLDER WORDS...`."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubelb_e2e import cli, config
from kubelb_e2e.clusters.kind import balancer, preflight

#: Called with an object, an attribute's name and its new value.
Set = Callable[[Any, str, Any], None]
_SETTINGS = config.kind()


def environment() -> dict[str, str]:
    """Return the environment of such a process: ours, and where this module is."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def settle(folder: Path, set_: Set, *, addresses: str = balancer.CLOUD) -> None:
    """Have a machine with room, described by files in `folder`, and a configuration for it.

    Unless a test is about it, addresses are given by another program than the harness's own, which takes its time
    to start.
    """
    memory, instances = folder / "meminfo", folder / "max_user_instances"
    memory.write_text("MemTotal:       131072000 kB\nMemFree:        1024 kB\nMemAvailable:   131072000 kB\n")
    instances.write_text("1000000\n")
    set_(preflight, "_MEMORY", memory)
    set_(preflight, "_INSTANCES", instances)
    settings = dataclasses.replace(_SETTINGS, addresses=addresses)
    set_(config, "kind", lambda: settings)


if __name__ == "__main__":
    settle(Path(sys.argv[1]), setattr)
    cli.main(sys.argv[2:])
