"""Makes the layers of the project's images, in the build stage of their Dockerfiles; needs Python 3.11 and no network.

    layer.py system LAYER                     users, certificates, a folder for scratch files
    layer.py python LAYER                     the interpreter and its standard library
    layer.py program LAYER NAME...            programs of the base image
    layer.py wheels LAYER FOLDER [KEEP]       the wheels in FOLDER into /app; KEEP: the one script to keep in /app/bin
    layer.py finish LAYER [BELOW...]          bytecode, libraries, licences, times; BELOW: the layers under it
    layer.py check LAYER...                   everything that the wheels in these layers ask for is in them

Nothing is fetched: a layer holds files of the base image and of the build context.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import ssl
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import closure
import licences
from closure import BuildError

#: Seconds since 1970 that every file gets, so that equal content makes equal layers (2020-02-02, as wheels have it).
_TIME = 1580601600
APP = "app"
_USERS = """\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
"""
#: Folders of the root that Debian keeps as links into /usr; programs ask for /bin/sh and /lib64/ld-linux*.
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_GROUPS = "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n"
_NAMES = "passwd: files\ngroup: files\nhosts: files dns\n"
#: Of the standard library: what builds, installs, tests and teaches, and windows, terminals and databases.
_NO_MODULES = re.compile(
    r"test|tests|idlelib|turtledemo|turtle\.py|tkinter|lib2to3|distutils|_distutils_system_mod\.py|ensurepip|venv"
    r"|pydoc_data|sqlite3|curses|config-.*|site-packages|dist-packages|__pycache__|sitecustomize\.py|EXTERNALLY-MANAGED"
    r"|_?(?:test|xx|ctypes_test|curses|dbm|gdbm|sqlite3|tkinter|nis|ossaudiodev|readline).*\.so"
)
#: Of installed wheels: sources and stubs of what is compiled, and what only pip reads.
_NO_FILES = re.compile(r".*\.(?:pyi|pyx|pxd|pxi|c|h|proto)|RECORD|INSTALLER|REQUESTED|direct_url\.json")
_INSTALL = ("install", "--no-index", "--no-deps", "--no-compile", "--root-user-action=ignore")
#: The Kubernetes client's classes for each kind and each group of the API, 120 MB, loaded when their name is asked for.
#: We use its configuration, authentication and TLS (`kubelb_common.kube.transport`, the one door), and raw JSON.
_NO_CLASSES = re.compile(r"kubernetes/(?:aio/)?client/(?:api|models)/(?!__init__\.py$)[^/]+")
_NO_FOLDERS = {"tests", "test", "__pycache__"}


def system(layer: Path) -> None:
    """Users root, nobody and nonroot (65532), name resolution, trusted certificates, /tmp and a home."""
    etc = layer / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    for name, text in (("passwd", _USERS), ("group", _GROUPS), ("nsswitch.conf", _NAMES)):
        (etc / name).write_text(text)
    (layer / "tmp").mkdir(exist_ok=True)
    (layer / "tmp").chmod(0o1777)
    (layer / "home" / "nonroot").mkdir(parents=True, exist_ok=True)
    for name in _LINKS:
        if (link := Path("/", name)).is_symlink():
            (layer / name).symlink_to(link.readlink())
    for library in closure.on_demand():
        closure.place(library, layer)
    trusted = ssl.get_default_verify_paths().openssl_cafile
    for path in (trusted, "/etc/ssl/certs/ca-certificates.crt", "/usr/share/doc/ca-certificates/copyright"):
        if Path(path).is_file():
            closure.place(Path(path), layer)


def python(layer: Path) -> None:
    """The interpreter that runs this, by the name it was called by, and its standard library."""
    closure.place(Path(sys.executable), layer)
    library = Path(sysconfig.get_path("stdlib"))
    target = layer / library.relative_to("/")
    shutil.copytree(library, target, ignore=_ignore, ignore_dangling_symlinks=True)
    if (config := Path("/etc/ld.so.conf")).exists():
        _loader_cache(layer, config)


def program(layer: Path, *names: str) -> None:
    """Programs that are found by PATH."""
    for name in names:
        found = shutil.which(name)
        if found is None:
            raise BuildError(f"the base image has no program {name!r}; choose another: --build-arg BASE=...")
        closure.place(Path(found), layer)


def wheels(layer: Path, folder: str, keep: str | None = None) -> None:
    """Install every wheel of a folder by the pip wheel beside it, and drop what only developers need."""
    found = sorted(Path(folder).glob("*.whl"))
    if not found:
        raise BuildError(f"no wheels in {folder}: run `make wheels` first, in the project's root")
    app = layer / APP
    _pip(*_INSTALL, "--target", str(app), *map(str, found))
    for path in sorted(app.rglob("*"), reverse=True):
        if path.is_dir() and path.name in _NO_FOLDERS:
            shutil.rmtree(path)
        elif path.is_file() and not _wanted(path.relative_to(app), keep):
            path.unlink()


def finish(layer: Path, *below: str) -> None:
    """Compile Python, add libraries and licences, give everything one time."""
    under = [Path(path) for path in below]
    compiled = compileall.compile_dir(
        layer,
        quiet=1,
        stripdir=layer,
        prependdir="/",
        # A read-only image has nothing to compare with: the bytecode is what is in the file beside it.
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not compiled:
        raise BuildError(f"{layer}: some file is no Python that this interpreter understands, see above")
    closure.complete(layer, under)
    licences.add(layer, under)
    for path in (layer, *layer.rglob("*")):
        if not path.is_symlink():
            _open_to_all(path)
        os.utime(path, (_TIME, _TIME), follow_symlinks=False)


def _open_to_all(path: Path) -> None:
    """Let the image's user read what whoever built it may have kept to himself (umask 077); writable stays `/tmp`."""
    mode = path.stat().st_mode
    if not mode & stat.S_ISVTX:
        path.chmod(0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644)


