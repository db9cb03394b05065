"""The command line: what it refuses, and how it says so."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from kubelb_ccm import app
from kubelb_ccm.cli import main
from kubelb_ccm.options import Bind, OptionError, Options


def invoke(*args, **env):
    return CliRunner().invoke(main, list(args), env={"KUBECONFIG": None, "KUBERNETES_SERVICE_HOST": None, **env})


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--cluster-name", "A_b"),
        ("--cluster-name", ""),
        ("--cluster-name", "a" * 60),
        ("--cluster-name", "a", "--node-address-type", "InternalDNS"),
        ("--cluster-name", "a", "--metrics-addr", "9445"),
        ("--cluster-name", "a", "--metrics-addr", ":70000"),
        ("--cluster-name", "a", "--metrics-addr", ":1", "--health-probe-bind-address", ":1"),
        ("--cluster-name", "a", "--use-ingress-class=perhaps"),
        ("--cluster-name", "a", "--log-level", "loud"),
        ("--no-such-flag",),
    ],
)
def test_wrong_usage_is_one_error_and_exit_2(args):
    result = invoke(*args)
    assert result.exit_code == 2
    assert "Error:" in result.output
    assert "Traceback" not in result.output


def test_an_unreadable_kubeconfig_is_one_line_and_exit_1(tmp_path):
    result = invoke("--cluster-name", "a", "--kubeconfig", str(tmp_path / "none"))
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line]
    assert str(tmp_path / "none") in line


def test_every_flag_also_comes_from_the_environment(monkeypatch):
    seen = []

    async def run(options):
        seen.append(options)

    monkeypatch.setattr(app, "run", run)
    result = invoke(KUBELB_CCM_CLUSTER_NAME="a", KUBELB_CCM_USE_INGRESS_CLASS="false", KUBELB_CCM_METRICS_ADDR="0")
    assert result.exit_code == 0, result.output
    assert seen == [Options("a", use_ingress_class=False, metrics=None)]


def test_a_bare_switch_is_true(monkeypatch):
    seen = []

    async def run(options):
        seen.append(options.use_loadbalancer_class)

    monkeypatch.setattr(app, "run", run)
    assert invoke("--use-loadbalancer-class", "--cluster-name", "a").exit_code == 0
    assert seen == [True]


def test_help_names_every_option():
    text = invoke("--help").output
    assert "KUBELB_CCM_CLUSTER_NAME" in text
    for option in main.params:
        assert option.opts[0] in text


def test_binds_and_names():
    assert Bind.parse("x", "[::1]:81") == ("::1", 81)
    assert Bind.parse("x", "0") is None
    with pytest.raises(OptionError):
        Bind.parse("x", "localhost")
    assert Options("tenant-a").tenant_namespace == "tenant-a" == Options("a").tenant_namespace
