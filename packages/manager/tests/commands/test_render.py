"""`kubelb-manager render`: files in, files out (`testdata/render`), and what it says of files that are none."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from manager_program import invoke

from kubelb_common.testing import golden

TESTDATA = Path(__file__).parents[1] / "testdata" / "render"
FORMS = ("conditions", "ir", "kubernetes", "xds")
RESOLVE = ("--resolve", "db.example.com=192.0.2.7", "--resolve", "evil.example.com=127.0.0.1")


def rendered(path: Path, form: str) -> str:
    result = invoke("render", str(path), "--to", form, *RESOLVE)
    assert result.exit_code == 0, result.output
    return result.stdout


def shown(path: Path, form: str) -> Any:
    """Return a document for a golden; what other goldens hold in full (messages, pods) is left to them."""
    found = yaml.safe_load(rendered(path, form))
    for item in found.get("items", ()):
        if item["kind"] in ("Deployment", "DaemonSet"):
            item["spec"] = sorted(item["spec"])
            item["metadata"]["annotations"] = sorted(item["metadata"].get("annotations", ()))
    if form == "xds":
        for fleet in found["fleets"]:
            named = {
                kind: [each.get("name", each.get("cluster_name")) for each in fleet[kind]] for kind in sorted(fleet)[:4]
            }
            fleet.update(named)
    return found


@pytest.mark.parametrize("case", golden.cases(TESTDATA), ids=str)
def test_golden(case: golden.Case, update_golden: bool) -> None:
    case.check({form: shown(case.input, form) for form in FORMS}, update=update_golden)


def test_no_orphans(update_golden: bool) -> None:
    golden.check_orphans(TESTDATA, update=update_golden)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", golden.cases(TESTDATA), ids=str)
def test_order_of_input_has_no_influence(case: golden.Case, form: str, tmp_path: Path) -> None:
    documents = case.documents()
    random.Random(7).shuffle(documents)
    shuffled = tmp_path / "shuffled.yaml"
    shuffled.write_text(yaml.safe_dump_all(documents))
    assert rendered(shuffled, form) == rendered(case.input, form)


def test_json_says_the_same_and_several_files_are_one_hub(tmp_path: Path) -> None:
    case = next(case for case in golden.cases(TESTDATA) if case.name == "two_tenants")
    first, second = tmp_path / "a.yaml", tmp_path / "b.json"
    documents = case.documents()
    first.write_text(yaml.safe_dump_all(documents[:2]))
    second.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": documents[2:]}))
    result = invoke("render", str(first), str(second), "--to", "kubernetes", "-o", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == yaml.safe_load(rendered(case.input, "kubernetes"))


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    lonely = tmp_path / "lonely.yaml"
    nodes = "{apiVersion: kubelb.k8c.io/v1alpha1, kind: Addresses, metadata: {name: default, namespace: tenant-shop}, "
    lonely.write_text(nodes + "spec: {addresses: [{ip: 192.0.2.1}]}}\n---\n{kind: Pod, metadata: {name: a}}\n")
    result = invoke("render", str(lonely))
    assert result.stdout == "items: []\n"
    assert result.stderr.splitlines() == [
        f"note: {lonely}, document 2 (Pod a) has no influence",
        "note: no Tenant 'shop' is given: one without settings is assumed",
    ]


BAD = {
    "a: [": "bad.yaml, line",
    "kind: Route\n": "bad.yaml, document 1 (Route): metadata.name: found nothing",
    "just text\n": "bad.yaml, document 1: found no object with a kind",
    "{apiVersion: kubelb.k8c.io/v1alpha1, kind: Toute, metadata: {name: a}}": "(Toute a): kind: found 'Toute', expected",
    "kind: A\nmetadata: {name: a}\n---\n{apiVersion: kubelb.k8c.io/v1alpha1, kind: Route, metadata: {name: r, "
    "namespace: tenant-a}, spec: {endpoints: 7}}": "bad.yaml, document 2 (Route r): spec.endpoints: found",
    "{kind: List, items: [{apiVersion: kubelb.k8c.io/v1alpha1, kind: Addresses, metadata: {name: x}, spec: "
    "{addresses: []}}]}": "bad.yaml, document 1, items[0] (Addresses x): metadata.namespace: found nothing",
    "\n---\n".join(
        ["{apiVersion: kubelb.k8c.io/v1alpha1, kind: Tenant, metadata: {name: a}, spec: {}}"] * 2
    ): "document 2 (Tenant a): is the same object as",
}


@pytest.mark.parametrize("text", BAD)
def test_a_malformed_file_is_told_by_document_and_field(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    result = invoke("render", str(path))
    assert result.exit_code == 1
    assert BAD[text] in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_wrong_usage() -> None:
    assert invoke("render").exit_code == 2
    assert invoke("render", "/nonexistent.yaml").exit_code == 2
    for value in ("db.example.com", "db.example.com=x", "=192.0.2.1", "-=192.0.2.1"):
        result = invoke("render", "-", "--resolve", value)
        assert result.exit_code == 2
        assert "is not NAME=IP" in result.stderr
