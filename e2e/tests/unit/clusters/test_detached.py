"""A program that is started apart is known from the first moment, and hears of no terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from standins.stage import until

from kubelb_e2e.clusters import detached
from kubelb_e2e.errors import LabError


def test_it_is_known_before_it_does_anything_and_is_nobodys_child(tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = detached.start(
        ["sh", "-c", "echo $$ $PWD $WORD; echo trouble >&2; exec tail -f /dev/null"],
        log,
        environment={**os.environ, "WORD": "told"},
    )
    assert found is not None
    try:
        until(lambda: "trouble" in (log.read_text() if log.exists() else ""), "it says nothing")
        assert log.read_text() == f"{found.pid} / told\ntrouble\n"
        assert os.getsid(found.pid) != os.getsid(0)
        assert str(found.pid) not in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    finally:
        found.end()


def test_the_log_is_continued(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    detached.start(["echo", "after"], log)
    until(lambda: log.read_text() == "before\nafter\n", "it is not written")


def test_a_system_without_setsid_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="true could not be started: setsid of util-linux is needed"):
        detached.start(["true"], tmp_path / "log")
