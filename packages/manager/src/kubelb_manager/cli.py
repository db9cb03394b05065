"""The command line: options into an Options value, and nothing else."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata

import click
import yaml

from kubelb_common import console
from kubelb_common.api import crd_schema
from kubelb_common.kube.errors import KubeError
from kubelb_common.runtime.controller import Terminal
from kubelb_common.runtime.supervisor import run_to_exit
from kubelb_common.telemetry import logs
from kubelb_manager.options import AgentOptions, Bind, OptionError, Options

_DEFAULTS = Options()
_AGENT = AgentOptions()
#: Commands that are imported when they are called: the agent beside each Envoy is to be small, and quickly there.
_LATER = {name: f"kubelb_manager.commands.{name}" for name in ("hosts", "proxies", "render", "tenants")}


class _Group(click.Group):
    """Has the commands of `_LATER` too, each in a module of its own under its own name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_LATER})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _LATER.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "KUBELB_MANAGER"}
)
@click.version_option(metadata.version("kubelb-manager"), prog_name="kubelb-manager")
def main() -> None:
    """KubeLB manager: the operator and Envoy control plane of the management cluster.

    Every option can also be given by environment, for example KUBELB_MANAGER_RUN_LOG_LEVEL=debug.
    """


@main.command()
@click.option("--kubeconfig", metavar="FILE", help="Kubeconfig of the management cluster; default: the pod's own.")
@click.option("--namespace", default=_DEFAULTS.namespace, show_default=True, help="Where the manager and Config live.")
@click.option("--listen-address", default=":8001", show_default=True, help="Where Envoys reach the control plane.")
@click.option("--metrics-addr", default=":9443", show_default=True, help="Prometheus metrics.")
@click.option("--health-probe-bind-address", default=":8081", show_default=True, help="/healthz and /readyz.")
@click.option("--envoy-image", default=_DEFAULTS.envoy_image, show_default=True, help="Image of the Envoy pods.")
@click.option(
    "--agent-image",
    default=_DEFAULTS.agent_image,
    show_default=True,
    help="Image of the agent beside each Envoy: the manager's own.",
)
@click.option(
    "--xds-host",
    default=None,
    help="Name under which Envoys find the control plane.  [default: envoycp.<namespace>.svc]",
)
@click.option(
    "--xds-port",
    type=click.IntRange(1, 65535),
    default=_DEFAULTS.xds_port,
    show_default=True,
    help="Port of that name.",
)
@click.option(
    "--advertise-address",
    default="",
    envvar=["KUBELB_MANAGER_RUN_ADVERTISE_ADDRESS", "POD_IP"],
    help="Where other managers reach this one, on the port of --listen-address.  [default: $POD_IP]",
)
@click.option(
    "--enable-leader-election",
    type=bool,
    is_flag=False,
    flag_value=True,
    default=_DEFAULTS.leader_election,
    show_default=True,
    metavar="BOOL",
    help="Of several managers only the holder of a Lease writes. False: there is only this one.",
)
@click.option("--leader-election-namespace", default="", help="Where that Lease is.  [default: the one of --namespace]")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What to log.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
    help="auto: text on a terminal, else JSON.",
)
def run(
    kubeconfig: str | None,
    namespace: str,
    listen_address: str,
    metrics_addr: str,
    health_probe_bind_address: str,
    envoy_image: str,
    agent_image: str,
    xds_host: str | None,
    xds_port: int,
    advertise_address: str,
    enable_leader_election: bool,  # noqa: FBT001 - click calls by name
    leader_election_namespace: str,
    log_level: str,
    log_format: str,
) -> None:
    """Run the manager until it is told to stop."""
    from kubelb_manager import app  # noqa: PLC0415 - 40 MiB that the agent beside each Envoy does without

    try:
        options = Options(
            kubeconfig=kubeconfig,
            namespace=namespace,
            xds=Bind.parse("--listen-address", listen_address),
            metrics=Bind.parse("--metrics-addr", metrics_addr),
            health=Bind.parse("--health-probe-bind-address", health_probe_bind_address),
            envoy_image=envoy_image,
            agent_image=agent_image,
            xds_host=xds_host or f"envoycp.{namespace}.svc",
            xds_port=xds_port,
            advertise_address=advertise_address,
            leader_election=enable_leader_election,
            leader_election_namespace=leader_election_namespace,
            log_level=log_level,
            log_format=log_format,
        )
    except OptionError as error:
        raise click.UsageError(str(error)) from error
    logs.configure(log_level, json=None if log_format == "auto" else log_format == "json")
    try:
        code = run_to_exit(app.run(options))
    except (Terminal, KubeError) as error:
        click.echo(f"error: {error}", err=True)
        code = 1
    sys.exit(code)


@main.command()
@click.option("--listen-address", default=f":{_AGENT.listen.port}", show_default=True, help="Where the kubelet asks.")
@click.option(
    "--envoy-admin",
    default=f"{_AGENT.admin.host}:{_AGENT.admin.port}",
    show_default=True,
    help="Envoy's admin interface.",
)
@click.option(
    "--drain-timeout",
    type=click.FloatRange(min=0),
    default=_AGENT.drain_timeout,
    show_default=True,
    help="Longest wait for connections to end, in seconds.",
)
@click.option(
    "--min-drain",
    type=click.FloatRange(min=0),
    default=_AGENT.min_drain,
    show_default=True,
    help="Shortest wait, in seconds.",
)
@click.option("--drain-token", default="", help="Who sends it may drain; better given by environment.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What to log.",
)
def agent(
    listen_address: str, envoy_admin: str, drain_timeout: float, min_drain: float, drain_token: str, log_level: str
) -> None:
    """Run the agent beside an Envoy: readiness, and a way out that cuts nothing."""
    from kubelb_manager.agent import app  # noqa: PLC0415 - the manager does without it

    try:
        options = AgentOptions(
            listen=Bind.parse("--listen-address", listen_address),
            admin=Bind.parse("--envoy-admin", envoy_admin),
            drain_timeout=drain_timeout,
            min_drain=min_drain,
            drain_token=drain_token,
        )
    except OptionError as error:
        raise click.UsageError(str(error)) from error
    logs.configure(log_level)
    sys.exit(run_to_exit(app.run(options)))


@main.command()
def crds() -> None:
    """Print the CustomResourceDefinitions, for kubectl apply -f -."""
    click.echo(yaml.safe_dump_all(crd_schema.crds(), sort_keys=False), nl=False)


@main.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print what a shell needs to complete commands, flags and names of tenants.

    \b
    source <(kubelb-manager completion bash)
    kubelb-manager completion fish > ~/.config/fish/completions/kubelb-manager.fish
    """
    click.echo(console.completion_script(main, "kubelb-manager", shell))


if __name__ == "__main__":
    main()
