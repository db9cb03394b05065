"""The built images, run as a cluster runs them: not root, nothing writable, no capability, no network."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dockerfiles import CATALOGUE

from kubelb_e2e import docker
from kubelb_e2e.catalogue import PROJECT
from kubelb_e2e.errors import Unavailable
from kubelb_e2e.images import build

pytestmark = pytest.mark.docker

_AS_IN_A_POD = ("--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
#: Bytes. What the manager weighed with every class of the Kubernetes client: 249 MB.
_LARGEST = {"manager": 170e6, "ccm": 140e6, "envoy": 130e6, "echo": 70e6, "standin": 70e6, "tools": 75e6}
_BUILD_TOOLS = {"apt", "apt-get", "dpkg", "pip", "pip3", "gcc", "cc", "ld", "as", "make", "perl", "git", "curl", "wget"}
_SHELLS = {"sh", "bash", "dash", "ash", "busybox"}
_NOT_NEEDED = {"pip", "setuptools", "ensurepip", "distutils", "idlelib", "lib2to3"}
_IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__") and ".testing" not in module.name:
            importlib.import_module(module.name)
            print(module.name)
"""


def name_of(part: str) -> str:
    (name,) = (name for name in CATALOGUE if name.startswith(f"kubelb/{part}:"))
    return name


@pytest.fixture(autouse=True)
def there() -> None:
    """Docker, and every image; else the reason why not."""
    try:
        docker.check()
    except Unavailable as error:
        pytest.skip(str(error))
    if missing := build.missing():
        pytest.skip(f"not built: {', '.join(missing)}; build them: make images")


def run(part: str, *arguments: str, options: tuple[str, ...] = (), text: str = "") -> subprocess.CompletedProcess[str]:
    command = ["docker", "run", "--rm", "--interactive", *_AS_IN_A_POD, *options, name_of(part), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, input=text, timeout=120)


