"""Where the last lines of a log begin; what an image name stands for."""

from __future__ import annotations

import pytest

from kubelb_e2e import catalogue
from kubelb_e2e.clusters.local.agent import server


@pytest.mark.parametrize(
    ("text", "lines", "tail"),
    [
        (b"a\nb\nc\n", 1, b"c\n"),
        (b"a\nb\nc", 1, b"c"),
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\n", 9, b"a\nb\n"),
        (b"a\n\n\n", 2, b"\n\n"),
        (b"a\n", 0, b""),
        (b"", 3, b""),
        (b"x" * 70000 + b"\n" + b"y" * 70000 + b"\n", 1, b"y" * 70000 + b"\n"),
        (b"z" * 65535 + b"\n" + b"y" * 65535 + b"\n", 1, b"y" * 65535 + b"\n"),
    ],
)
def test_tail(tmp_path, text, lines, tail):
    path = tmp_path / "log"
    path.write_bytes(text)
    assert text[server.tail_offset(path, lines) :] == tail


def test_built_in_catalogue_and_names():
    found = catalogue.load()
    assert catalogue.find(found, "kubelb/echo:0.1.0").command[-1].endswith("apps/echo.py")
    assert catalogue.find(found, "quay.io/kubelb/echo:0.1.0@sha256:abc") is not None
    assert catalogue.find(found, "nginx") is None


@pytest.mark.parametrize("text", ["- a", "x: {args: [a]}", "x: {command: sh}", "x: {command: [sh], cmd: [a]}", "x: ["])
def test_a_bad_catalogue_is_told(tmp_path, text):
    path = tmp_path / "images.yaml"
    path.write_text(text)
    with pytest.raises(catalogue.CatalogueError, match=r"images\.yaml"):
        catalogue.load(path)
