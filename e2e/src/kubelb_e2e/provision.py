"""Where the control plane's binaries are."""

from __future__ import annotations

import os
from pathlib import Path

from kubelb_e2e.clusters.local.state import LabError

_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl")


def binaries() -> Path:
    """Return the folder with etcd, the control plane and kubectl; raises LabError."""
    cache = Path(os.environ.get("KUBELB_CACHE") or Path("~/.cache/kubelb-testbed").expanduser())
    for folder in sorted(cache.glob("*"), reverse=True):
        if all(os.access(folder / program, os.X_OK) for program in _PROGRAMS):
            return folder
    raise LabError(f"{cache}: no control-plane binaries; build them: make setup")