def python(part: str, program: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
    """Run a program by the image's Python and return what it printed."""
    done = run(part, "-", *arguments, options=("--entrypoint=python3", *options), text=program)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def content() -> Iterator[dict[str, dict[str, tarfile.TarInfo]]]:
    """What is in each image, by path; filled as it is asked for."""

    class Content(dict[str, dict[str, tarfile.TarInfo]]):
        def __missing__(self, part: str) -> dict[str, tarfile.TarInfo]:
            container = docker.docker("create", name_of(part)).strip()
            try:
                with (
                    subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export,
                    tarfile.open(fileobj=export.stdout, mode="r|") as archive,
                ):
                    self[part] = {f"/{member.name.rstrip('/')}": member for member in archive}
            finally:
                docker.docker("rm", container)
            return self[part]

    return Content()


@pytest.mark.parametrize("part", _LARGEST)
def test_it_is_small_and_runs_as_nobody_in_particular(part: str) -> None:
    (found,) = build.built([f"kubelb/{part}"])
    assert found.user == "65532:65532"
    assert found.size < _LARGEST[part]


@pytest.mark.parametrize("part", ["manager", "ccm", "envoy"])
def test_it_tells_its_version(part: str) -> None:
    done = run(part, "--version")
    assert done.returncode == 0, done.stderr
    assert name_of(part).rpartition(":")[2] in done.stdout


@pytest.mark.parametrize("part", _LARGEST)
def test_nothing_in_it_builds_installs_or_gives_power(
    part: str, content: dict[str, dict[str, tarfile.TarInfo]]
) -> None:
    files = {path: member for path, member in content[part].items() if not member.isdir()}
    programs = {Path(path).name for path, member in files.items() if member.mode & 0o111 or member.issym()}
    assert programs & _BUILD_TOOLS == set()
    assert bool(programs & _SHELLS) == (part == "tools")
    assert {Path(path).name for path, member in content[part].items() if member.isdir()} & _NOT_NEEDED == set()
    assert [path for path, member in files.items() if member.mode & 0o6000] == []
    open_to_all = [path for path, member in content[part].items() if member.mode & 0o002 and not member.issym()]
    assert [path for path in open_to_all if not path.startswith(("/tmp", "/dev/"))] == []


@pytest.mark.parametrize("part", _LARGEST)
def test_it_carries_the_terms_of_what_is_in_it(part: str, content: dict[str, dict[str, tarfile.TarInfo]]) -> None:
    terms = {Path(path).parent.name for path in content[part] if path.startswith("/usr/share/doc/")}
    assert "libc6" in terms
    assert not terms & {"apt", "dpkg", "perl-base"}


@pytest.mark.parametrize("part", ["manager", "ccm"])
def test_every_module_can_be_imported(part: str) -> None:
    printed = python(part, _IMPORT_ALL, f"kubelb_{part}", "kubelb_common").splitlines()
    assert f"kubelb_{part}.app" in printed
    assert "kubelb_common.kube.transport" in printed


@pytest.mark.parametrize("part", ["manager", "ccm"])
def test_bytecode_is_there_for_every_source(part: str, content: dict[str, dict[str, tarfile.TarInfo]]) -> None:
    paths = set(content[part])
    sources = {path for path in paths if path.endswith(".py")}
    compiled = {
        path.replace("/__pycache__/", "/").rpartition(".cpython-")[0] for path in paths if path.endswith(".pyc")
    }
    assert len(sources) > 1000
    assert {path for path in sources if path.removesuffix(".py") not in compiled} == set()


def test_who_runs_and_where() -> None:
    printed = python("ccm", "import os, pathlib; print(os.getuid(), os.getgid(), pathlib.Path.home(), os.getcwd())")
    assert printed.split() == ["65532", "65532", "/home/nonroot", "/"]


@pytest.mark.parametrize(("part", "arguments"), [("manager", ["run"]), ("ccm", ["--cluster-name", "shop"])])
def test_without_a_cluster_an_agent_ends_with_one_line(part: str, arguments: list[str]) -> None:
    done = run(part, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no API server is configured: give --kubeconfig FILE")
    assert done.stderr.count("\n") == 1


def test_the_client_speaks_tls_with_a_client_certificate() -> None:
    """All that is left of the Kubernetes client is used: its configuration, its TLS, its way to a session."""
    program = (Path(__file__).parent / "speaks_tls.py").read_text()
    assert python("ccm", program, options=("--tmpfs=/tmp",)) == "asked-by-tenant"


def test_envoy_starts_with_nothing_writable() -> None:
    bootstrap = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}"
    done = run("envoy", "--mode", "validate", "--config-yaml", bootstrap)
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout


def test_echo_answers_and_obeys_sigterm() -> None:
    ask = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8080/text', timeout=5).read().decode())"
    container = docker.docker("run", "--detach", *_AS_IN_A_POD, "--env=POD_NAME=web-0", name_of("echo")).strip()
    with subprocess.Popen(["docker", "logs", "--follow", container], stdout=subprocess.PIPE, text=True) as log:
        assert log.stdout is not None
        try:
            assert log.stdout.readline() == "web-0 listens\n"
            assert docker.docker("exec", container, "python3", "-c", ask) == "web-0\n\n"
            docker.docker("kill", "--signal=TERM", container)
            assert docker.docker("wait", container) == "0\n"
            assert log.stdout.readlines() == ["web-0 drains\n", "web-0 ends\n"]
        finally:
            docker.docker("rm", "--force", container)  # which ends the log too


def test_tools_have_a_shell_with_what_tests_need() -> None:
    script = (
        "id -u; seq 3 | tail -n 1; printf abc | wc -c; python3 -c 'import socket; print(socket.AF_PACKET)'; ls /bin/sh"
    )
    assert run("tools", "-c", script).stdout.split() == ["65532", "3", "3", "17", "/bin/sh"]


def test_make_images_lists_what_docker_has() -> None:
    """Built a moment ago or not: the table tells name, size, user and id as Docker does."""
    found = build.built(["kubelb/echo"])[0]
    command = [sys.executable, "-m", "kubelb_e2e.images", "kubelb/echo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    after = build.built(["kubelb/echo"])[0]
    assert after.id == found.id, "the same sources make the same image"
    row = [found.name, f"{found.size / 1e6:.1f}", "MB", "65532:65532", found.id.removeprefix("sha256:")[:12]]
    assert row in [line.split() for line in done.stdout.splitlines()]
