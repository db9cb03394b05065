"""Layers as the build stage makes them, on this machine instead of a base image."""

from __future__ import annotations

import importlib.util
import marshal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from kubelb_common.kube import transport

Script = Callable[[str], ModuleType]


@pytest.fixture
def layer(script: Script) -> ModuleType:
    return script("layer")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return tmp_path / "made"


def test_the_system_has_its_users_and_places(layer: ModuleType, made: Path) -> None:
    layer.system(made)
    users = dict(line.split(":", 1) for line in (made / "etc/passwd").read_text().splitlines())
    assert users["nonroot"].startswith("x:65532:65532:nonroot:/home/nonroot:")
    assert "nonroot:x:65532:" in (made / "etc/group").read_text()
    assert "hosts: files dns" in (made / "etc/nsswitch.conf").read_text()
    assert (made / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (made / "home/nonroot").is_dir()


def test_python_comes_without_what_builds_tests_and_installs(layer: ModuleType, made: Path) -> None:
    layer.python(made)
    library = next(path.parent for path in made.rglob("os.py"))
    names = {path.name for path in library.iterdir()}
    assert {"asyncio", "ssl.py", "json", "lib-dynload", "encodings"} <= names
    unwanted = {
        "test",
        "idlelib",
        "ensurepip",
        "tkinter",
        "lib2to3",
        "distutils",
        "site-packages",
        "venv",
        "__pycache__",
    }
    assert names & unwanted == set()
    extensions = {path.name.partition(".")[0] for path in (library / "lib-dynload").iterdir()}
    assert {"_ssl", "_hashlib", "_asyncio"} <= extensions
    assert not {name for name in extensions if name.startswith(("_test", "_tkinter", "_curses", "readline", "xx"))}
    assert list(made.rglob("python3")), "the name that entry points use"


def test_finished_code_is_compiled_for_its_place_and_never_compared(layer: ModuleType, made: Path) -> None:
    module = made / "app" / "module.py"
    module.parent.mkdir(parents=True)
    module.write_text("TEXT = 'the bytecode was read'\n")
    layer.finish(made)
    compiled = Path(importlib.util.cache_from_source(module))
    flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
    assert flags == 0b01, "checked by no hash and no time (PEP 552)"
    assert marshal.loads(compiled.read_bytes()[16:]).co_filename == "/app/module.py"
    module.write_text("TEXT = 'the source was read'\n")
    command = [sys.executable, "-c", "import module; print(module.TEXT)"]
    done = subprocess.run(command, cwd=module.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "the bytecode was read\n"


def test_equal_content_makes_equal_layers(layer: ModuleType, made: Path, tmp_path: Path) -> None:
    for folder in (made, tmp_path / "again"):
        (folder / "app").mkdir(parents=True)
        (folder / "app" / "module.py").write_text("VALUE = {'a': 1}\n")
        (folder / "link").symlink_to("app")
        layer.finish(folder)
    times = {path.lstat().st_mtime for path in (made, *made.rglob("*"))}
    assert times == {1580601600.0}
    archives = [
        subprocess.run(["tar", "--sort=name", "-C", folder, "-c", "."], capture_output=True, check=True).stdout
        for folder in (made, tmp_path / "again")
    ]
    assert archives[0] == archives[1]


def test_the_images_user_may_read_what_a_careful_builder_kept_to_himself(layer: ModuleType, made: Path) -> None:
    (made / "app").mkdir(parents=True, mode=0o700)
    (made / "tmp").mkdir()
    (made / "tmp").chmod(0o1777)
    program, module = made / "app" / "program", made / "app" / "module.py"
    for path, mode in ((program, 0o4700), (module, 0o600)):
        path.write_text("")
        path.chmod(mode)
    layer.finish(made)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (made / "app", made / "tmp", program, module)}
    assert modes == {"app": 0o755, "tmp": 0o1777, "program": 0o755, "module.py": 0o644}


def test_code_that_is_none_stops_the_build(layer: ModuleType, made: Path) -> None:
    made.mkdir()
    (made / "broken.py").write_text("def (:\n")
    with pytest.raises(layer.BuildError, match="some file is no Python"):
        layer.finish(made)


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("kubelb_common/names.py", True),
        ("grpc/_cython/cygrpc.cpython-311-x86_64-linux-gnu.so", True),
        ("grpc/_cython/cygrpc.pyx", False),
        ("aiohttp/web.pyi", False),
        ("click-8.5.1.dist-info/METADATA", True),
        ("click-8.5.1.dist-info/licenses/LICENSE.txt", True),
        ("click-8.5.1.dist-info/RECORD", False),
        ("bin/kubelb-manager", True),
        ("bin/watchfiles", False),
        ("kubernetes/aio/client/rest.py", True),
        ("kubernetes/aio/client/models/__init__.py", True),
        ("kubernetes/aio/client/models/v1_pod.py", False),
        ("kubernetes/client/api/core_v1_api.py", False),
        ("other/client/api/core_v1_api.py", True),
    ],
)
def test_of_wheels_stays_what_the_program_uses(layer: ModuleType, path: str, kept: bool) -> None:
    assert layer._wanted(Path(path), "kubelb-manager") is kept


def test_the_client_is_used_only_for_what_stays(layer: ModuleType) -> None:
    """The door to the Kubernetes client takes nothing from the rooms that the images leave out."""
    lines = [
        line for line in Path(transport.__file__).read_text().splitlines() if "kubernetes" in line and "import" in line
    ]
    imports = [line.split()[1].replace(".", "/") + ".py" for line in lines if line.startswith("from ")]
    assert imports
    assert [path for path in imports if not layer._wanted(Path(path), None)] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wheels", "/nowhere/layer", "/nowhere/wheels"], "no wheels in /nowhere/wheels: run `make wheels` first"),
        (["program", "/nowhere/layer", "no-such-program"], "the base image has no program 'no-such-program'"),
    ],
)
def test_what_is_missing_is_one_line(layer: ModuleType, arguments: list[str], said: str) -> None:
    command = [sys.executable, layer.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"layer {arguments[0]}: {said}")
    assert done.stderr.count("\n") == 1


def test_licences_of_the_packages_whose_files_are_there(script: Script, made: Path, tmp_path: Path) -> None:
    lists, documents = tmp_path / "lists", tmp_path / "doc"
    for package, files in (
        ("libc6:amd64", "/lib/libc.so.6"),
        ("dash", "/bin/sh\n/bin"),
        ("apt", "/usr/bin/apt\n/usr/bin"),
    ):
        lists.mkdir(exist_ok=True)
        (lists / f"{package}.list").write_text(f"/.\n{files}\n")
        (documents / package.partition(":")[0]).mkdir(parents=True)
        (documents / package.partition(":")[0] / "copyright").write_text(f"terms of {package}")
    for path in ("usr/lib/libc.so.6", "usr/bin/python3"):
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text("")
    (made / "bin").symlink_to("usr/bin")
    script("licences").add(made, (), lists, documents)
    assert [path.read_text() for path in made.rglob("copyright")] == ["terms of libc6:amd64"]
