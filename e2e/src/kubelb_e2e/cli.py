"""The command `kubelb-e2e`: start, use and end a testbed.

Usage errors exit with 2, and so does a provider that cannot work on this machine; failures exit with 1.
Each is one line on standard error that says what is wrong, where, and what to do.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import click

from kubelb_e2e import artifacts, product, providers, tables
from kubelb_e2e.clusters.base import MANAGEMENT, Lab, Wish, not_for
from kubelb_e2e.clusters.local import model
from kubelb_e2e.clusters.state import state_root
from kubelb_e2e.errors import LabError, Unavailable

_P = ParamSpec("_P")
_PARTS = ("ccm", "manager")
_DURATION = re.compile(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+")
DEFAULT_LAB = "default"


class _Failure(click.ClickException):
    """One line and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click's is of the class, and reads the instance's


class _Command(click.Command):
    """A command whose foreseeable failures are one line and exit code 1, or 2 if this machine cannot do it."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise _Failure(str(error), 2 if isinstance(error, Unavailable) else 1) from error


class _Group(click.Group):
    command_class = _Command


def _lab_option(function: Callable[_P, None]) -> Callable[_P, None]:
    name = click.option(
        "--name",
        default=DEFAULT_LAB,
        show_default=True,
        metavar="LAB",
        envvar="KUBELB_LAB",
        help="Which lab; several can run at the same time. Also KUBELB_LAB.",
    )
    provider = click.option(
        "--provider",
        "kind",
        type=click.Choice(list(providers.PROVIDERS)),
        envvar="KUBELB_PROVIDER",
        help="What the clusters are made of. Also KUBELB_PROVIDER.  [default: as the lab is, local for a new one]",
    )
    return name(provider(function))


def _find(name: str, kind: str | None) -> Lab:
    return providers.of(name, kind).find(name)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Real Kubernetes clusters on this machine for KubeLB: one management cluster and its tenants.

    \b
    kubelb-e2e up --tenants 2                        start a lab with the product in it
    kubelb-e2e run -- kubectl get nodes              a command inside the lab's network
    kubelb-e2e run --in tenant-1 -- kubectl apply -f app.yaml
    export KUBECONFIG=$(kubelb-e2e kubeconfig tenant-1)   works on the host
    kubelb-e2e down                                  nothing is left

    Providers:

    \b
    local     no Docker and no root: clusters are processes, nodes and pods are network namespaces,
              and nothing in it reaches the outside
    kind      clusters in Docker containers on a Docker network of the lab's own
    existing  clusters that are there already, by their kubeconfigs:
              KUBELB_E2E_MANAGEMENT and KUBELB_E2E_TENANTS (several, separated by `:`)
    """  # click's mark for "keep these lines" is the character itself


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


def _file(*, program: bool = False) -> click.Path:
    # A program may be a link whose name tells what it is.
    return click.Path(exists=True, dir_okay=False, executable=program, resolve_path=not program, path_type=Path)


@main.command()
@_lab_option
@click.option("--tenants", type=click.IntRange(0, model.MAX_TENANTS), help="Tenant clusters.  [default: 1]")
@click.option(
    "--nodes", type=click.IntRange(1, model.MAX_NODES), help="Nodes of each cluster.  [default: local 2, kind 1]"
)
@click.option("--without", callback=_parts, metavar="ccm,manager", help="Parts of the product that are not deployed.")
@click.option(
    "--images", type=_file(), metavar="FILE", help="local: catalogue of further images: `image: {command, args, env}`."
)
@click.option(
    "--kube-proxy-sync",
    callback=_duration,
    metavar="DURATION",
    help="local: kube-proxy's least time between two syncs, e.g. 0s.  [default: 1s, as in real clusters]",
)
@click.option(
    "--ip-family",
    type=click.Choice(model.IP_FAMILIES),
    help="local: dual has IPv6 addresses beside IPv4 for nodes, pods and Services.  [default: ipv4]",
)
@click.option("--kubernetes", metavar="MINOR", help="kind: Kubernetes of e2e/config.yaml, e.g. 1.35.")
@click.option("--kind-image", "node_image", metavar="IMAGE", help="kind: image of the nodes, instead of --kubernetes.")
@click.option("--kind-bin", type=_file(program=True), help="kind: the program.  [default: .tools/kind, then PATH]")
@click.option(
    "--kubectl", type=_file(program=True), help="kind, existing: the program.  [default: the built one, PATH]"
)
@click.option(
    "--api-port",
    type=click.IntRange(1, 65000),
    help="kind: host port of the management cluster's API server; the tenants' follow.  [default: free ones]",
)
@click.option("--fresh", is_flag=True, help="kind: remove what is there of this lab, even if it is complete.")
@click.option("--reuse", is_flag=True, help="kind: of what an interrupted start left, keep the clusters that work.")
def up(  # click passes them by name
    name: str,
    kind: str | None,
    without: tuple[str, ...] | None,
    kind_bin: Path | None,
    **options: object,
) -> None:
    """Start a lab, or complete the one that runs; harmless to repeat."""
    provider = providers.of(name, kind)
    wish = Wish(without=without, kind=kind_bin, **options)  # type: ignore[arg-type]  # click has checked them
    if wrong := not_for(provider.name, wish):
        raise click.UsageError(f"{', '.join(wrong)}: not for --provider {provider.name}")
    lab = provider.up(name, wish, say=_say)
    product.deploy(lab, without if without is not None else lab.without, say=_say)


