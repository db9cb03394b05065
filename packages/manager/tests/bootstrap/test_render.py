"""Each set of options in `testdata/bootstrap` becomes the files beside it, and the real Envoy starts with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kubelb_common import pki
from kubelb_common.testing import golden
from kubelb_manager.bootstrap.render import BootstrapOptions, OverloadLimits, TlsFiles, files, render

FOLDER = Path(__file__).parents[1] / "testdata" / "bootstrap"
ROOT = Path(__file__).parents[4]
CASES = golden.cases(FOLDER)


def read_options(raw: dict[str, Any]) -> BootstrapOptions:
    tls = raw.pop("tls", {})
    overload = raw.pop("overload", None)
    return BootstrapOptions(
        tls=None if tls is None else TlsFiles(**tls),
        overload=None if overload is None else OverloadLimits(**overload),
        **raw,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_options_to_files(case: golden.Case, update_golden: bool) -> None:
    made = files(read_options(case.document()))
    case.check({name.removesuffix(".json"): json.loads(text) for name, text in made.items()}, update=update_golden)


def test_no_orphans(update_golden: bool) -> None:
    golden.check_orphans(FOLDER, update=update_golden)


def test_the_same_options_are_the_same_text() -> None:
    assert render(BootstrapOptions()) == render(BootstrapOptions()) == files(BootstrapOptions())["envoy.json"]


@pytest.mark.real_envoy
@pytest.mark.parametrize("case", CASES, ids=str)
def test_envoy_accepts(case: golden.Case, tmp_path: Path) -> None:
    found = (os.environ.get("ENVOY"), str(ROOT / ".tools/envoy/envoy/_bin/envoy"), shutil.which("envoy"))
    binary = next((each for each in found if each and os.access(each, os.X_OK)), None)
    if binary is None:
        pytest.fail("no Envoy: set ENVOY or run `make setup`")
    raw = case.document()
    if raw.get("tls", {}) is not None:
        raw["tls"] = raw.get("tls", {}) | {"directory": str(tmp_path)}
        if raw["tls"].get("sds_directory"):
            raw["tls"]["sds_directory"] = str(tmp_path)
    now = datetime.now(UTC)
    ca = pki.create_ca("xds", now=now)
    leaf = pki.issue(ca, "envoy", now=now, lifetime=timedelta(hours=1))
    secret = {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem, "ca.crt": ca.cert_pem}
    for name, data in secret.items():
        (tmp_path / name).write_bytes(data)
    for name, text in files(read_options(raw)).items():
        (tmp_path / name).write_text(text)
    arguments = [binary, "--mode", "validate", "-c", str(tmp_path / "envoy.json"), "--service-node", "a/b/c"]
    arguments += ["--service-cluster", "a/b", "-l", "warning", "--use-dynamic-base-id"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deprecated" not in done.stdout + done.stderr
