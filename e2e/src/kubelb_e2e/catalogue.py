"""The catalogue that stands for an image registry: what each image runs, and how it is built.

`local` runs `command`, `args` and `env` as a process; every other provider loads the image that `build`, a Dockerfile,
makes. The built-in catalogue is `e2e/images.yaml`; a file given to `up --images` adds to it or replaces entries. In
texts `{python}`, `{venv}`, `{tools}` and `{apps}` stand for this interpreter, its environment, the project's `.tools`
and the test applications.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kubelb_e2e import quickyaml
from kubelb_e2e.errors import LabError

PROJECT = Path(__file__).parents[3]
BUILT_IN = PROJECT / "e2e" / "images.yaml"
TOOLS = PROJECT / ".tools"
_PLACES = {
    "python": sys.executable,
    "venv": sys.prefix,
    "tools": str(TOOLS),
    "apps": str(Path(__file__).parent / "apps"),
}


class CatalogueError(LabError):
    """A catalogue file cannot be used; the text says which, where and what was expected."""


@dataclass(frozen=True, slots=True)
class Image:
    """What an image runs: `command` (its entry point), default `args`, environment, working directory.

    `build` is the Dockerfile that makes the image, relative to the project's root; None for one that only `local` has.
    """

    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    build: Path | None = None


def load(extra: Path | None = None) -> dict[str, Image]:
    """Return the catalogue by image name; raises CatalogueError."""
    catalogue = _read(BUILT_IN)
    if extra is not None:
        catalogue.update(_read(extra))
    return catalogue


def find(catalogue: Mapping[str, Image], name: str) -> Image | None:
    """Return the image called `name`; a registry's host, a digest and the tag `latest` make no difference."""
    plain = name.partition("@")[0]
    first, slash, rest = plain.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        plain = rest
    plain = plain.removeprefix("library/").removesuffix(":latest")
    return catalogue.get(name) or catalogue.get(plain) or catalogue.get(f"{plain}:latest")


def _read(path: Path) -> dict[str, Image]:
    try:
        raw = quickyaml.load(path.read_text())
    except OSError as error:
        raise CatalogueError(f"cannot read the image catalogue {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CatalogueError(f"the image catalogue {path} is no YAML: {error}") from error
    if not isinstance(raw, dict):
        raise CatalogueError(f"the image catalogue {path} must be a mapping `image: {{command, args, env, build}}`")
    return {str(name): _image(path, str(name), entry) for name, entry in raw.items()}


def _image(path: Path, name: str, entry: Any) -> Image:
    if not isinstance(entry, dict) or not entry.get("command"):
        raise CatalogueError(f"{path}: image {name!r} needs a `command`, a list of words")
    if unknown := set(entry) - {"command", "args", "env", "workingDir", "build"}:
        raise CatalogueError(f"{path}: image {name!r} has unknown fields {sorted(unknown)}")
    env = entry.get("env") or {}
    if not isinstance(env, dict):
        raise CatalogueError(f"{path}: image {name!r}: `env` must be a mapping")
    return Image(
        command=_words(path, name, entry, "command"),
        args=_words(path, name, entry, "args"),
        env={str(key): _fill(str(value)) for key, value in env.items()},
        working_dir=str(entry.get("workingDir") or "/"),
        build=Path(str(entry["build"])) if entry.get("build") else None,
    )


def _words(path: Path, name: str, entry: dict[str, Any], key: str) -> tuple[str, ...]:
    words = entry.get(key) or []
    if not isinstance(words, list):
        raise CatalogueError(f"{path}: image {name!r}: `{key}` must be a list of words")
    return tuple(_fill(str(word)) for word in words)


def _fill(text: str) -> str:
    for key, value in _PLACES.items():
        text = text.replace("{" + key + "}", value)
    return text
