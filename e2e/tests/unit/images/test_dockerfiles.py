"""What every Dockerfile keeps to: made here from what is in folders, and nothing in the image but the program."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

import dockerfiles
import pytest
from dockerfiles import CATALOGUE, Dockerfile

from kubelb_e2e.catalogue import PROJECT
from kubelb_e2e.images import base, build

#: The one program of the build stage; it fetches nothing.
_STEP = r"python3 /build/layer\.py [a-z]+( [\w./-]+)+"
_WITH_PYTHON = [name for name in CATALOGUE if "layer.py python " in str(dockerfiles.of(name))]
_AGENTS = [name for name in CATALOGUE if name.startswith(("kubelb/manager", "kubelb/ccm"))]


def test_it_begins_with_the_base_that_the_builder_knows(dockerfile: Dockerfile) -> None:
    assert dockerfile.arguments == (("ARG", f"BASE={base.DEFAULT}"),)
    assert [stage[0] for stage in dockerfile.stages] == [("FROM", "${BASE} AS build"), ("FROM", "scratch")]


def test_the_image_is_what_the_build_stage_made_and_not_roots(dockerfile: Dockerfile) -> None:
    words = [word for word, _ in dockerfile.stages[-1]]
    assert set(words) <= {"FROM", "LABEL", "COPY", "ENV", "USER", "ENTRYPOINT"}
    assert all(re.fullmatch(r"--from=build /\w+/ /", copied) for copied in dockerfile.last("COPY"))
    assert dockerfile.last("USER") == ["65532:65532"]
    assert len(dockerfile.last("ENTRYPOINT")) == 1


def test_the_build_stage_runs_the_projects_script_and_nothing_else(dockerfile: Dockerfile) -> None:
    stage = dockerfile.stages[0]
    assert {word for word, _ in stage} == {"FROM", "COPY", "RUN"}
    steps = [step for word, line in stage if word == "RUN" for step in line.split(" && ")]
    assert [step for step in steps if not re.fullmatch(_STEP, step)] == []
    assert steps[-1].split()[2] in {"finish", "check"}


def test_layers_are_finished_upon_those_below(dockerfile: Dockerfile) -> None:
    """The order of `finish LAYER BELOW...` is the order in which the image stacks them."""
    stacked = [line.split()[1].strip("/") for line in dockerfile.last("COPY")]
    finished = re.findall(r"layer\.py finish ((?:/\w+ ?)+)", str(dockerfile.stages[0]))
    assert [line.replace("/", "").split() for line in finished] == [
        [layer, *reversed(stacked[:index])] for index, layer in enumerate(stacked)
    ]


@pytest.mark.parametrize("image", _WITH_PYTHON[1:])
def test_images_with_python_share_its_layer(image: str) -> None:
    """Equal first steps are one step in Docker's cache, and one layer on every node."""
    first, other = dockerfiles.of(_WITH_PYTHON[0]), dockerfiles.of(image)
    assert other.stages[0][:3] == first.stages[0][:3]
    assert "finish /runtime" in other.stages[0][2][1]
    assert other.last("COPY")[0] == first.last("COPY")[0] == "--from=build /runtime/ /"


def test_all_but_one_image_have_no_shell() -> None:
    with_programs = [name for name in CATALOGUE if "layer.py program" in str(dockerfiles.of(name))]
    assert [name.partition(":")[0] for name in with_programs] == ["kubelb/tools"]


def test_agents_differ_in_their_names_only() -> None:
    texts = set()
    for image in _AGENTS:
        own = image.partition("/")[2].partition(":")[0]
        assert json.loads(dockerfiles.of(image).last("ENTRYPOINT")[0]) == [f"/app/bin/kubelb-{own}"]
        texts.add(str(dockerfiles.of(image)).replace(own, "AGENT"))
    assert len(_AGENTS) == 2
    assert len(texts) == 1


def _let_through() -> list[str]:
    ignored = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignored[0] == "*", "nothing goes into the context but what is named"
    assert all(line.startswith("!") for line in ignored[1:])
    return [line[1:] for line in ignored[1:]]


def _copied(path: Path) -> set[str]:
    """Return one file for each thing that a Dockerfile copies from the context."""
    return {f"{name}some.whl" if name.endswith("/") else name.replace("*", "some") for name in build.sources(path)}


def test_the_context_is_what_is_copied_and_no_more() -> None:
    needed = {file for entry in CATALOGUE.values() for file in _copied(PROJECT / entry["build"])}
    patterns = _let_through()
    refused = {file for file in needed if not any(fnmatch.fnmatch(file, pattern) for pattern in patterns)}
    assert refused == set()
    unused = {pattern for pattern in patterns if not any(fnmatch.fnmatch(file, pattern) for file in needed)}
    assert unused == set()


def test_only_the_last_part_of_a_pattern_is_open() -> None:
    """The old builder looks into a folder that is left out only if a pattern names the folder in full."""
    assert [pattern for pattern in _let_through() if "*" in pattern.rpartition("/")[0]] == []


def test_files_that_are_in_git_are_where_the_dockerfiles_look(dockerfile: Dockerfile, image: str) -> None:
    made = (".tools/", "dist/")
    kept = [name for name in build.sources(PROJECT / CATALOGUE[image]["build"]) if not name.startswith(made)]
    assert kept
    assert [name for name in kept if not list(PROJECT.glob(name))] == []
