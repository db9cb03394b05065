"""One list of images: what `local` runs as a process is what the Dockerfile of that name puts into an image."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from dockerfiles import CATALOGUE, Dockerfile

from kubelb_e2e import catalogue
from kubelb_e2e.catalogue import PROJECT, CatalogueError
from kubelb_e2e.scenario import ECHO_IMAGE
from kubelb_manager.options import Options


def _plain(word: str) -> str:
    """A word of a command line without where things are: programs and files by their name."""
    return {"{python}": "python3"}.get(word) or word.rpartition("/")[2]


def _environment(dockerfile: Dockerfile) -> dict[str, str]:
    return dict(word.split("=", 1) for line in dockerfile.last("ENV") for word in line.split())


def test_every_image_has_a_dockerfile_and_every_dockerfile_an_image() -> None:
    named = {str(entry["build"]) for entry in CATALOGUE.values()}
    found = {
        str(path.relative_to(PROJECT))
        for pattern in ("packages/*/deploy/*Dockerfile", "e2e/images/*")
        for path in PROJECT.glob(pattern)
    }
    assert named == found
    assert len(named) == len(CATALOGUE)


def test_the_entry_point_is_the_command(image: str, dockerfile: Dockerfile) -> None:
    command = [str(word) for word in CATALOGUE[image]["command"]]
    (entry,) = dockerfile.last("ENTRYPOINT")
    assert [_plain(word) for word in json.loads(entry)] == [_plain(word) for word in command]
    assert "args" not in CATALOGUE[image], "say it in the Dockerfile's CMD, then compare it here"
    assert dockerfile.last("CMD") == []


def test_the_environment_is_the_same(image: str, dockerfile: Dockerfile) -> None:
    wanted = dict(CATALOGUE[image].get("env") or {})
    assert wanted.items() <= _environment(dockerfile).items()


def test_labels_say_name_version_and_licence(image: str, dockerfile: Dockerfile) -> None:
    name, _, tag = image.partition(":")
    (labels,) = dockerfile.last("LABEL")
    found = dict(re.findall(r'org\.opencontainers\.image\.(\w+)=("[^"]+"|\S+)', labels))
    assert found["title"] == name.replace("/", "-")
    assert found["version"] == tag
    assert "Apache-2.0" in found["licenses"]


def test_names_that_others_use_are_in_the_catalogue() -> None:
    assert ECHO_IMAGE in CATALOGUE
    assert Options().envoy_image in CATALOGUE


def test_envoys_tag_is_the_version_that_is_installed() -> None:
    (version,) = re.findall(r'^ENVOY_VERSION = "(.+)"$', (PROJECT / "hack/toolchain.py").read_text(), re.MULTILINE)
    assert Options().envoy_image.rpartition(":")[2] == version


def test_a_build_file_is_read_from_the_catalogue_and_an_extra_image_may_have_none(tmp_path: Path) -> None:
    extra = tmp_path / "images.yaml"
    extra.write_text(
        "own/tool:1: {command: [/bin/true]}\nkubelb/echo:0.1.0: {command: [/bin/true], build: x/Dockerfile}\n"
    )
    found = catalogue.load(extra)
    assert found["own/tool:1"].build is None
    assert found["kubelb/echo:0.1.0"].build == Path("x/Dockerfile")
    assert found["kubelb/ccm:0.1.0"].build == Path("packages/ccm/deploy/Dockerfile")


def test_an_unknown_field_is_told(tmp_path: Path) -> None:
    extra = tmp_path / "images.yaml"
    extra.write_text("own/tool:1: {command: [/bin/true], built: x/Dockerfile}\n")
    with pytest.raises(CatalogueError, match=r"own/tool:1.*unknown fields \['built'\]"):
        catalogue.load(extra)
