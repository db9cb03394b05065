"""Where the control plane's programs are looked for, and built into."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubelb_common.testing import binaries


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBELB_CACHE", raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)


def _program(folder: Path, name: str, text: str = "#!/bin/sh\n") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def test_chosen_folder_holds_the_programs_or_a_folder_of_our_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBELB_CACHE", str(tmp_path))
    _program(tmp_path, "some-tool")
    assert binaries.find(["some-tool"]) == tmp_path
    _program(binaries.cache_folder(), "some-tool")
    assert binaries.find(["some-tool"]) == binaries.cache_folder()
    assert binaries.cache_folder().parent == tmp_path


def test_all_programs_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELB_CACHE", str(tmp_path))
    _program(tmp_path, "some-tool")
    assert binaries.find(["some-tool", "other-tool"]) is None
    with pytest.raises(binaries.MissingPrograms, match=r"other-tool.*make setup"):
        binaries.require(["some-tool", "other-tool"])


def test_relative_choice_does_not_depend_on_where_a_build_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBELB_CACHE", "cache")
    assert binaries.cache_folder().parent == tmp_path / "cache"


def test_assets_of_another_version_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    _program(tmp_path, "some-tool")
    _program(tmp_path, "kube-apiserver", "#!/bin/sh\necho Kubernetes v1.1.1\n")
    assert binaries.find(["some-tool"]) is None
    _program(tmp_path, "kube-apiserver", f"#!/bin/sh\necho Kubernetes {binaries.KUBERNETES}\n")
    assert binaries.find(["some-tool"]) == tmp_path


def test_home_that_cannot_be_written_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert binaries.cache_folder().is_relative_to(tmp_path / "home")
    asked = os.access
    # Root may write everywhere, so the answer for the existing parent of HOME is given here.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and asked(path, mode))
    assert ".tools" in binaries.cache_folder().parts
