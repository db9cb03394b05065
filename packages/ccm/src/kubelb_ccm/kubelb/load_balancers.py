"""`kubelb lb`: list, get, create, delete."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import click

from kubelb_ccm.kubelb import endpoints
from kubelb_ccm.kubelb.draft import Draft, Protocol, ServiceType, load_balancer
from kubelb_ccm.kubelb.endpoints import EndpointError
from kubelb_ccm.kubelb.session import Session, global_options, work
from kubelb_ccm.kubelb.standing import State, addresses, current, hostname, standing, wants_hostname, wrong
from kubelb_ccm.kubelb.wait import Waited, until_gone, until_ready
from kubelb_common import console, names
from kubelb_common.console import Format
from kubelb_common.kube.errors import AlreadyExists, Invalid, NotFound
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import LOAD_BALANCERS
from kubelb_common.objects import view

#: Its Service in the management cluster is called `envoy-<name>`.
_NAME_MAX = 57
_COLUMNS = ("name", "type", "address", "hostname", "ports", "ready", "origin", "age")


@click.group("lb")
@global_options()
def lb() -> None:
    """Load balancers (alias: loadbalancer).

    All that the tenant has are listed, those of its Services too.

    \b
    kubelb lb list
    kubelb lb create web --endpoints 192.0.2.7:30080,192.0.2.8:30080 --type LoadBalancer --protocol tcp
    kubelb lb get web -o yaml
    kubelb lb delete web
    """


@lb.command("list")
@console.output_option
@global_options()
@click.pass_context
def list_(ctx: click.Context, output: Format) -> None:
    """List the tenant's load balancers.

    \b
    kubelb lb list
    kubelb lb list -o json | jq -r '.items[].metadata.name'
    """
    found = work(ctx, _all)
    if output != "table":
        click.echo(console.document({"apiVersion": "v1", "kind": "List", "items": found}, output))
    elif found:
        now = datetime.now(UTC)
        click.echo(console.table(_COLUMNS, [_row(item, now) for item in found]))
    else:
        click.echo("There are no load balancers.", err=True)


async def _all(session: Session) -> list[Object]:
    listed = await session.client.list(LOAD_BALANCERS, session.namespace)
    return [_shown(item) for item in listed.items]


@lb.command()
@click.argument("name")
@console.output_option
@global_options()
@click.pass_context
def get(ctx: click.Context, name: str, output: Format) -> None:
    """Show one load balancer, with what is wrong with it.

    \b
    kubelb lb get web
    kubelb lb get web -o json | jq .status.conditions
    """
    _print(work(ctx, lambda session: _one(session, name)), output)


async def _one(session: Session, name: str) -> Object:
    try:
        return _shown(await session.client.get(LOAD_BALANCERS, name, session.namespace))
    except NotFound as error:
        raise console.Failure(
            f"there is no load balancer '{name}' in {session.namespace}; `kubelb lb list` shows those there are"
        ) from error


@lb.command()
@click.argument("name")
@click.option(
    "--endpoints",
    "where",
    required=True,
    metavar="IP:PORT,...",
    help="Where connections go: IP:PORT, [IPV6]:PORT or NAME:PORT, separated by commas. Anything but a node port of "
    "the tenant's nodes needs a grant of the platform team (endpoints.allowed of the Tenant).",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Clients connect to it.")
@click.option(
    "--type",
    "service_type",
    type=click.Choice(("ClusterIP", "LoadBalancer"), case_sensitive=False),
    metavar="ClusterIP|LoadBalancer",
    default="ClusterIP",
    show_default=True,
    help="LoadBalancer: it gets an address of its own. ClusterIP: it is reached by its host name.",
)
@click.option(
    "--protocol",
    type=click.Choice(("http", "tcp", "udp"), case_sensitive=False),
    default="http",
    show_default=True,
    help="http: TCP, with a host name that leads to it.",
)
@click.option("--hostname", default="", metavar="NAME", help="The host name; without it http gets a generated one.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is reachable.")
@console.output_option
@global_options()
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    where: str,
    port: int,
    service_type: ServiceType,
    protocol: Protocol,
    hostname: str,
    *,
    wait: bool,
    output: Format,
) -> None:
    """Make a load balancer that has no Service behind it.

    \b
    An address of its own, to two nodes of the tenant:
      kubelb lb create web --type LoadBalancer --protocol tcp --port 443 \\
        --endpoints 192.0.2.7:30443,192.0.2.8:30443
    IPv6 addresses stand in brackets:
      kubelb lb create web --endpoints '[2001:db8::7]:30080' --hostname web.example.com
    Do not wait, and take the object from standard output:
      kubelb lb create dns --protocol udp --port 53 --endpoints 192.0.2.7:30053 --no-wait -o yaml
    """
    try:
        draft = Draft(_checked(name), endpoints.parse(where), port, protocol, service_type, hostname)
    except EndpointError as error:
        raise click.BadParameter(str(error), ctx, param_hint="--endpoints") from error
    if hostname and protocol == "udp":
        raise click.UsageError("--hostname leads to HTTP, which --protocol udp is not; leave one of them out", ctx)
    if not wait:
        _print(work(ctx, lambda session: _create(session, draft)), output)
        return
    waited = work(ctx, lambda session: _create_and_wait(session, draft))
    if waited.obj is not None and waited.in_time and standing(waited.obj).state is State.READY:
        _print(_shown(waited.obj), output)
        return
    if waited.obj is not None:
        _print_conditions(waited.obj)
    raise console.Failure(_why_not(name, waited))


def _checked(name: str) -> str:
    if len(name) > _NAME_MAX or names.dns_label(name) != name:
        raise click.BadParameter(
            f"'{name}' is no name: a letter, then lower-case letters, digits and '-', at most {_NAME_MAX} characters",
            param_hint="NAME",
        )
    return name


async def _create(session: Session, draft: Draft) -> Object:
    wanted = load_balancer(draft, session.namespace)
    try:
        made = await session.client.create(LOAD_BALANCERS, wanted, session.namespace)
    except AlreadyExists as error:
        raise console.Failure(
            f"load balancer '{draft.name}' exists in {session.namespace}; choose another name, or delete it with "
            f"`kubelb lb delete {draft.name}`"
        ) from error
    except Invalid as error:
        raise console.Failure(f"the management cluster refused the load balancer: {error.message}") from error
    session.say(f"{draft.name}: created")
    return _shown(made)


async def _create_and_wait(session: Session, draft: Draft) -> Waited:
    began = asyncio.get_running_loop().time()
    await _create(session, draft)
    spent = asyncio.get_running_loop().time() - began
    # A little earlier than the whole command, so that what is known by then can be told.
    return await until_ready(session, draft.name, max((session.seconds - spent) * 0.98 - 0.1, 0.1))


def _why_not(name: str, waited: Waited) -> str:
    lb_ = waited.obj
    if lb_ is None:
        return f"load balancer '{name}' was deleted by somebody else while it was waited for"
    found = standing(lb_)
    if found.state is State.REFUSED:
        return f"load balancer '{name}' is refused: {found.text}"
    hint = ""
    if wants_hostname(lb_) and not hostname(lb_):
        hint = "; without a wildcard domain of the platform team it needs --hostname, or --type LoadBalancer"
    return f"load balancer '{name}' is not reachable in time: {found.text}{hint}; it stays, see `kubelb lb get {name}`"


@lb.command()
@click.argument("name")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is gone.")
@global_options()
@click.pass_context
def delete(ctx: click.Context, name: str, *, force: bool, wait: bool) -> None:
    """Delete a load balancer; asks first.

    \b
    kubelb lb delete web
    kubelb lb delete web --force --no-wait
    """
    found = work(ctx, lambda session: _one(session, name))
    if view.annotations(found).get(names.ANNOTATION_CLI) != "true":
        origin = _origin(found)
        told = f"it comes from {origin} in the tenant's cluster, whose agent makes it again" if origin else ""
        click.echo(
            console.printable(f"Warning: '{name}' was not made by kubelb{'; ' + told if told else ''}."), err=True
        )
    if not force:
        click.confirm(f"Delete load balancer '{name}'? Its address stops to answer.", abort=True, err=True)
    work(ctx, lambda session: _delete(session, found, wait=wait))


async def _delete(session: Session, found: Object, *, wait: bool) -> None:
    name, uid = view.name(found), view.uid(found)
    try:
        await session.client.delete(LOAD_BALANCERS, name, session.namespace, uid=uid)
    except NotFound:
        session.say(f"{name}: is gone already")
        return
    if wait:
        session.say(f"{name}: waits until no proxy serves it")
        await until_gone(session, name, uid)
    session.say(f"{name}: deleted")


# What is printed ------------------------------------------------------------------------------------


def _shown(obj: Object) -> Object:
    """Leave out what nobody reads."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def _print(obj: Object, output: Format) -> None:
    if output != "table":
        click.echo(console.document(obj, output))
        return
    click.echo(console.fields(_details(obj)))
    _print_conditions(obj, err=False)


