"""What a program needs is copied with it: libraries, and every symbolic link on the way."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Script = Callable[[str], ModuleType]
#: A program that is everywhere and links to more than the C library.
_PROGRAM = Path(shutil.which("bash") or "/bin/bash")


@pytest.fixture
def closure(script: Script) -> ModuleType:
    return script("closure")


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    return tmp_path / "layer"


def _below(layer: Path, path: Path) -> Path:
    return layer / path.relative_to("/")


def test_a_program_runs_with_what_was_copied_alone(closure: ModuleType, layer: Path) -> None:
    closure.place(_PROGRAM, layer)
    closure.complete(layer)
    (loader,) = {path.resolve() for path in layer.rglob("ld-linux*") if path.is_file() and not path.is_symlink()}
    folders = ":".join({str(path.parent) for path in layer.rglob("*.so*")})
    start = [loader, "--inhibit-cache", "--library-path", folders]
    program = _below(layer, _PROGRAM.resolve())
    listed = subprocess.run([*start, "--list", program], capture_output=True, text=True, check=True).stdout
    used = [line.split(" => ")[1].split(" (")[0] for line in listed.splitlines() if " => " in line]
    assert used
    assert [path for path in used if not Path(path).is_relative_to(layer)] == []
    done = subprocess.run([*start, program, "-c", "echo $((6 * 7))"], capture_output=True, text=True, check=True)
    assert done.stdout == "42\n"


def test_links_lead_to_the_same_place_as_outside(closure: ModuleType, layer: Path, tmp_path: Path) -> None:
    """A name that is a link in a linked folder, over `..` and over an absolute link."""
    real = tmp_path / "real" / "deep"
    real.mkdir(parents=True)
    (real / "file.1").write_text("content")
    (tmp_path / "merged").symlink_to("real")
    (tmp_path / "absolute").symlink_to(tmp_path / "merged")
    (tmp_path / "aside").mkdir()
    (real / "file").symlink_to("../../aside/../merged/deep/file.1")
    closure.place(tmp_path / "absolute" / "deep" / "file", layer)
    assert _below(layer, real / "file").read_text() == "content"
    for link in (tmp_path / "absolute", tmp_path / "merged", real / "file"):
        assert _below(layer, link).readlink() == link.readlink()
    assert [path for path in layer.rglob("*") if path.is_file() and not path.is_symlink()] == [
        _below(layer, real / "file.1")
    ]
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    closure.place(real / "file.1", lower)
    closure.place(tmp_path / "absolute" / "deep" / "file", upper, [lower])
    assert _below(upper, real / "file").is_symlink()
    assert list(upper.rglob("file.1")) == [], "the lower layer has it"


def test_what_a_lower_layer_has_is_not_copied_again(closure: ModuleType, layer: Path, tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    closure.place(_PROGRAM, runtime)
    closure.complete(runtime)
    copy = layer / "app" / "program"
    copy.parent.mkdir(parents=True)
    shutil.copy2(_PROGRAM.resolve(), copy)
    closure.complete(layer, [runtime])
    assert [path for path in layer.rglob("*") if not path.is_dir()] == [copy]


def test_a_file_that_is_not_there_is_told(closure: ModuleType, layer: Path, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "circle").symlink_to("circle")
    for path in (tmp_path / "absent", tmp_path / "dangling", tmp_path / "circle"):
        with pytest.raises(closure.BuildError, match=rf"{path.name}: no such file in the base image; choose another"):
            closure.place(path, layer)


def test_a_library_that_is_not_there_is_told_with_who_asks(closure: ModuleType, layer: Path) -> None:
    program = layer / "app" / "program"
    program.parent.mkdir(parents=True)
    program.write_bytes(_PROGRAM.resolve().read_bytes().replace(b"libc.so.6\0", b"libq.so.6\0"))
    program.chmod(0o755)
    with pytest.raises(closure.BuildError, match=r"/app/program needs libq\.so\.6, which the base image lacks"):
        closure.complete(layer)


def test_scripts_and_links_are_no_programs(closure: ModuleType, layer: Path) -> None:
    layer.mkdir()
    (layer / "script").write_text("#!/bin/sh\n")
    (layer / "link").symlink_to(_PROGRAM)
    closure.complete(layer)
    assert sorted(path.name for path in layer.iterdir()) == ["link", "script"]
