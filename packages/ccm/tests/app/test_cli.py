"""The command line: what it refuses, and how it says so."""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner

from kubelb_ccm import app
from kubelb_ccm.cli import main
from kubelb_ccm.options import Bind, OptionError, Options
from kubelb_common.api.crd_schema import crds
from kubelb_common.kube import resources
from kubelb_common.testing import apiserver, builders
from kubelb_common.testing.fake_kube import FakeKube


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


async def status(tmp_path, *args, **env):
    """Run `kubelb-ccm status` on two fake clusters; the tenant's has a node without an external address."""
    tenant, hub = FakeKube(), FakeKube(namespaces=["tenant-a"], crds=crds())
    tenant.put(resources.NODES, builders.node("node-1", "10.0.0.1").build())
    state = {"metadata": {"name": "default", "namespace": "tenant-a"}, "spec": {}, "status": {"phase": "Ready"}}
    hub.put(resources.TENANT_STATES, state)
    spec = {"addresses": [{"ip": "10.0.0.1"}]}
    hub.put(resources.ADDRESSES, {"metadata": {"name": "default", "namespace": "tenant-a"}, "spec": spec})
    async with apiserver.serve(tenant) as one, apiserver.serve(hub) as other:
        files = {
            "KUBELB_CCM_KUBECONFIG": str(one.kubeconfig(tmp_path, name="tenant")),
            "KUBELB_CCM_KUBELB_KUBECONFIG": str(other.kubeconfig(tmp_path, name="hub")),
        }
        return await asyncio.to_thread(invoke, *args, **files, **env)


async def test_status_in_the_pod_knows_what_the_agent_knows(tmp_path):
    env = {"KUBELB_CCM_CLUSTER_NAME": "a", "KUBELB_CCM_NODE_ADDRESS_TYPE": "InternalIP"}
    result = await status(tmp_path, "status", **env)
    assert result.exit_code == 0, result.output
    assert "Phase:" in result.stdout
    assert result.stdout.count("Kubernetes v1") == 2


async def test_status_is_1_if_something_is_wrong(tmp_path):
    result = await status(tmp_path, "--cluster-name", "b", "status", "--cluster-name", "a", "-o", "json")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)["problems"]
    assert "--node-address-type" in problem


async def test_status_needs_to_know_whose(tmp_path):
    result = await status(tmp_path, "status")
    assert result.exit_code == 2
    assert "--cluster-name" in result.stderr


async def test_status_of_a_cluster_that_no_file_leads_to(tmp_path):
    result = await status(tmp_path, "status", "--cluster-name", "a", "--kubelb-kubeconfig", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "not reachable" in result.stdout
    assert str(tmp_path / "none") in result.stdout
