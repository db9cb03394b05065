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


@click.command(
    context_settings={"auto_envvar_prefix": _PREFIX, "help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each option may also be set by an environment variable: --cluster-name by KUBELB_CCM_CLUSTER_NAME, "
    "and so on. Exit codes: 0 after an orderly stop, 2 for wrong usage, 1 for anything else.",
)
@click.option("--cluster-name", required=True, help="Name of this cluster's Tenant in the management cluster.")
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
def main(metrics_addr: str, health_probe_bind_address: str, log_format: str, **given: Any) -> None:
    """Connect a tenant's Kubernetes cluster to KubeLB.

    Exports this cluster's Ingresses of class kubelb and its Services of type LoadBalancer to the management
    cluster, where Envoys serve them and send their traffic to this cluster's node ports. Writes the addresses that
    they get back into their status, and what is wrong with them into Events and the annotation kubelb.k8c.io/status.

    Needs the ServiceAccount and rights of deploy/ccm.yaml. An API server that does not answer is waited for.
    """
    try:
        options = Options(
            metrics=Bind.parse("--metrics-addr", metrics_addr),
            health=Bind.parse("--health-probe-bind-address", health_probe_bind_address),
            log_json=_LOG_FORMATS[log_format],
            **given,
        )
    except OptionError as error:
        raise click.UsageError(str(error)) from error
    logs.configure(options.log_level, json=options.log_json)
    sys.exit(run_to_exit(app.run(options)))
