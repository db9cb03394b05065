"""Which processes are a running local lab."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kubelb_e2e.clusters.state import ProcessId, stat_fields, write_atomically


@dataclass(frozen=True, slots=True)
class Running:
    """The two ends of a running lab: the host's side (forwarder) and the lab's first process."""

    host: ProcessId
    lab: ProcessId
    mode: str

    def dump(self, directory: Path) -> None:
        """Write to `running.json`, whole or not at all."""
        write_atomically(directory / "running.json", json.dumps(asdict(self)))

    @classmethod
    def load(cls, directory: Path) -> Running | None:
        """Return what `dump` wrote, or None."""
        try:
            raw: dict[str, Any] = json.loads((directory / "running.json").read_text())
            return cls(ProcessId(**raw["host"]), ProcessId(**raw["lab"]), raw["mode"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def child_of(pid: int) -> int | None:
    """Return the pid of the first child of `pid`, None if it has none (yet)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            found = stat_fields(int(entry.name))
            if found and int(found[1]) == pid and found[0] != "Z":
                return int(entry.name)
    return None