def check(*layers: Path | str) -> None:
    """Ask pip whether the wheels in these layers agree."""
    path = os.pathsep.join(str(Path(layer, APP)) for layer in layers)
    _pip("check", environment={**os.environ, "PYTHONPATH": path})


def _wanted(path: Path, script: str | None) -> bool:
    """Tell whether an installed file, relative to /app, is used by the program."""
    if path.parts[0] == "bin":
        return path.name == script
    return not (_NO_FILES.fullmatch(path.name) or _NO_CLASSES.fullmatch(path.as_posix()))


def _ignore(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if _NO_MODULES.fullmatch(name)]


def _loader_cache(layer: Path, config: Path) -> None:
    """Tell the loader where the base keeps libraries: a Python in /usr/local has its own there."""
    closure.complete(layer)
    for path in (config, *sorted(Path("/etc/ld.so.conf.d").glob("*.conf"))):
        closure.place(path, layer)
    subprocess.run(["ldconfig", "-r", str(layer)], check=True)


def _pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run the pip beside this file; it sees nothing that the base image has installed."""
    found = sorted(Path(__file__).parent.glob("pip-*.whl"))
    if not found:
        raise BuildError("no pip wheel: run `make wheels` first, in the project's root")
    options = ["--isolated", "--no-cache-dir", "--disable-pip-version-check"]
    command = [sys.executable, "-S", str(found[-1] / "pip"), *options, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.removeprefix("ERROR: ") for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = said[-1] if said else "no message"
        raise BuildError(f"pip {arguments[0]}: {reason} (`make images` brings wheels for the Python of the base image)")


_COMMANDS: dict[str, Callable[..., None]] = {
    "system": system,
    "python": python,
    "program": program,
    "wheels": wheels,
    "finish": finish,
    "check": check,
}


def main() -> int:
    """Run the subcommand in argv; return the exit code."""
    if len(sys.argv) < 3 or sys.argv[1] not in _COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    name, layer, *rest = sys.argv[1:]
    try:
        _COMMANDS[name](Path(layer).absolute(), *rest)
    except BuildError as error:
        print(f"layer {name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
