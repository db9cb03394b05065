"""The work tree is portable, complete and told truly: no foreign paths, no stale generated file, no dead target."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

#: Paths of one person's machine. `/home/nonroot` and the like are homes inside containers.
_HOME = re.compile(r"(?<![\w.~-])/(?:home|Users)/(?!nonroot\b|user\b)[a-z]|(?<![\w.~-])/root/|(?<![\w.~-])/work/")
#: Where packages come from is the user's configuration, not ours.
_REGISTRY = re.compile(r"--?(?:extra-)?index-url|(?:files\.)?pythonhosted\.org|proxy\.golang\.org|\bpypi\.org|GOPROXY=")
_TARGET = re.compile(r"^([a-z][a-z0-9-]*):", re.MULTILINE)
_CALLED = re.compile(r"(?:^|[`\s])make ((?:[a-z][a-z0-9-]*[ \t]*)+)", re.MULTILINE)
_LOCKED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_path_of_somebodys_machine(root: Path, tracked: list[Path]) -> None:
    own = Path(__file__).resolve()
    found = {str(path.relative_to(root)) for path in tracked if path != own and _HOME.search(_text(path))}
    assert found == set()


def test_no_name_of_a_registry(root: Path, tracked: list[Path]) -> None:
    own = Path(__file__).resolve()
    found = {str(path.relative_to(root)) for path in tracked if path != own and _REGISTRY.search(_text(path))}
    assert found == set()


def test_lock_holds_exact_versions_and_nothing_else(root: Path) -> None:
    lines = [line for line in _text(root / "constraints.txt").splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not _LOCKED.fullmatch(line)] == []
    names = [_canonical(line.split("==")[0]) for line in lines]
    assert len(names) == len(set(names))


def test_lock_covers_what_is_asked_for(root: Path) -> None:
    locked = {_canonical(line.split("==")[0]) for line in _text(root / "constraints.txt").splitlines() if "==" in line}
    asked = set(_text(root / "hack/requirements-dev.txt").split())
    for project in [*root.glob("packages/*/pyproject.toml"), root / "e2e/pyproject.toml"]:
        parsed = tomllib.loads(_text(project))
        asked |= set(parsed["project"]["dependencies"]) | set(parsed["build-system"]["requires"])
    missing = {name for item in asked if (name := _canonical(re.split(r"[<>=!~ \[;]", item)[0])) not in locked}
    assert {name for name in missing if not name.startswith("kubelb-")} == set()


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_generated_crds_are_current(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, root / "hack/gen_crds.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("place", ["README.md", ".ci/run", "docs/*.md"])
def test_make_targets_that_are_named_exist(root: Path, place: str) -> None:
    targets = set(_TARGET.findall(_text(root / "Makefile")))
    called: set[str] = set()
    for path in root.glob(place):
        code = "\n".join(_code(path))
        called |= {word for words in _CALLED.findall(code) for word in words.split()}
    assert called, "a pattern that finds nothing tests nothing"
    assert called - targets == set()


def _code(path: Path) -> Iterator[str]:
    """What is code in a file: blocks and `spans` of Markdown, all of a script."""
    text = _text(path)
    if path.suffix != ".md":
        yield from (line for line in text.splitlines() if not line.lstrip().startswith(("#", "echo")))
        return
    for block in re.findall(r"```(?:sh|console|)\n(.*?)```", text, re.DOTALL):
        yield from (line.split("#")[0] for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def test_every_target_is_explained(root: Path) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=root, capture_output=True, text=True, check=True
    )
    shown = {re.sub(r"\x1b\[\d*m", "", line).split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert shown == set(_TARGET.findall(_text(root / "Makefile")))


def test_links_between_documents_lead_somewhere(root: Path) -> None:
    dead = [
        f"{path.relative_to(root)}: {link}"
        for path in [root / "README.md", *root.glob("docs/**/*.md")]
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", _text(path))
        if not (path.parent / link).exists()
    ]
    assert dead == []


def test_files_and_tests_that_documents_name_exist(root: Path) -> None:
    dead = [
        f"{path.relative_to(root)}: {name}"
        for path in [root / "README.md", *root.glob("docs/**/*.md")]
        for name in re.findall(r"`((?:packages|e2e|hack|docs)/[\w./-]+)`", _text(path))
        if not (root / name).exists()
    ]
    assert dead == []


def test_every_module_says_what_it_is(root: Path) -> None:
    silent = [
        str(path.relative_to(root))
        for source in ("packages/*/src", "e2e/src", "e2e/bench", "hack")
        for path in root.glob(f"{source}/**/*.py")
        if not ast.get_docstring(ast.parse(_text(path)))
    ]
    assert silent == []


def _manifests(root: Path) -> list[tuple[str, dict[str, Any]]]:
    return [
        (str(path.relative_to(root)), item)
        for path in sorted(root.glob("packages/*/deploy/*.yaml"))
        for item in yaml.safe_load_all(_text(path))
    ]


def test_deploy_manifests_are_objects_in_a_namespace_of_theirs(root: Path) -> None:
    found = _manifests(root)
    assert {place.split("/")[1] for place, _ in found} == {"ccm", "manager"}
    for place, item in found:
        assert item["apiVersion"], place
        assert item["kind"], place
        assert item["metadata"]["name"], place


def test_images_of_the_manifests_are_in_the_testbeds_catalogue(root: Path) -> None:
    catalogue = yaml.safe_load(_text(root / "e2e/images.yaml"))
    images = {
        container["image"]
        for _, item in _manifests(root)
        if item["kind"] == "Deployment"
        for container in item["spec"]["template"]["spec"]["containers"]
    }
    assert len(images) == 2
    assert images <= set(catalogue)


def test_images_carry_the_packages_version(root: Path) -> None:
    projects = [*root.glob("packages/*/pyproject.toml"), root / "e2e/pyproject.toml"]
    versions = {tomllib.loads(_text(project))["project"]["version"] for project in projects}
    assert len(versions) == 1
    for place, item in _manifests(root):
        if item["kind"] == "Deployment":
            (container,) = item["spec"]["template"]["spec"]["containers"]
            assert container["image"].rpartition(":")[2] in versions, place
