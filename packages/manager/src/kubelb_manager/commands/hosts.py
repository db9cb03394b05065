"""`kubelb-manager hosts`: list, release, give."""

from __future__ import annotations

from collections.abc import Mapping

import click

from kubelb_common import console, names
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import CONFIG_MAPS, TENANTS
from kubelb_common.objects import view
from kubelb_manager.admission import record
from kubelb_manager.admission.hosts import overlap
from kubelb_manager.admission.record import Claim
from kubelb_manager.commands.session import Session, connection_options, no_kind, tenant_names, work
from kubelb_manager.ir.model import ANY_HOST, Host
from kubelb_manager.options import Options
from kubelb_manager.translate.acceptance import is_host

_DEFAULTS = Options()
_COLUMNS = ("host", "tenant", "released")
_SELECTOR = f"{names.LABEL_RECORD}={names.HOST_CLAIMS}"
_namespace = click.option(
    "--namespace", default=_DEFAULTS.namespace, show_default=True, help="Where the manager and its records live."
)


@click.group()
def hosts() -> None:
    """Hosts: which tenant has which, in the whole hub.

    \b
    kubelb-manager hosts list --tenant shop
    kubelb-manager hosts release old.example.com
    kubelb-manager hosts give www.example.com shop
    """


@hosts.command("list")
@_namespace
@click.option("--tenant", metavar="NAME", shell_complete=tenant_names, help="Only this one's.")
@console.output_option
@connection_options
@click.pass_context
def list_(ctx: click.Context, namespace: str, tenant: str | None, output: console.Format) -> None:
    """List hosts and whose they are. RELEASED says since when nothing of the tenant names the host any more."""
    claims = work(ctx, lambda session: _claims(session, namespace))
    found = [(host, claim) for host, claim in sorted(claims.items()) if tenant in (None, claim.tenant)]
    if output != "table":
        click.echo(console.document({"items": [_item(host, claim) for host, claim in found]}, output))
    elif found:
        click.echo(console.table(_COLUMNS, [tuple(_item(host, claim).values()) for host, claim in found]))
    else:
        click.echo("No host is any tenant's.", err=True)


@hosts.command()
@click.argument("host")
@_namespace
@connection_options
@click.pass_context
def release(ctx: click.Context, host: str, namespace: str) -> None:
    """Free a host before its hold-down ends; the next tenant that names it gets it.

    A host that its tenant still names goes back to it: give it to another one instead.
    """
    wanted = _host(host)

    async def task(session: Session) -> None:
        if wanted not in await _claims(session, namespace):
            raise console.Failure(f"{wanted} is no tenant's; look at: kubelb-manager hosts list")
        await _write(session, namespace, wanted, None)

    work(ctx, task)
    click.echo(f"{wanted} is free.", err=True)


@hosts.command()
@click.argument("host")
@click.argument("tenant", shell_complete=tenant_names)
@_namespace
@connection_options
@click.pass_context
def give(ctx: click.Context, host: str, tenant: str, namespace: str) -> None:
    """Make a host a tenant's, whoever has it now. Objects of the former tenant that name it are refused then."""
    wanted = _host(host)

    async def task(session: Session) -> None:
        await _must_exist(session, tenant)
        others = [
            f"{other} ({claim.tenant})"
            for other, claim in sorted((await _claims(session, namespace)).items())
            if other != wanted and claim.tenant != tenant and overlap(other, wanted)
        ]
        if others:
            raise console.Failure(f"{wanted} overlaps with {', '.join(others[:5])}: give or release these first")
        await _write(session, namespace, wanted, Claim(tenant))

    work(ctx, task)
    click.echo(f"{wanted} is {tenant}'s.", err=True)


def _host(text: str) -> Host:
    host = text.lower().removesuffix(".")
    if host != ANY_HOST and not is_host(host):
        raise console.Failure(f"{text!r} is no host: give a DNS name, or a wildcard such as *.example.com")
    return Host(host)


async def _must_exist(session: Session, tenant: str) -> None:
    try:
        known = [view.name(item) for item in (await session.client.list(TENANTS)).items]
    except NotFound as error:
        raise no_kind(error) from error
    if tenant not in known:
        raise console.Failure(f"there is no Tenant {tenant}; look at: kubelb-manager tenants list")


async def _claims(session: Session, namespace: str) -> Mapping[Host, Claim]:
    objects = (await session.client.list(CONFIG_MAPS, namespace, label_selector=_SELECTOR)).items
    return {
        host: claim
        for item in objects
        for host, claim in record.read(item.get("data"))
        if record.object_name(host) == view.name(item)
    }


async def _write(session: Session, namespace: str, host: Host, claim: Claim | None) -> None:
    ((name, data),) = record.written({host: claim}).items()
    try:
        await session.client.patch(CONFIG_MAPS, name, {"data": data}, namespace)
    except NotFound:
        await session.client.create(CONFIG_MAPS, record.config_map(name, namespace, data), namespace)


def _item(host: Host, claim: Claim) -> Object:
    return {
        "host": str(host),
        "tenant": claim.tenant,
        "released": "" if claim.released is None else view.format_time(claim.released),
    }
