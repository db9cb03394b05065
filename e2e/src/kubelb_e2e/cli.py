"""The command `kubelb-e2e`: start, use and end a testbed.

Usage errors exit with 2, failures with 1, both with one line on standard error that says what is
wrong, where, and what to do.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click
from tabulate import tabulate

from kubelb_e2e import artifacts, podlogs, product, provision
from kubelb_e2e.clusters.base import LabError
from kubelb_e2e.clusters.local import model, provider, state
from kubelb_e2e.clusters.local.provider import LocalLab, Wish

_P = ParamSpec("_P")
_PARTS = ("ccm", "manager")
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+")
DEFAULT_LAB = "default"


class _Command(click.Command):
    """A command whose foreseeable failures are one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise click.ClickException(str(error)) from error


class _Group(click.Group):
    command_class = _Command


def _lab_option(function: Callable[_P, None]) -> Callable[_P, None]:
    return click.option(
        "--name",
        default=DEFAULT_LAB,
        show_default=True,
        metavar="LAB",
        envvar="KUBELB_LAB",
        help="Which lab; several can run at the same time. Also KUBELB_LAB.",
    )(function)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    r"""Real Kubernetes clusters on this machine for KubeLB: one management cluster and its tenants.

    \b
    kubelb-e2e up --tenants 2                        start a lab with the product in it
    kubelb-e2e run -- kubectl get nodes              a command inside the lab's network
    kubelb-e2e run --in tenant-1 -- kubectl apply -f app.yaml
    export KUBECONFIG=$(kubelb-e2e kubeconfig tenant-1)   works on the host
    kubelb-e2e down                                  nothing is left

    A lab needs no Docker and no root: clusters are processes, nodes and pods are network namespaces,
    and nothing in it reaches the outside.
    """


def _parts(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    unknown = [part for part in parts if part not in _PARTS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: expected a list of {', '.join(_PARTS)}")
    return parts


def _duration(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _DURATION.fullmatch(value):
        raise click.BadParameter(f"{value!r}: expected a duration such as 1s, 250ms or 0s")
    return value


@main.command()
@_lab_option
@click.option("--provider", "kind", type=click.Choice(["local"]), default="local", show_default=True)
@click.option("--tenants", type=click.IntRange(0, model.MAX_TENANTS), help="Tenant clusters.  [default: 1]")
@click.option("--nodes", type=click.IntRange(1, model.MAX_NODES), help="Nodes of each cluster.  [default: 2]")
@click.option("--without", callback=_parts, metavar="ccm,manager", help="Parts of the product that are not deployed.")
@click.option(
    "--images",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Catalogue of further images: `image: {command, args, env}`.",
)
@click.option(
    "--kube-proxy-sync",
    callback=_duration,
    metavar="DURATION",
    help="kube-proxy's least time between two syncs, e.g. 0s.  [default: 1s, as in real clusters]",
)
def up(  # click passes them by name
    name: str,
    kind: str,
    tenants: int | None,
    nodes: int | None,
    without: tuple[str, ...] | None,
    images: Path | None,
    kube_proxy_sync: str | None,
) -> None:
    """Start a lab, or complete the one that runs; harmless to repeat."""
    del kind
    wish = Wish(tenants=tenants, nodes=nodes, without=without, images=images, kube_proxy_sync=kube_proxy_sync)
    lab = LocalLab.up(name, wish, binaries=provision.binaries, say=_say)
    product.deploy(lab, without if without is not None else lab.spec.without, say=_say)


@main.command()
@_lab_option
@click.argument("which", metavar="management|tenant-N|ccm-N")
def kubeconfig(name: str, which: str) -> None:
    """Print the path of a kubeconfig that works on this host while the lab runs.

    ccm-N is the credential that the manager generated for the agent of tenant-N.
    """
    click.echo(LocalLab.find(name).kubeconfig(which))


@main.command(context_settings={"ignore_unknown_options": True})
@_lab_option
@click.option("--in", "where", default=model.MANAGEMENT, show_default=True, help="Whose KUBECONFIG the command gets.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str, where: str, command: tuple[str, ...]) -> None:
    """Run a command inside the lab's network: kubectl is there, node and LoadBalancer addresses answer.

    KUBECONFIG is the cluster of --in; KUBECONFIG_MANAGEMENT, KUBECONFIG_TENANT_1, ... and (once the
    product is deployed) KUBECONFIG_CCM_1, ... are set too. The command's exit code is passed on.
    """
    LocalLab.find(name).replace_process(command, where)


@main.command()
@_lab_option
@click.argument("target", metavar="ADDRESS:PORT")
def forward(name: str, target: str) -> None:
    """Print a 127.0.0.1:PORT of this host that leads to an address of the lab while it runs."""
    click.echo(LocalLab.find(name).forward(target))


@main.command()
@_lab_option
def status(name: str) -> None:
    """Show clusters, their processes and LoadBalancer addresses."""
    lab = LocalLab.find(name)
    now = lab.status()
    click.echo(f"lab {name}: {now['phase']} for {now['seconds']:.0f} s, folder {lab.spec.directory}")
    rows = [
        (item["name"], item["pid"], "runs" if item["exit_code"] is None else f"ended with {item['exit_code']}")
        for item in now["processes"]
    ]
    click.echo(tabulate(rows, headers=("process", "pid in the lab", "state")))
    if now["addresses"]:
        click.echo()
        click.echo(tabulate(sorted(now["addresses"].items()), headers=("address", "Service")))
    click.echo("\nLimits, fsGroup, runAsUser and sysctls of pods are accepted and not enforced here.")
    if now["phase"] != "ready" or any(item["exit_code"] is not None for item in now["processes"]):
        sys.exit(1)


@main.command()
@_lab_option
@click.option("--in", "where", metavar="CLUSTER", help="Only in this cluster.")
@click.option("-c", "--container", help="Only this container.")
@click.option("-p", "--previous", is_flag=True, help="All runs of a container, not just the last.")
@click.argument("pod", metavar="[NAMESPACE/]POD")
def logs(name: str, where: str | None, container: str | None, previous: bool, pod: str) -> None:  # noqa: FBT001
    """Print the logs of a pod in any cluster; the beginning of its name is enough.

    The files stay until `down`, so the logs of a pod that is gone can still be read.
    """
    lab = LocalLab.find(name)
    found = podlogs.find(lab.spec, pod, cluster=where, container=container, all_runs=previous)
    for log in found:
        if len(found) > 1:
            click.secho(f"==> {log.title}", bold=True, err=True)
        click.echo(log.path.read_text(errors="replace"), nl=False)


@main.command()
@_lab_option
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def dump(name: str, folder: Path) -> None:
    """Write objects, events, logs and Envoy's configuration of all clusters into FOLDER."""
    artifacts.dump(LocalLab.find(name), folder)
    click.echo(folder)


@main.command()
@_lab_option
def down(name: str) -> None:
    """End a lab; no process, namespace, mount or file of it stays, also after a crash."""
    if provider.down(name):
        click.echo(f"lab {name} is gone")
    else:
        click.echo(f"there is no lab {name} in {state.state_root()}")


def _say(text: str, seconds: float) -> None:
    click.echo(f"[{seconds:6.1f}s] {text}")


if __name__ == "__main__":
    main()
