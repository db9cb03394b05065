"""How the lab's own processes and the harness reach an API server."""

from __future__ import annotations

from pathlib import Path

from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import ConfigError
from kubelb_e2e.errors import LabError


def connect(path: Path) -> AioClient:
    """Return a client for a kubeconfig; must be called in the running loop. Raises LabError."""
    try:
        return AioClient(kubeconfig.load(path), user_agent="kubelb-e2e")
    except ConfigError as error:
        raise LabError(str(error)) from error
