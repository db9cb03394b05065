"""The words of the program `kubelb`."""

from __future__ import annotations

from importlib.metadata import version as installed

import click

from kubelb_ccm.kubelb.load_balancers import lb
from kubelb_ccm.kubelb.session import global_options
from kubelb_ccm.kubelb.status import status
from kubelb_common import console

_PROGRAM = "kubelb"


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0, 1 for a failure, 2 for wrong usage.",
)
@global_options(hidden=False)
@click.version_option(installed("kubelb-ccm"), prog_name=_PROGRAM)
def main() -> None:
    """Look at and change what a tenant has in KubeLB.

    Works in the tenant's namespace of the management cluster, with the tenant's own credential: key 'kubelb' of the
    Secret 'kubelb-ccm-kubeconfig' there, which the platform team hands out.

    \b
    export KUBECONFIG=kubelb.kubeconfig
    kubelb status
    kubelb lb list
    kubelb lb create web --endpoints 192.0.2.7:30080 --hostname web.example.com
    """


main.add_command(lb)
main.add_command(status)


class _Alias(click.Group):
    """The same commands under another name, which the list of commands leaves out."""


main.add_command(_Alias("loadbalancer", commands=lb.commands, help=lb.help, hidden=True, params=lb.params))


@main.command()
@console.output_option
@global_options()
def version(output: console.Format) -> None:
    """Show the version of this program; needs no cluster."""
    told = installed("kubelb-ccm")
    click.echo(f"{_PROGRAM} {told}" if output == "table" else console.document({"version": told}, output))


@main.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@global_options()
def completion(shell: str) -> None:
    """Print what a shell needs to complete commands and flags.

    \b
    source <(kubelb completion bash)
    kubelb completion fish > ~/.config/fish/completions/kubelb.fish
    """
    click.echo(console.completion_script(main, _PROGRAM, shell))
