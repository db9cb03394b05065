"""The words of the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar, get_args

import click

from kubelb_ccm import app
from kubelb_ccm.export.addresses import AddressType
from kubelb_ccm.options import DEFAULT_KUBELB_KUBECONFIG, Bind, OptionError, Options
from kubelb_ccm.status import facts, read, show
from kubelb_common import console
from kubelb_common.runtime.supervisor import run_to_exit
from kubelb_common.telemetry import logs

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PREFIX = "KUBELB_CCM"
_LOG_FORMATS = {"auto": None, "json": True, "text": False}


def _switch(name: str, *, default: bool, text: str) -> Callable[[_Command], _Command]:
    """Return an option that is given as `--name`, `--name=true` or `--name=false`."""
    return click.option(
        name, type=bool, is_flag=False, flag_value=True, default=default, show_default=True, metavar="BOOL", help=text
    )


@click.group(
    invoke_without_command=True,
    context_settings={"auto_envvar_prefix": _PREFIX, "help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each option may also be set by an environment variable: --cluster-name by KUBELB_CCM_CLUSTER_NAME, "
    "and so on. Exit codes: 0 after an orderly stop, 2 for wrong usage, 1 for anything else.",
)
@click.option("--cluster-name", default="", help="Name of this cluster's Tenant in the management cluster.  [required]")
@click.option(
    "--kubeconfig",
    metavar="FILE",
    default=None,
    help="Credential for this tenant cluster.  [default: $KUBECONFIG, else the pod's ServiceAccount]",
)
@click.option(
    "--kubelb-kubeconfig",
    metavar="FILE",
    default=DEFAULT_KUBELB_KUBECONFIG,
    show_default=True,
    help="Credential for the management cluster: key 'kubelb' of the Secret 'kubelb-ccm-kubeconfig' in the tenant's "
    "namespace there. The file is read again when it changes.",
)
@click.option(
    "--node-address-type",
    type=click.Choice(get_args(AddressType)),
    default="ExternalIP",
    show_default=True,
    help="Which of the nodes' addresses the management cluster can reach.",
)
@_switch(
    "--enable-cloud-provider",
    default=True,
    text="Give Services of type LoadBalancer their addresses. False: another implementation in this cluster does, "
    "and its addresses are what the management cluster connects to.",
)
@_switch("--use-ingress-class", default=True, text="Serve only Ingresses with ingressClassName kubelb.")
@_switch(
    "--use-loadbalancer-class",
    default=False,
    text="Serve only Services with loadBalancerClass kubelb. False: those without a class too.",
)
@_switch("--disable-ingress-controller", default=False, text="Leave Ingresses alone.")
@_switch(
    "--enable-secret-synchronizer",
    default=False,
    text="Send Secrets with the label kubelb.k8c.io/managed-by=kubelb to the management cluster. Needs the rights of "
    "deploy/secrets.yaml. SyncSecrets that somebody wrote go there in any case.",
)
@click.option(
    "--release-after",
    type=console.Duration(),
    default="15m",
    show_default=True,
    help="When the management cluster has not answered for so long, objects of namespaces that are being deleted are "
    "released; what they left there is removed when it answers again.",
)
@click.option(
    "--enable-leader-election",
    "leader_election",
    type=bool,
    is_flag=False,
    flag_value=True,
    default=True,
    show_default=True,
    metavar="BOOL",
    help="Of several agents only the holder of a Lease works. False: there is only this one.",
)
@click.option(
    "--leader-election-namespace",
    default="kubelb",
    show_default=True,
    help="Where that Lease is in the tenant cluster.",
)
@click.option(
    "--metrics-addr", metavar="HOST:PORT", default=":9445", show_default=True, help="Prometheus metrics; 0 for none."
)
@click.option(
    "--health-probe-bind-address",
    metavar="HOST:PORT",
    default=":8081",
    show_default=True,
    help="/healthz and /readyz; 0 for none.",
)
@click.option(
    "--log-level", type=click.Choice(("debug", "info", "warning", "error")), default="info", show_default=True
)
@click.option(
    "--log-format",
    type=click.Choice(tuple(_LOG_FORMATS)),
    default="auto",
    show_default=True,
    help="auto: text on a terminal, else JSON lines.",
)
@click.version_option(version("kubelb-ccm"), prog_name="kubelb-ccm")
@click.pass_context
def main(ctx: click.Context, /, **given: Any) -> None:
    """Connect a tenant's Kubernetes cluster to KubeLB.

    Exports this cluster's Ingresses of class kubelb and its Services of type LoadBalancer to the management
    cluster, where Envoys serve them and send their traffic to this cluster's node ports. Writes the addresses that
    they get back into their status, and what is wrong with them into Events and the annotation kubelb.k8c.io/status.

    Needs the ServiceAccount and rights of deploy/ccm.yaml. An API server that does not answer is waited for.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = given
        return
    options = _options(given)
    logs.configure(options.log_level, json=options.log_json)
    sys.exit(run_to_exit(app.run(options)))


def _options(given: dict[str, Any]) -> Options:
    """Return what the command line said.

    Raises:
        click.UsageError: a value cannot be used.
    """
    rest: dict[str, Any] = {key: value for key, value in given.items() if key not in {*_BINDS, "log_format"}}
    try:
        binds: dict[str, Any] = {to: Bind.parse(flag, given[name]) for name, (to, flag) in _BINDS.items()}
        return Options(log_json=_LOG_FORMATS[given["log_format"]], **binds, **rest)
    except OptionError as error:
        raise click.UsageError(str(error)) from error


_BINDS = {
    "metrics_addr": ("metrics", "--metrics-addr"),
    "health_probe_bind_address": ("health", "--health-probe-bind-address"),
}


@main.command()
@click.option("--cluster-name", help="As for the agent.")
@click.option("--kubeconfig", metavar="FILE", help="As for the agent.")
@click.option("--kubelb-kubeconfig", metavar="FILE", help="As for the agent.")
@click.option("--node-address-type", type=click.Choice(get_args(AddressType)), help="As for the agent.")
@click.option("--timeout", type=console.Duration(), default="30s", show_default=True, help="How long it may take.")
@console.output_option
@click.pass_context
def status(ctx: click.Context, /, timeout: float, output: console.Format, **given: str | None) -> None:
    """Show what the agent sees, and what is wrong.

    Whether both clusters can be reached, how the tenant stands, nodes, what is exported, what is refused and why. Reads
    both clusters by the agent's own credentials and changes nothing. Exit code 1 if something is wrong.

    \b
    kubectl -n kubelb exec deploy/kubelb-ccm -- kubelb-ccm status
    kubelb-ccm --cluster-name primary status --kubelb-kubeconfig kubelb.kubeconfig
    kubelb-ccm status --cluster-name primary -o json | jq .problems
    """
    options = _options({**ctx.obj, **{name: value for name, value in given.items() if value is not None}})
    logs.configure("error", json=False)
    told = facts.summary(console.run(read.read(options), timeout))
    click.echo(show.text(told) if output == "table" else console.document(told, output))
    sys.exit(1 if told["problems"] else 0)
