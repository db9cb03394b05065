"""Where the control plane's binaries are."""

from __future__ import annotations

from pathlib import Path

from kubelb_common.testing.binaries import MissingPrograms, require
from kubelb_e2e.errors import LabError


def binaries() -> Path:
    """Return the folder with etcd, the control plane and kubectl; raises LabError."""
    try:
        return require()
    except MissingPrograms as error:
        raise LabError(str(error)) from error
