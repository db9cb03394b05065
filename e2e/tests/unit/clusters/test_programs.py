from __future__ import annotations

from pathlib import Path

import pytest
from standins.programs import script

from kubelb_e2e.clusters import programs
from kubelb_e2e.errors import Unavailable


def find(asked: Path | None, *fallbacks: Path | str | None) -> Path:
    return programs.find("tool", asked, *fallbacks, cure="build it")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `tool` in PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return script(tmp_path / "bin" / "tool", "#!/bin/sh\n")


def test_the_one_asked_for_comes_first_then_fallbacks_then_path(path: Path, tmp_path: Path) -> None:
    own = script(tmp_path / "own", "#!/bin/sh\n")
    other = script(tmp_path / "other", "#!/bin/sh\n")
    assert find(own, other) == own
    assert find(None, "", None, tmp_path / "absent", own, other) == own
    assert find(None, "", None) == path


def test_what_cannot_be_run_is_no_program(path: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    text.chmod(0o644)
    assert find(None, text) == path
    for asked in (text, tmp_path / "absent"):
        with pytest.raises(Unavailable, match=f"^{asked}: no such program$"):
            find(asked)


def test_a_link_stays_a_link(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name may tell one binary of many what it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(path)
    assert find(Path("link")) == tmp_path / "link"
    assert find(None, "link") == tmp_path / "link"


def test_a_program_that_is_nowhere_is_told_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"^no `tool` on this machine: build it$"):
        find(None, tmp_path / "absent")
