"""A manager whose API server does not answer yet: alive, not ready, and gone when it is told to go."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from kubelb_common.testing.ports import free

SECONDS = 30.0


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig of a server that does not answer."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{free()[0]}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_waits_alive_and_ends_when_told(kubeconfig: Path, tmp_path: Path) -> None:
    health = free()[0]
    log = tmp_path / "log"
    command = [
        *(sys.executable, "-m", "kubelb_manager", "run", "--kubeconfig", str(kubeconfig)),
        *(f"--health-probe-bind-address=127.0.0.1:{health}", f"--metrics-addr=127.0.0.1:{free()[0]}"),
        f"--listen-address=127.0.0.1:{free()[0]}",
    ]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as manager:
        try:
            end = time.monotonic() + SECONDS
            while _status(f"http://127.0.0.1:{health}/healthz") != 200 or "does not answer yet" not in log.read_text():
                assert time.monotonic() < end, log.read_text()
                assert manager.poll() is None, log.read_text()
                time.sleep(0.05)  # a process of its own: there is no event to wait for
            assert _status(f"http://127.0.0.1:{health}/readyz") == 503
            manager.send_signal(signal.SIGTERM)
            assert manager.wait(10) == 0, log.read_text()
        finally:
            manager.kill()
