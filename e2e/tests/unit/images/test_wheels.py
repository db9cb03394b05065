"""Wheels for another Python than this one: which, and when they are fetched again."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from kubelb_e2e.errors import LabError
from kubelb_e2e.images import walk, wheels
from kubelb_e2e.images.target import Target

OLD = Target(python=(3, 11), machine="x86_64", glibc=36)
NEW = Target(python=(3, 14), machine="aarch64", glibc=41)


def wheel(folder: Path, name: str, *requires: str, version: str = "1.0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {item}" for item in requires)]
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(["Metadata-Version: 2.1", *lines]) + "\n")
        archive.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
    return path


class Index:
    """Where wheels come from; notes what was asked for in each step."""

    def __init__(self, folder: Path, known: Mapping[str, Sequence[str]]) -> None:
        self._folder = folder
        self._known = known
        self.steps: list[list[str]] = []
        wheel(folder, "root", *known["root"])

    def fetch(self, names: list[str]) -> None:
        self.steps.append(names)
        for name in names:
            if name in self._known:
                wheel(self._folder, name, *self._known[name])

    def walk(self, target: Target) -> set[str]:
        return walk.closure("root", lambda: walk.by_name(self._folder), target, self.fetch)


@pytest.mark.parametrize(
    ("target", "found"),
    [(OLD, {"root", "backport", "a"}), (NEW, {"root", "a", "b", "arm"})],
)
def test_markers_are_read_as_the_target_would(tmp_path: Path, target: Target, found: set[str]) -> None:
    known = {
        "root": ["a", 'backport; python_version < "3.12"', 'windows; sys_platform == "win32"'],
        "a": ['b; python_full_version >= "3.13.0"', 'arm; platform_machine == "aarch64"'],
        "b": [],
        "arm": [],
        "backport": [],
    }
    index = Index(tmp_path, known)
    assert index.walk(target) == found
    assert index.steps[0] == sorted({"a", "backport"} & found)


def test_extras_are_followed_only_when_they_are_asked_for(tmp_path: Path) -> None:
    known = {
        "root": ["plain", "rich[fast]"],
        "plain": ['slow; extra == "slow"'],
        "rich": ['speedups; extra == "fast"', "root"],
        "speedups": [],
    }
    assert Index(tmp_path, known).walk(OLD) == {"root", "plain", "rich", "speedups"}


def test_names_are_compared_as_the_index_does(tmp_path: Path) -> None:
    index = Index(tmp_path, {"root": ["Under_Scored.Name"], "under-scored-name": []})
    with pytest.raises(LabError, match="no wheel of under-scored-name came"):
        Index(tmp_path / "other", {"root": ["Under_Scored.Name"]}).walk(OLD)
    wheel(tmp_path, "under_scored_name")
    assert index.walk(OLD) == {"root", "under-scored-name"}
    assert index.steps == []


def test_the_lock_is_read_by_canonical_name(tmp_path: Path) -> None:
    lock = tmp_path / "constraints.txt"
    lock.write_text("# why\nPyYAML==6.0.3\nmypy_extensions==1.2.0\n\n")
    assert walk.pins(lock) == {"pyyaml": "6.0.3", "mypy-extensions": "1.2.0"}


def test_pip_is_told_python_processor_and_every_older_c_library() -> None:
    options = NEW.pip_options()
    platforms = [word for option, word in pairwise(options) if option == "--platform"]
    assert platforms[0] == "manylinux_2_41_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64"} <= set(platforms)
    assert "manylinux_2_42_aarch64" not in platforms
    assert options[options.index("--python-version") + 1] == "3.14"
    assert "--only-binary=:all:" in options


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that is not this one: our wheels, a lock, a pip that answers from the folder `index`."""
    for name, path in {"DIST": "dist", "LOCK": "constraints.txt", "WHEELS": ".tools/wheels", "TOOLS": ".tools"}.items():
        monkeypatch.setattr(wheels, name, tmp_path / path)
    monkeypatch.setattr(wheels, "_STAMP", tmp_path / ".tools/wheels/.ready")
    (tmp_path / "constraints.txt").write_text("shared==1.0\nonly-ccm==1.0\n")
    wheel(tmp_path / "dist", "kubelb_common", "shared")
    wheel(tmp_path / "dist", "kubelb_manager", "kubelb-common==0.1.0")
    wheel(tmp_path / "dist", "kubelb_ccm", "kubelb-common==0.1.0", "only-ccm")
    for name in ("shared", "only_ccm"):
        wheel(tmp_path / "index", name)
    wheel(tmp_path / "index", "pip", version=wheels.PIP)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path


def _there(folder: Path) -> dict[str, list[str]]:
    return {
        path.name: sorted(item.name.split("-")[0] for item in path.iterdir())
        for path in (folder / ".tools/wheels").iterdir()
        if path.is_dir()
    }


def _fetch(target: Target, say: Callable[[str], None]) -> None:
    wheels.dependencies(target, say)


def test_each_agent_gets_a_folder_of_its_own_and_our_wheels_stay_in_dist(folders: Path) -> None:
    _fetch(OLD, print)
    assert _there(folders) == {"manager": ["shared"], "ccm": ["only_ccm", "shared"], "pip": ["pip"]}


def test_wheels_are_fetched_again_only_for_a_reason(folders: Path) -> None:
    said: list[str] = []
    _fetch(OLD, said.append)
    _fetch(OLD, said.append)
    assert len(said) == 1
    _fetch(NEW, said.append)
    assert said[1:] == ["fetching wheels for Python 3.14 on aarch64 with glibc 2.41 (about 30 MB)"]
    (folders / "constraints.txt").write_text("shared==1.0\nonly-ccm==1.0\nother==2\n")
    _fetch(NEW, said.append)
    assert len(said) == 3
    wheel(folders / "dist", "kubelb_manager", "kubelb-common==0.1.0", "only-ccm")
    _fetch(NEW, said.append)
    assert len(said) == 4
    assert _there(folders)["manager"] == ["only_ccm", "shared"]


def test_what_the_lock_lacks_is_told_and_what_was_there_stays(folders: Path) -> None:
    _fetch(OLD, print)
    (folders / "constraints.txt").write_text("shared==1.0\n")
    with pytest.raises(LabError, match=r"constraints\.txt has no version of only-ccm: add a line `name==version`"):
        _fetch(OLD, print)
    assert _there(folders)["ccm"] == ["only_ccm", "shared"]


def test_a_wheel_that_cannot_be_had_is_one_line(folders: Path) -> None:
    (folders / "index" / "shared-1.0-py3-none-any.whl").unlink()
    with pytest.raises(LabError, match=r"no wheels for Python 3\.11 on x86_64 .*shared==1\.0.*; the network") as caught:
        _fetch(OLD, print)
    assert "\n" not in str(caught.value)
