from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kubelb_e2e import cli


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELB_LAB_DIR", str(tmp_path / "labs"))
    monkeypatch.delenv("KUBELB_LAB", raising=False)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "--tenants", "-1"),
        ("up", "--tenants", "many"),
        ("up", "--nodes", "0"),
        ("up", "--without", "envoy"),
        ("up", "--images", "/nonexistent"),
        ("up", "--provider", "docker"),
        ("up", "--kube-proxy-sync", "soon"),
        ("run",),
        ("nope",),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert done.exit_code == 2, done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("kubeconfig", "management"),
        ("run", "--", "true"),
        ("logs", "x"),
        ("forward", "10.99.200.1:80"),
        ("dump", "somewhere"),
        ("status", "--name", "No Name"),
        ("down", "--name", "../x"),
    ],
)
def test_a_failure_is_one_line_and_exits_with_1(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert done.output.startswith("Error: ")


def test_the_line_says_what_to_do() -> None:
    assert "kubelb-e2e up --name shop" in call("status", "--name", "shop").output


def test_down_without_a_lab_is_no_failure() -> None:
    done = call("down")
    assert done.exit_code == 0
    assert "there is no lab default" in done.output


@pytest.mark.parametrize("command", [[], *([name] for name in cli.main.commands)])
def test_help_teaches(command: list[str]) -> None:
    done = call(*command, "--help")
    assert done.exit_code == 0
    assert len(done.output.splitlines()) > 6
