"""The shipped CRDs: up to date, complete, and what the original's clients count on."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelb_common.api import KINDS
from kubelb_common.api.crd_schema import build, crds

ROOT = Path(__file__).parents[4]
GEN_CRDS = runpy.run_path(str(ROOT / "hack" / "gen_crds.py"))


def test_the_files_are_what_the_records_describe() -> None:
    assert {item["spec"]["names"]["plural"]: item for item in crds()} == build()
    assert GEN_CRDS["stale"](GEN_CRDS["FOLDER"]) == {}


def test_check_finds_and_writing_repairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main, folder = GEN_CRDS["main"], ["--folder", str(tmp_path)]
    assert main(folder) == 0
    assert main([*folder, "--check"]) == 0
    (tmp_path / "routes.yaml").write_text("kind: X\n")
    (tmp_path / "old.yaml").write_text("kind: X\n")
    assert main([*folder, "--check"]) == 1
    assert "routes.yaml" in capsys.readouterr().err
    assert main(folder) == 0
    assert main([*folder, "--check"]) == 0
    assert not (tmp_path / "old.yaml").exists()


def test_names_scopes_and_status_are_those_of_the_original() -> None:
    served = {
        item["spec"]["names"]["kind"]: (
            item["spec"]["names"]["plural"],
            item["spec"]["scope"],
            item["spec"]["names"].get("shortNames", []),
        )
        for item in crds()
    }
    assert served == {
        "Addresses": ("addresses", "Namespaced", []),
        "Config": ("configs", "Namespaced", []),
        "LoadBalancer": ("loadbalancers", "Namespaced", ["lb"]),
        "Route": ("routes", "Namespaced", []),
        "SyncSecret": ("syncsecrets", "Namespaced", []),
        "Tenant": ("tenants", "Cluster", []),
        "TenantState": ("tenantstates", "Namespaced", []),
    }
    assert all(item["spec"]["versions"][0]["subresources"] == {"status": {}} for item in crds())


def test_columns_are_those_of_the_original_first() -> None:
    columns = {
        item["spec"]["names"]["kind"]: [
            column["name"] for column in item["spec"]["versions"][0].get("additionalPrinterColumns", [])
        ]
        for item in crds()
    }
    assert columns["LoadBalancer"][:3] == ["OriginName", "OriginNamespace", "Hostname"]
    assert columns["Route"][:3] == ["OriginName", "OriginNamespace", "OriginResource"]
    assert columns["Config"] == ["Edition", "Version"]
    assert columns["Tenant"] == ["Phase", "Age"]
    assert columns["SyncSecret"] == ["Type", "Phase", "Age"]
    assert columns["TenantState"] == ["Edition"]


def test_leaving_the_topology_shared_is_not_forbidden() -> None:
    config = next(item for item in crds() if item["spec"]["names"]["kind"] == "Config")
    assert not any("oldSelf" in rule["rule"] for rule in _rules(config))


def test_every_field_is_described() -> None:
    missing = [
        f"{kind.__name__}.{path}"
        for kind in KINDS
        for path, schema in _properties(build()[kind.info.plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        if "description" not in schema and path != "metadata"
    ]
    undocumented_core = ("resources.", "tolerations.", "resource.apiVersion", "resource.kind")
    assert [path for path in missing if not any(part in path for part in undocumented_core)] == []


def _properties(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, below in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, below
        yield from _properties(below, here)
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield from _properties(schema[inner], path)


def _rules(value: Any) -> Iterator[dict[str, str]]:
    if isinstance(value, dict):
        yield from value.get("x-kubernetes-validations", [])
        for below in value.values():
            yield from _rules(below)
    elif isinstance(value, list):
        for below in value:
            yield from _rules(below)