@main.command()
@_lab_option
@click.argument("which", metavar="management|tenant-N|ccm-N")
def kubeconfig(name: str, kind: str | None, which: str) -> None:
    """Print the path of a kubeconfig that works on this host while the lab runs.

    ccm-N is the credential that the manager generated for the agent of tenant-N.
    """
    click.echo(_find(name, kind).kubeconfig(which))


@main.command(context_settings={"ignore_unknown_options": True})
@_lab_option
@click.option("--in", "where", default=MANAGEMENT, show_default=True, help="Whose KUBECONFIG the command gets.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str, kind: str | None, where: str, command: tuple[str, ...]) -> None:
    """Run a command inside the lab's network: kubectl is there, node and LoadBalancer addresses answer.

    KUBECONFIG is the cluster of --in; KUBECONFIG_MANAGEMENT, KUBECONFIG_TENANT_1, ... and (once the
    product is deployed) KUBECONFIG_CCM_1, ... are set too. The command's exit code is passed on.
    """
    lab = _find(name, kind)
    words = lab.command_line(command)
    try:
        # Same terminal, and its exit code is ours.
        os.execvpe(words[0], words, lab.environment(where))  # noqa: S606  # no shell is meant
    except OSError as error:
        raise LabError(f"{words[0]}: {error.strerror}") from error


@main.command()
@_lab_option
@click.argument("target", metavar="ADDRESS:PORT")
def forward(name: str, kind: str | None, target: str) -> None:
    """Print an ADDRESS:PORT of this host that leads to an address of the lab while it runs."""
    click.echo(_find(name, kind).forward(target))


@main.command()
@_lab_option
def status(name: str, kind: str | None) -> None:
    """Show clusters, their parts and LoadBalancer addresses; the exit code is 1 if a part does not run."""
    now = _find(name, kind).status()
    click.echo(tables.status(now))
    if not now.healthy:
        sys.exit(1)


@main.command()
@_lab_option
@click.option("--in", "where", metavar="CLUSTER", help="Only in this cluster.")
@click.option("-c", "--container", help="Only this container.")
@click.option("-p", "--previous", is_flag=True, help="All runs of a container that are kept, not just the last.")
@click.argument("pod", metavar="[NAMESPACE/]POD")
def logs(  # click passes them by name
    name: str,
    kind: str | None,
    where: str | None,
    container: str | None,
    previous: bool,  # noqa: FBT001
    pod: str,
) -> None:
    """Print the logs of a pod in any cluster; the beginning of its name is enough.

    With provider local they stay until `down`, so the logs of a pod that is gone can still be read.
    """
    found = _find(name, kind).logs(pod, cluster=where, container=container, all_runs=previous)
    for log in found:
        if len(found) > 1:
            click.secho(f"==> {log.title}", bold=True, err=True)
        click.echo(log.text, nl=False)


@main.command()
@_lab_option
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def dump(name: str, kind: str | None, folder: Path) -> None:
    """Write objects, events, logs and Envoy's configuration of all clusters into FOLDER."""
    artifacts.dump(_find(name, kind), folder)
    click.echo(folder)


@main.command()
@_lab_option
def down(name: str, kind: str | None) -> None:
    """End a lab; no process, namespace, container, network or file of it stays, also after a crash."""
    if providers.down(name, kind, say=_say):
        click.echo(f"lab {name} is gone")
    else:
        click.echo(f"there is no lab {name} in {state_root()}")


def _say(text: str, seconds: float) -> None:
    click.echo(f"[{seconds:6.1f}s] {text}")


if __name__ == "__main__":
    main()