def _print_conditions(obj: Object, *, err: bool = True) -> None:
    rows = [[view.text(item, key) for key in ("type", "status", "reason", "message")] for item in current(obj)]
    if rows:
        click.echo("", err=err)
        click.echo(console.table(("condition", "status", "reason", "message"), rows), err=err)


def _details(obj: Object) -> list[tuple[str, Any]]:
    found = standing(obj)
    return [
        ("Name", view.name(obj)),
        ("Namespace", view.namespace(obj)),
        ("Origin", _origin(obj)),
        ("Made by kubelb", "yes" if view.annotations(obj).get(names.ANNOTATION_CLI) == "true" else "no"),
        ("Type", view.text(obj, "spec", "type")),
        ("Ports", _ports(obj)),
        ("Endpoints", _endpoints(obj)),
        ("Addresses", ", ".join(addresses(obj))),
        ("Host name", hostname(obj) or view.text(obj, "spec", "hostname")),
        ("State", f"{found.state}: {found.text}" if found.text else found.state),
    ]


def _row(obj: Object, now: datetime) -> list[str]:
    found = standing(obj)
    problems = wrong(obj)
    ready = found.state if found.state is State.READY or not problems else view.text(problems[0], "reason")
    return [
        view.name(obj),
        view.text(obj, "spec", "type"),
        ",".join(addresses(obj)),
        hostname(obj) or view.text(obj, "spec", "hostname"),
        _ports(obj),
        ready,
        _origin(obj),
        console.age(view.creation_time(obj), now),
    ]


def _ports(obj: Object) -> str:
    found = view.objects(obj, "spec", "ports")
    return ",".join(f"{item.get('port')}/{item.get('protocol') or 'TCP'}" for item in found)


def _endpoints(obj: Object) -> str:
    told: list[str] = []
    for each in view.objects(obj, "spec", "endpoints"):
        reference = view.text(each, "addressesReference", "name")
        hosts = [view.text(item, "ip") or view.text(item, "hostname") for item in view.objects(each, "addresses")]
        ports = "/".join(str(item.get("port")) for item in view.objects(each, "ports"))
        told += [f"Addresses {reference}:{ports}"] if reference else [f"{_bracketed(host)}:{ports}" for host in hosts]
    return ", ".join(told)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _origin(obj: Object) -> str:
    labels = view.labels(obj)
    name = labels.get(names.LABEL_ORIGIN_NAME, "")
    return f"{labels.get(names.LABEL_ORIGIN_NAMESPACE, '')}/{name}" if name else ""
