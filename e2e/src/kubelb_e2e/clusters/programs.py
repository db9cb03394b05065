"""Where programs are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from kubelb_common.testing import binaries
from kubelb_e2e.errors import Unavailable


def find(name: str, asked: Path | None, *fallbacks: Path | str | None, cure: str) -> Path:
    """Return a program: the one asked for, else the first fallback that is there, else of PATH; raises Unavailable."""
    if asked is not None:
        if not os.access(asked, os.X_OK):
            raise Unavailable(f"{asked}: no such program")
        return asked.absolute()
    for item in fallbacks:
        if item and os.access(item, os.X_OK):
            return Path(item).absolute()
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"no `{name}` on this machine: {cure}")
    return Path(found)


def kubectl(asked: Path | None, configured: str = "") -> Path:
    """Return kubectl: the one asked for, else the configured one, else the built one, else of PATH."""
    built = binaries.find(("kubectl",))
    cure = "build it (make control-plane), or name one: --kubectl"
    return find("kubectl", asked, configured, built / "kubectl" if built else None, cure=cure)
