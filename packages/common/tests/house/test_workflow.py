"""The CI matrix calls make targets that exist, with variables the Makefile knows, on versions that we promise."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

#: `make`, then targets and variables; an expression of the matrix counts as one word.
_CALL = re.compile(r"make(?: (?:[a-z][a-z0-9-]*|[A-Z][A-Z0-9_]*=[\w./:@-]+))+")
_TARGET = re.compile(r"^([a-z][a-z0-9-]*):", re.MULTILINE)
_EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
_PINNED = re.compile(r"(actions/(?:checkout|setup-python|setup-go|cache|upload-artifact))@v\d+\.\d+\.\d+")
_NODE_IMAGE = re.compile(r"kindest/node:v(1\.\d+)\.\d+@sha256:[0-9a-f]{64}")
_JOBS = {"control-plane", "unit", "lint", "wheels", "local", "kind"}


@pytest.fixture(scope="module")
def workflow(root: Path) -> dict[Any, Any]:
    """The workflow; YAML 1.1 reads its key `on` as True."""
    found: dict[Any, Any] = yaml.safe_load((root / ".github/workflows/ci.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def makefile(root: Path) -> str:
    """The Makefile's text."""
    return (root / "Makefile").read_text()


def _steps(root: Path, steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield steps, and instead of an action of ours the steps that it consists of."""
    for step in steps:
        if str(step.get("uses", "")).startswith("./"):
            action = yaml.safe_load((root / step["uses"] / "action.yaml").read_text())
            given = set(step.get("with", {}))
            assert given <= set(action["inputs"]), f"{step['uses']} has no inputs {given - set(action['inputs'])}"
            yield from _steps(root, action["runs"]["steps"])
        else:
            yield step


def _matrix(job: dict[str, Any]) -> list[dict[str, str]]:
    """Return the combinations of a matrix of one dimension, or of includes only."""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    combinations: list[dict[str, str]] = matrix.pop("include", [])
    assert len(matrix) + bool(combinations) <= 1, "this test reads no such matrix"
    for name, values in matrix.items():
        combinations = [{name: value} for value in values]
    return combinations or [{}]


def _calls(root: Path, workflow: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield each job's lines to run, once for each combination of its matrix."""
    for name, job in workflow["jobs"].items():
        for values in _matrix(job):
            for step in _steps(root, job["steps"]):
                for line in str(step.get("run", "")).splitlines():
                    yield name, _EXPRESSION.sub(lambda found, values=values: values[found[1].split(".")[1]], line)


def _minors(workflow: dict[Any, Any]) -> list[str]:
    return [values["kubernetes"] for values in _matrix(workflow["jobs"]["kind"])]


def _words(line: str) -> tuple[set[str], set[str]]:
    """Return the targets and the variables' names of a call of make."""
    words = line.split()[1:]
    return {word for word in words if "=" not in word}, {word.split("=")[0] for word in words if "=" in word}


def test_every_command_is_a_call_of_make(root: Path, workflow: dict[Any, Any]) -> None:
    calls = list(_calls(root, workflow))
    assert {name for name, _ in calls} == _JOBS
    assert [(name, line) for name, line in calls if not _CALL.fullmatch(line)] == []


def test_every_target_and_variable_exists(root: Path, workflow: dict[Any, Any], makefile: str) -> None:
    targets = set(_TARGET.findall(makefile))
    known = set(re.findall(r"\$\(([A-Z][A-Z0-9_]*)\)", makefile))
    for name, line in _calls(root, workflow):
        called, given = _words(line)
        assert called - targets == set(), f"{name}: the Makefile has no such target"
        assert given - known == set(), f"{name}: the Makefile never reads such a variable"


def test_nothing_is_left_out(root: Path, workflow: dict[Any, Any]) -> None:
    called: dict[str, set[str]] = {}
    for name, line in _calls(root, workflow):
        called.setdefault(name, set()).update(_words(line)[0])
    assert called["unit"] == {"test"}
    assert called["lint"] == {"lint", "types", "imports", "verify"}
    assert called["wheels"] == {"wheels-check"}
    assert "e2e" in called["local"]
    kind = [line for name, line in _calls(root, workflow) if name == "kind" and "e2e" in _words(line)[0]]
    assert len(kind) == len(_matrix(workflow["jobs"]["kind"]))
    assert all(
        {"PROVIDER=kind", f"KUBERNETES={minor}"} <= set(line.split())
        for line, minor in zip(kind, _minors(workflow), strict=True)
    )


def test_python_from_the_oldest_promised_on(root: Path, workflow: dict[Any, Any]) -> None:
    minors = [int(values["python"].removeprefix("3.")) for values in _matrix(workflow["jobs"]["unit"])]
    assert minors == list(range(minors[0], minors[-1] + 1)), "without gaps"
    for project in [*root.glob("packages/*/pyproject.toml"), root / "e2e/pyproject.toml"]:
        promised = tomllib.loads(project.read_text())["project"]["requires-python"]
        assert promised == f">=3.{minors[0]}" == ">=3.11", project
    wheels = {values["python"] for values in _matrix(workflow["jobs"]["wheels"])}
    assert wheels == {f"3.{minors[0]}", f"3.{minors[-1]}"}
    (default,) = re.findall(r'default: "3\.(\d+)"', (root / ".github/actions/prepare/action.yaml").read_text())
    assert int(default) == minors[-1]


def test_three_kubernetes_minors_by_digest(root: Path, workflow: dict[Any, Any]) -> None:
    settings = yaml.safe_load((root / "e2e/config.yaml").read_text())["kind"]
    minors = _minors(workflow)
    assert len(minors) >= 3
    assert sorted(minors) == sorted(settings["images"]), "all that the harness knows an image of"
    for minor, name in settings["images"].items():
        image = _NODE_IMAGE.fullmatch(name)
        assert image is not None, name
        assert image[1] == minor
    digests = {name.rpartition(":")[2] for name in settings["images"].values()}
    assert len(digests) == len(minors), "each image once"
    (built,) = re.findall(r"=> k8s\.io/client-go v0\.(\d+)\.", (root / "hack/control-plane/go.mod").read_text())
    assert f"1.{built}" == settings["kubernetes"], "that of the local testbed, unless another is asked for"


def test_actions_are_pinned(root: Path, workflow: dict[Any, Any]) -> None:
    used = [step["uses"] for job in workflow["jobs"].values() for step in _steps(root, job["steps"]) if "uses" in step]
    assert used
    assert [action for action in used if not _PINNED.fullmatch(action)] == []
    versions = {action.partition("@")[0]: set() for action in used}
    for action in used:
        versions[action.partition("@")[0]].add(action)
    assert [found for found in versions.values() if len(found) > 1] == [], "one version of each"


def test_jobs_may_little_and_end(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert "github.ref" in workflow["concurrency"]["group"]
    for name, job in workflow["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 60, name
        assert "permissions" not in job, name
        assert "continue-on-error" not in str(job), name
        needed = job.get("needs", [])
        assert set([needed] if isinstance(needed, str) else needed) <= set(workflow["jobs"]), name
        checkout, *_ = job["steps"]
        assert checkout["uses"].startswith("actions/checkout@"), name
        assert checkout["with"] == {"persist-credentials": False}, name


def test_scenarios_that_failed_leave_their_artifacts(root: Path, workflow: dict[Any, Any]) -> None:
    names = set()
    for job in ("local", "kind"):
        last = workflow["jobs"][job]["steps"][-1]
        assert last["uses"].startswith("actions/upload-artifact@")
        assert last["if"] == "failure()"
        assert last["with"]["path"] == "artifacts/"
        names.add(last["with"]["name"])
    assert len(names) == 2


def test_built_binaries_are_kept_by_what_they_are_built_from(root: Path, workflow: dict[Any, Any]) -> None:
    caches = [
        step["with"]
        for step in _steps(root, workflow["jobs"]["control-plane"]["steps"])
        if step.get("uses", "").startswith("actions/cache@")
    ]
    (cache,) = caches
    assert cache["path"] == "~/.cache/kubelb-testbed"
    (pattern,) = re.findall(r"hashFiles\('([^']+)'\)", cache["key"])
    assert root / "hack/control-plane/go.sum" in root.glob(pattern)
