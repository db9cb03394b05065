"""The harness's configuration is read strictly: what is wrong is one line that names file, field and expectation."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kubelb_e2e import config
from kubelb_e2e.errors import LabError


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("images", None, "kind.images is None: expected a mapping"),
        ("node_mebibytes", "900", "kind.node_mebibytes is '900': expected a whole number"),
        ("node_mebibytes", True, "kind.node_mebibytes is True: expected a whole number"),
        ("kubernetes", 1.36, "kind.kubernetes is 1.36: expected a text"),
    ],
)
def test_a_value_of_another_kind_is_named(tmp_path: Path, field: str, value: object, expected: str) -> None:
    raw = yaml.safe_load(config.CONFIG.read_text())
    raw["kind"][field] = value
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(LabError) as caught:
        config.kind(path)
    assert str(caught.value) == f"{path}: {expected}"


def test_an_unknown_or_missing_field_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("kind: {kind: ''}")
    with pytest.raises(LabError, match="expected kind: with exactly addresses, "):
        config.kind(path)


def test_a_file_that_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: [\nb: {")
    with pytest.raises(LabError) as caught:
        config.suite(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_file_of_the_project_is_right() -> None:
    assert set(config.suite().nodes) >= {"local", "kind"}
    assert config.kind().image(None) == config.kind().images[config.kind().kubernetes]
    assert config.intervals()["served"][0] > 0
