"""The wheels that images are made of: ours in `dist/`, the others in `.tools/wheels`, a folder for each agent.

    python -m kubelb_e2e.images.wheels      both, for the Python that the Dockerfiles start from

What is there and up to date stays: ours are the same bytes for the same sources, and the others are fetched again only
when the lock, our dependencies or the target change.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kubelb_e2e.catalogue import PROJECT, TOOLS
from kubelb_e2e.errors import LabError, last_line
from kubelb_e2e.images import walk
from kubelb_e2e.images.target import Target

Say = Callable[[str], None]
#: What installs the wheels, in the build stage only.
PIP = "26.3"
PACKAGES = ("common", "ccm", "manager")
AGENTS = ("ccm", "manager")
DIST = PROJECT / "dist"
LOCK = PROJECT / "constraints.txt"
#: A folder with an agent's dependencies, one with pip, and a stamp that says for what.
WHEELS = TOOLS / "wheels"
_STAMP = WHEELS / ".ready"
#: Of the image that the Dockerfiles start from when they are told nothing else.
DEFAULT = Target(python=(3, 11), machine=platform.machine(), glibc=36)


def ours() -> list[Path]:
    """Build the three wheels from the sources into `dist/`, and return them; raises LabError."""
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS) as scratch:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", scratch]
        running = [
            subprocess.Popen(
                [*command, str(PROJECT / "packages" / name)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for name in PACKAGES
        ]
        for name, process in zip(PACKAGES, running, strict=True):
            output, _ = process.communicate()
            if process.returncode:
                raise LabError(f"packages/{name}: no wheel could be built: {last_line(output)}")
        shutil.rmtree(DIST, ignore_errors=True)
        DIST.mkdir()
        for wheel in sorted(Path(scratch).glob("*.whl")):
            wheel.replace(DIST / wheel.name)
    return sorted(DIST.glob("*.whl"))


def dependencies(target: Target, say: Say) -> None:
    """Bring what our wheels in `dist/` depend on, and pip, into `.tools/wheels`; raises LabError."""
    key = _key(target)
    if _STAMP.is_file() and _STAMP.read_text() == key:
        return
    say(f"fetching wheels for {target} (about 30 MB)")
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS) as scratch:
        store, fresh = Path(scratch, "store"), Path(scratch, "wheels")
        store.mkdir()
        pins = walk.pins(LOCK)

        def wheels() -> Mapping[str, Path]:
            return walk.by_name(DIST, store)

        def fetch(names: list[str]) -> None:
            if unlocked := sorted(set(names) - set(pins)):
                raise LabError(f"constraints.txt has no version of {', '.join(unlocked)}: add a line `name==version`")
            _download([f"{name}=={pins[name]}" for name in names], store, target)

        for agent in AGENTS:
            names = walk.closure(f"kubelb-{agent}", wheels, target, fetch)
            _link([path for name, path in wheels().items() if name in names and path.parent == store], fresh / agent)
        (fresh / "pip").mkdir()
        _download([f"pip=={PIP}"], fresh / "pip", target)
        shutil.rmtree(WHEELS, ignore_errors=True)
        fresh.replace(WHEELS)
    _STAMP.write_text(key)


def _key(target: Target) -> str:
    """Return a text that changes when other wheels are needed."""
    asked = {wheel.name: sorted(map(str, walk.requirements(wheel))) for wheel in sorted(DIST.glob("*.whl"))}
    content = LOCK.read_text() + json.dumps(asked) + PIP
    return f"{target}\n{hashlib.sha256(content.encode()).hexdigest()}\n"


def _download(wanted: Sequence[str], folder: Path, target: Target) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [*target.pip_options(), "--dest", str(folder), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(
            f"no wheels for {target}: {_error_of_pip(done.stderr)}; the network is needed for this step only"
        )


def _link(wheels: Sequence[Path], folder: Path) -> None:
    """Give a folder these files too, without copying them."""
    folder.mkdir(parents=True)
    for wheel in wheels:
        os.link(wheel, folder / wheel.name)


def _error_of_pip(text: str) -> str:
    """Return pip's last complaint; below it are hints."""
    lines = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.startswith("ERROR: ")]
    return lines[-1] if lines else last_line(text)


def main() -> int:
    """Bring all wheels for the default base image; return the exit code."""
    try:
        ours()
        dependencies(DEFAULT, lambda text: print(f"wheels: {text}", flush=True))
    except LabError as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
