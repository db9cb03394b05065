"""Settings as files: `testdata/settings`.

* `kind: Matrix`: rows of fields; out comes the value in force for each way of setting it.
* `kind: Annotations`: choices for each setting; out comes what passes for every combination of them.
* `kind: Faults`: specs that a schema lets pass; out comes what is wrong with each.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kubelb_common.api.config import ConfigSpec
from kubelb_common.api.record import Record, fields
from kubelb_common.api.tenant import TenantSpec
from kubelb_common.testing import golden
from kubelb_manager.settings.annotations import annotation_policy
from kubelb_manager.settings.faults import faults
from kubelb_manager.settings.merged import envoy, hub, merged, topology

TESTDATA = Path(__file__).parents[1] / "testdata" / "settings"
DOCS = Path(__file__).parents[4] / "docs" / "settings.md"
UNSET = object()


def spec(path: str, value: Any) -> dict[str, Any]:
    """Return an object whose spec holds `value` at a dotted path, or nothing."""
    if value is UNSET:
        return {"spec": {}}
    for step in reversed(path.split(".")):
        value = {step: value}
    return {"spec": value}


def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, timedelta):
        return value.total_seconds()
    return {key: plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def in_force(row: Mapping[str, Any], config: Any, tenant: Any) -> Any:
    room, _, attribute = row["reads"].partition(".")
    path = row["field"]
    objects = spec(path, config), spec(path, tenant)
    rooms = {"settings": merged, "envoy": envoy, "hub": lambda config, _tenant: hub(config), "topology": topology}
    value: Any = rooms[room](*objects)
    for step in filter(None, attribute.split(".")):
        value = getattr(value, step)
    return plain(value)


def matrix(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value in force of every field in every cell."""
    out: dict[str, Any] = {}
    for row in document["fields"]:
        config, tenant, empty = row["config"], row.get("tenant", UNSET), row["empty"]
        cells = {"unset": (UNSET, UNSET), "Config": (config, UNSET), "Config empty": (empty, UNSET)}
        if tenant is not UNSET:
            cells |= {
                "Tenant": (UNSET, tenant),
                "both": (config, tenant),
                "Config, Tenant empty": (config, empty),
                "Config empty, Tenant": (empty, tenant),
            }
        out[row["field"]] = {cell: in_force(row, *values) for cell, values in cells.items()}
    return out


def combinations(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return, for every combination of choices and each resource, what passes of the same annotations."""
    out: dict[str, Any] = {}
    axes = document["choices"]
    for picked in itertools.product(*(axes[name] for name in axes)):
        config: dict[str, Any] = {}
        for choice in picked:
            config |= axes_value(axes, choice)
        hosts = tuple(config.pop("hosts", ()))
        policy = annotation_policy(config, {}, hosts)
        given = copy.deepcopy(document["annotations"])
        for resource in document["resources"]:
            passed = policy.apply(resource, given)
            out[f"{', '.join(picked)} -> {resource}"] = ", ".join(f"{key}={value}" for key, value in passed.items())
        assert given == document["annotations"], "the source's annotations are not ours to change"
    return out


def axes_value(axes: Mapping[str, Any], choice: str) -> dict[str, Any]:
    return next(dict(values[choice]) for values in axes.values() if choice in values)


def wrong(documents: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {
        case["case"]: [str(fault) for fault in faults(case["spec"])] for item in documents for case in item["cases"]
    }


def rendered(documents: list[dict[str, Any]]) -> Any:
    if documents[0]["kind"] == "Matrix":
        return matrix(documents[0])
    return combinations(documents[0]) if documents[0]["kind"] == "Annotations" else wrong(documents)


@pytest.mark.parametrize("case", golden.cases(TESTDATA), ids=str)
def test_golden(case: golden.Case, update_golden: bool) -> None:
    case.check({"out": rendered(case.documents())}, update=update_golden)


def test_no_orphans(update_golden: bool) -> None:
    golden.check_orphans(TESTDATA, update=update_golden)


def leaves(cls: type[Record], path: str = "") -> Iterator[str]:
    """Yield the dotted paths of all fields that hold a value."""
    for field in fields(cls):
        where = f"{path}.{field.json}" if path else field.json
        nested = getattr(field.codec, "inner", field.codec)
        record = getattr(nested, "record", None)
        if record is None or where.endswith("defaultGateway"):
            yield where
        else:
            yield from leaves(record, where)


def documented(heading: str) -> set[str]:
    """Return the fields in the table below a heading of docs/settings.md."""
    text = DOCS.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert text, f"docs/settings.md has no section {heading!r}"
    return {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}


@pytest.mark.parametrize("kind", [ConfigSpec, TenantSpec])
def test_every_field_is_documented(kind: type[Record]) -> None:
    """A field is in force, or the docs say that it is not and why."""
    known = documented("Fields") | documented("Without effect today")
    assert sorted(set(leaves(kind)) - known) == []


def test_the_docs_name_no_other_fields() -> None:
    real = {*leaves(ConfigSpec), *leaves(TenantSpec)}
    assert sorted((documented("Fields") | documented("Without effect today")) - real) == []


def test_fields_of_the_matrix_are_said_to_have_an_effect() -> None:
    """Every field with an effect has its row in the matrix: the four annotation settings are judged there too."""
    rows = {row["field"] for row in golden.Case(TESTDATA, "matrix").document()["fields"]}
    assert sorted(rows ^ documented("Fields")) == []
