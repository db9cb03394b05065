"""Every command of `kubelb-e2e` on a kind lab: its exit code, and one line when something is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from standins.command import environment

from kubelb_common.kube.resources import DEPLOYMENTS, TENANTS
from kubelb_e2e import cli
from kubelb_e2e.clusters import state

MANAGEMENT, TENANT = "kubelb-shop-management", "kubelb-shop-tenant-1"
COMMANDS = [
    ("status",),
    ("kubeconfig", "management"),
    ("run", "--", "true"),
    ("logs", "kubelb-manager"),
    ("forward", "10.0.0.1:80"),
    ("dump", "somewhere"),
]


class Shell:
    """Calls commands on the lab `shop`."""

    def __init__(self, machine) -> None:
        self.machine = machine

    def __call__(self, command: str, *words: str) -> Result:
        own = ["--name", "shop", "--provider", "kind"]
        return CliRunner().invoke(cli.main, [command, *own, *words], catch_exceptions=False)

    def up(self, *words: str) -> Result:
        own = ["--kind-bin", str(self.machine.stage.bin / "kind"), "--kubectl", str(self.machine.kubectl)]
        return self("up", *own, "--kind-image", "kindest/node:v1.36.4", *words)

    def process(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Call a command that becomes another program."""
        line = [
            sys.executable,
            "-m",
            "standins.command",
            str(self.machine.here.parent),
            command,
            "--name",
            "shop",
            *words,
        ]
        return subprocess.run(
            line, env=environment(), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )


@pytest.fixture
def shell(machine, monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("KUBELB_LAB", "KUBELB_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    return Shell(machine)


def one_line(done: Result, code: int) -> str:
    assert done.exit_code == code, done.output
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1
    return done.output


def test_a_lab_from_up_to_down(machine, shell: Shell, tmp_path: Path) -> None:
    done = shell.up()
    assert done.exit_code == 0, done.output
    assert all(line.startswith("[") for line in done.output.splitlines())
    assert "tenant-1: agent ready" in done.output

    done = shell("status")
    assert done.exit_code == 0, done.output
    assert f"{TENANT}-control-plane" in done.output

    for name, folder in (("management", "clusters"), ("tenant-1", "clusters"), ("ccm-1", "credentials")):
        assert shell("kubeconfig", name).output == f"{machine.directory / folder / name}.kubeconfig\n"
    assert "there are management, tenant-1, ccm-1" in one_line(shell("kubeconfig", "ccm-2"), 1)

    assert shell("forward", "172.30.255.1:80").output == "172.30.255.1:80\n"

    ran = shell.process("run", "--in", "tenant-1", "--", "sh", "-c", "kubectl get nodes --output=name; exit 7")
    assert (ran.returncode, ran.stdout) == (7, f"node/{TENANT}-control-plane\n")
    assert one_line(shell("run", "--", "nonsense"), 1) == "Error: nonsense: No such file or directory\n"

    assert "there are: none yet" in one_line(shell("logs", "kubelb-manager"), 1)

    done = shell("dump", str(tmp_path / "dump"))
    assert (done.exit_code, done.output) == (0, f"{tmp_path / 'dump'}\n")
    assert (tmp_path / "dump/management/objects/tenant.yaml").is_file()
    assert not (tmp_path / "dump" / "missing.txt").exists()

    done = shell("down")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "lab shop is gone"
    assert machine.is_clean()
    done = shell("down")
    assert (done.exit_code, done.output) == (0, f"there is no lab shop in {state.state_root()}\n")


def test_a_lab_that_is_broken_has_a_status_and_exit_code_1(machine, shell: Shell) -> None:
    machine.up()
    machine.engine.containers[f"{TENANT}-control-plane"].running = False
    done = shell("status")
    assert done.exit_code == 1
    assert "lab shop: broken" in done.output


def test_parts_can_be_left_out_and_up_is_harmless_to_repeat(machine, shell: Shell) -> None:
    done = shell.up("--without", "ccm,manager", "--tenants", "0")
    assert done.exit_code == 0, done.output
    assert machine.stage.do(machine.api(MANAGEMENT).kube.list(DEPLOYMENTS)).items == []
    # Another `up` without the flag keeps to it.
    assert shell.up().exit_code == 0
    assert machine.stage.do(machine.api(MANAGEMENT).kube.list(DEPLOYMENTS)).items == []


def test_a_tenant_that_cannot_be_reached_is_one_line(machine, shell: Shell) -> None:
    assert shell.up("--without", "ccm,manager").exit_code == 0
    machine.stage.do(machine.kind.apis.pop(TENANT).stop())
    done = shell.up("--without", "")
    assert done.exit_code == 1
    assert "Error: tenant-1: kubectl apply: " in done.output
    assert "Traceback" not in done.output
    assert [item["metadata"]["name"] for item in machine.stage.do(machine.api(MANAGEMENT).kube.list(TENANTS)).items]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_without_a_lab_every_command_is_one_line(shell: Shell, words: tuple[str, ...]) -> None:
    told = one_line(shell(*words), 1)
    assert "lab 'shop' does not run with kind; start it: kubelb-e2e up --provider kind --name shop" in told


@pytest.mark.parametrize("words", [*COMMANDS, ("down",)], ids=lambda words: words[0])
def test_without_docker_every_command_is_one_line_and_exits_with_2(
    machine, shell: Shell, words: tuple[str, ...]
) -> None:
    machine.engine.die()
    assert "Docker does not answer" in one_line(shell(*words), 2)
    assert "Docker does not answer" in one_line(shell.up(), 2)


def test_without_the_program_docker_too(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "no `docker` on this machine" in one_line(shell.up(), 2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--kube-proxy-sync", "0s"), "--kube-proxy-sync: not for --provider kind"),
        (("--images", "FILE"), "--images: not for --provider kind"),
        (("--kind-bin", "/nonexistent"), "Invalid value for '--kind-bin'"),
        (("--kubectl", "/etc/passwd"), "Invalid value for '--kubectl'"),
        (("--api-port", "65001"), "Invalid value for '--api-port'"),
        (("--nodes", "0"), "Invalid value for '--nodes'"),
    ],
)
def test_wrong_usage_exits_with_2(machine, shell: Shell, words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    (tmp_path / "FILE").touch()
    done = shell.up(*(str(tmp_path / "FILE") if word == "FILE" else word for word in words))
    assert done.exit_code == 2
    assert told in done.output
    assert machine.engine.calls == []


def test_what_kind_cannot_make_is_one_line(machine, shell: Shell) -> None:
    assert "at most 60 with kind" in one_line(shell.up("--tenants", "61"), 1)
    assert "no node image for Kubernetes '1.7'" in one_line(
        shell("up", "--kind-bin", str(machine.stage.bin / "kind"), "--kubernetes", "1.7"), 1
    )
    assert machine.is_clean()


def test_a_lab_of_another_provider_is_told_and_left_alone(machine, shell: Shell) -> None:
    state.create(machine.directory, "local")
    for words in [("up",), ("down",), *COMMANDS]:
        assert "lab 'shop' is one of provider 'local'; end it" in one_line(shell(*words), 1)
    assert machine.directory.is_dir()
    assert machine.engine.calls == []


def test_a_lab_is_found_without_naming_its_provider(machine, shell: Shell) -> None:
    machine.up(tenants=0)
    done = CliRunner().invoke(cli.main, ["kubeconfig", "--name", "shop", "management"])
    assert done.exit_code == 0
    assert CliRunner().invoke(cli.main, ["down", "--name", "shop"]).output.splitlines()[-1] == "lab shop is gone"
    assert machine.is_clean()
