"""`kubelb-manager render`: what the manager would make of objects in files."""

from __future__ import annotations

import ipaddress
from typing import TextIO

import click

from kubelb_common import console
from kubelb_manager import untrusted
from kubelb_manager.dryrun import show
from kubelb_manager.dryrun.hub import judge
from kubelb_manager.dryrun.read import Unreadable, documents
from kubelb_manager.options import Options

_FORMS = {"ir": show.ir, "xds": show.xds, "kubernetes": show.kubernetes, "conditions": show.conditions}


class _Resolved(click.ParamType[tuple[str, str]]):
    """`NAME=IP`."""

    name = "NAME=IP"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """See click."""
        name, separator, address = str(value).partition("=")
        try:
            canonical = str(ipaddress.ip_address(address))
        except ValueError:
            canonical = ""
        name = name.lower().removesuffix(".")
        if not separator or not canonical or not untrusted.is_subdomain(name):
            self.fail(f"'{value}' is not NAME=IP, as db.example.com=192.0.2.7", param, ctx)
        return name, canonical


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.File("r", encoding="utf-8"))
@click.option(
    "--to",
    "form",
    type=click.Choice(tuple(_FORMS)),
    default="conditions",
    show_default=True,
    help="conditions: what each object is told. ir: what Envoys shall do, in our words. xds: the same in Envoy's. "
    "kubernetes: the objects that are kept in the management cluster.",
)
@click.option(
    "-o", "--output", type=click.Choice(("yaml", "json")), default="yaml", show_default=True, help="How to print it."
)
@click.option(
    "--resolve",
    "resolved",
    type=_Resolved(),
    multiple=True,
    metavar="NAME=IP",
    help="Address of a host name that an object gives as an endpoint; may be repeated. DNS is never asked.",
)
def render(files: tuple[TextIO, ...], form: str, output: console.Format, resolved: tuple[tuple[str, str], ...]) -> None:
    """Show what the manager makes of objects in files; needs no cluster.

    Reads YAML or JSON ("-": standard input): Routes, LoadBalancers and Addresses, Config and Tenants (one without
    settings is assumed where none is given), the hub's Nodes and ServiceCIDRs. All node ports count as reachable.
    Limits of a tenant, and hosts that another tenant has, are not judged.

    \b
    kubectl -n tenant-shop get routes,loadbalancers,addresses -o yaml > shop.yaml
    kubelb-manager render shop.yaml
    kubelb-manager render shop.yaml tenant.yaml --to xds -o json | jq '.fleets[0].RouteConfiguration'
    kubelb-manager render lb.yaml --resolve db.example.com=192.0.2.7 --to ir
    """
    try:
        found = [item for file in files for item in documents(file.name, _text(file))]
        names: dict[str, tuple[str, ...]] = {}
        for name, address in sorted(set(resolved)):
            names[name] = (*names.get(name, ()), address)
        judged = judge(found, names, Options())
    except Unreadable as error:
        raise console.Failure(str(error)) from error
    for note in judged.notes:
        click.echo(f"note: {console.printable(note)}", err=True)
    click.echo(console.document(_FORMS[form](judged), output))


def _text(file: TextIO) -> str:
    try:
        return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{file.name}: cannot be read as text: {error}") from error
