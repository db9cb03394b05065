"""Each package installs alone from its wheel, with siblings of exactly its version from the same folder."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.wheels

PACKAGES = ("common", "ccm", "manager")
KINDS = ("addresses", "configs", "loadbalancers", "routes", "syncsecrets", "tenants", "tenantstates")


@pytest.fixture(scope="module")
def dist(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three wheels."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    running = [
        subprocess.Popen([*build, str(root / "packages" / name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for name in PACKAGES
    ]
    for process in running:
        output, _ = process.communicate()
        assert process.returncode == 0, output.decode()
    return folder


def _wheel(dist: Path, name: str) -> Path:
    (found,) = dist.glob(f"kubelb_{name}-*.whl")
    return found


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd)}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def install(root: Path, dist: Path, tmp_path: Path):
    """Install a package into an empty environment; returns its `bin`."""

    def act(name: str) -> Path:
        environment = tmp_path / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
        report = tmp_path / "report.json"
        wheel = _wheel(dist, name)
        command = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet"]
        command += ["--disable-pip-version-check", "--no-compile", "--only-binary=:all:", "--find-links", str(dist)]
        command += ["--constraint", str(root / "constraints.txt"), "--report", str(report), str(wheel)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        installed = json.loads(report.read_text())["install"]
        ours = {item["metadata"]["name"]: item["download_info"]["url"] for item in installed}
        siblings = {key: url for key, url in ours.items() if key.startswith("kubelb")}
        assert set(siblings) == {f"kubelb-{name}", "kubelb-common"}
        assert all(url.startswith(dist.as_uri()) for url in siblings.values())
        return environment / "bin"

    return act


@pytest.mark.parametrize("name", PACKAGES)
def test_wheel_is_typed_and_asks_for_siblings_of_its_version(dist: Path, name: str) -> None:
    with zipfile.ZipFile(_wheel(dist, name)) as wheel:
        files = wheel.namelist()
        (metadata,) = (file for file in files if file.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(wheel.read(metadata).decode())
    assert f"kubelb_{name}/py.typed" in files
    assert not [file for file in files if "/tests/" in file or file.startswith("tests/")]
    siblings = [item for item in headers.get_all("Requires-Dist", []) if item.startswith("kubelb")]
    assert siblings == ([] if name == "common" else [f"kubelb-common=={headers['Version']}"])


def test_common_carries_the_crds(dist: Path) -> None:
    with zipfile.ZipFile(_wheel(dist, "common")) as wheel:
        crds = sorted(file for file in wheel.namelist() if "/crds/" in file)
    assert crds == [f"kubelb_common/api/crds/{plural}.yaml" for plural in KINDS]


def test_common_is_imported_alone(install, tmp_path: Path) -> None:
    programs = install("common")
    modules = "kubelb_common.kube.aio, kubelb_common.runtime.supervisor, kubelb_common.api, kubelb_common.pki"
    assert _run(programs / "python", "-c", f"import {modules}; print('ok')", cwd=tmp_path) == "ok\n"


@pytest.mark.parametrize("name", ["ccm", "manager"])
def test_agent_runs_alone(install, dist: Path, tmp_path: Path, name: str) -> None:
    program = install(name) / f"kubelb-{name}"
    version = _wheel(dist, name).name.split("-")[1]
    assert _run(program, "--version", cwd=tmp_path).split()[-1] == version
    assert "Usage: kubelb-" in _run(program, "--help", cwd=tmp_path)
    if name == "manager":
        crds = list(yaml.safe_load_all(_run(program, "crds", cwd=tmp_path)))
        assert sorted(crd["spec"]["names"]["plural"] for crd in crds) == list(KINDS)
