"""Where the control plane's programs are: the one finder for tests, testbed and set-up.

Looked at in this order, the first folder that has all wanted programs counts:
`KUBEBUILDER_ASSETS` (only if its API server is of exactly our version), `KUBELB_CACHE` itself or its
folder of our versions, `~/.cache/kubelb-testbed/`, and the work tree's `.tools/`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

KUBERNETES = "v1.36.3"
ETCD = "3.6.8"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl")

_FOLDER = f"k8s-{KUBERNETES.removeprefix('v')}-etcd-{ETCD}"


class MissingPrograms(Exception):  # noqa: N818 - named for what it says
    """Programs that tests need are not on this machine; the text says what to run."""


def find(programs: Iterable[str] = PROGRAMS) -> Path | None:
    """Return the first folder that has all these programs, or None."""
    wanted = tuple(programs)
    for folder in _candidates():
        if all(os.access(folder / name, os.X_OK) for name in wanted):
            return folder
    return None


def require(programs: Iterable[str] = PROGRAMS) -> Path:
    """Return the folder with these programs; raises MissingPrograms with one line that says what to do."""
    wanted = tuple(programs)
    found = find(wanted)
    if found is None:
        raise MissingPrograms(
            f"{', '.join(wanted)} (Kubernetes {KUBERNETES}, etcd {ETCD}) are not on this machine: run 'make setup'"
        )
    return found


def cache_folder() -> Path:
    """Return the folder that programs of our versions are built into; it may not exist yet."""
    if given := _chosen_cache():
        return given / _FOLDER
    home = Path.home() / ".cache" / "kubelb-testbed"
    # Not Path.exists: it raises where another user's home may not even be looked into.
    parent = next(folder for folder in (home, *home.parents) if os.path.exists(folder))  # noqa: PTH110
    if not os.access(parent, os.W_OK) and (tree := _work_tree()):
        return tree / ".tools" / _FOLDER
    return home / _FOLDER


def _candidates() -> Iterator[Path]:
    if (assets := os.environ.get("KUBEBUILDER_ASSETS")) and _is_our_version(Path(assets)):
        yield Path(assets)
    if given := _chosen_cache():
        yield given / _FOLDER
        yield given
    yield Path.home() / ".cache" / "kubelb-testbed" / _FOLDER
    if tree := _work_tree():
        yield tree / ".tools" / _FOLDER


def _chosen_cache() -> Path | None:
    given = os.environ.get("KUBELB_CACHE")
    return Path(given).expanduser().absolute() if given else None


def _is_our_version(folder: Path) -> bool:
    server = folder / "kube-apiserver"
    if not os.access(server, os.X_OK):
        return False
    answer = subprocess.run(  # noqa: S603 - the user's own folder of programs
        [str(server), "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    return answer.stdout.split()[-1:] == [KUBERNETES]


def _work_tree() -> Path | None:
    """Return the root of the work tree this file is in, or None if it is installed elsewhere."""
    return next((folder for folder in Path(__file__).resolve().parents if (folder / "hack").is_dir()), None)
