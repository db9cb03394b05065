"""`kubelb-manager tenants`: list, add, kubeconfig, rotate, remove."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime
from pathlib import Path

import click

from kubelb_common import console, names
from kubelb_common.kube.errors import AlreadyExists, Conflict, Invalid, NotFound
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import LOAD_BALANCERS, ROUTES, SECRETS, TENANTS
from kubelb_common.objects import conditions, view
from kubelb_manager.commands.session import Session, connection_options, no_kind, tenant_names, work

_COLUMNS = ("name", "phase", "namespace", "token", "old token until", "age", "problem")


@click.group()
def tenants() -> None:
    """Tenants: clusters whose load is balanced here.

    Works with your own kubeconfig of the management cluster.

    \b
    kubelb-manager tenants list
    kubelb-manager tenants add shop
    kubelb-manager tenants kubeconfig shop --secret | kubectl --context shop apply -f -
    kubelb-manager tenants rotate shop --overlap 1h
    kubelb-manager tenants remove shop
    """


@tenants.command("list")
@console.output_option
@connection_options
@click.pass_context
def list_(ctx: click.Context, output: console.Format) -> None:
    """List tenants, the token in use, and what is wrong with them.

    \b
    kubelb-manager tenants list
    kubelb-manager tenants list -o json | jq -r '.items[] | select(.status.phase != "Ready") | .metadata.name'
    """
    found = work(ctx, _all)
    if output != "table":
        click.echo(console.document({"apiVersion": "v1", "kind": "List", "items": found}, output))
    elif found:
        click.echo(console.table(_COLUMNS, [_row(item, datetime.now(UTC)) for item in found]))
    else:
        click.echo("There are no tenants.", err=True)


async def _all(session: Session) -> list[Object]:
    try:
        listed = await session.client.list(TENANTS)
    except NotFound as error:
        raise no_kind(error) from error
    return [_shown(item) for item in listed.items]


@tenants.command()
@click.argument("name")
@click.option("--host", "hosts", multiple=True, metavar="GLOB", help="Hosts that it may claim; may be repeated.")
@click.option("--legacy-agent", is_flag=True, help="It runs the original's agent, which writes status itself.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for its credential.")
@console.output_option
@connection_options
@click.pass_context
def add(
    ctx: click.Context, name: str, hosts: tuple[str, ...], output: console.Format, *, legacy_agent: bool, wait: bool
) -> None:
    """Add a tenant; the manager makes its namespace and credential.

    \b
    kubelb-manager tenants add shop
    kubelb-manager tenants add shop --host '*.shop.example.com' --no-wait -o yaml

    What else can be set: kubectl explain tenant.spec
    """
    _check_name(ctx, name)
    spec: Object = {"hosts": {"allowed": list(hosts)}} if hosts else {}
    if legacy_agent:
        spec["legacyAgent"] = True
    body = {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": {"name": name}, "spec": spec}
    made = work(ctx, lambda session: _add(session, body, wait=wait))
    if output != "table":
        click.echo(console.document(_shown(made), output))
    else:
        click.echo(console.table(_COLUMNS, [_row(made, datetime.now(UTC))]))
    click.echo(f"next: {_carry(name)}", err=True)


async def _add(session: Session, body: Object, *, wait: bool) -> Object:
    name = view.name(body)
    try:
        made = await session.client.create(TENANTS, body)
    except AlreadyExists as error:
        live = await session.client.get(TENANTS, name)
        going = "is being removed; try again when it is gone" if view.deleting(live) else "exists already"
        raise console.Failure(f"tenant '{name}' {going} (kubelb-manager tenants list)") from error
    except Invalid as error:
        raise console.Failure(f"the management cluster refused the Tenant: {error.message}") from error
    except NotFound as error:
        raise no_kind(error) from error
    session.say(f"tenant '{name}' is made")
    if not wait:
        return made

    async def missing() -> str:
        nonlocal made
        made = await session.client.get(TENANTS, name)
        return "" if view.text(made, "status", "phase") == "Ready" else _problem(made) or "not looked at yet"

    await session.until(f"credential of tenant '{name}'", missing)
    return made


@tenants.command()
@click.argument("name", shell_complete=tenant_names)
@click.option("--secret", is_flag=True, help="Print the Secret that the agent reads, to apply in the tenant cluster.")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Write a file that only you can read.")
@connection_options
@click.pass_context
def kubeconfig(ctx: click.Context, name: str, to: Path | None, *, secret: bool) -> None:
    """Print the kubeconfig of a tenant's agent. It is a secret: whoever has it writes the tenant's objects.

    \b
    kubelb-manager tenants kubeconfig shop --to shop.kubeconfig
    kubelb-manager tenants kubeconfig shop --secret | kubectl --context shop apply -f -
    """
    text = work(ctx, lambda session: _kubeconfig(session, name))
    if secret:
        text = console.document(_agents_secret(text), "yaml") + "\n"
    if to is None:
        click.echo(text, nl=False)
        return
    try:
        with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            to.chmod(0o600)
            file.write(text)
    except OSError as error:
        raise console.Failure(f"{to}: {error.strerror or error}") from error


async def _kubeconfig(session: Session, name: str) -> str:
    tenant = await _tenant(session, name)
    namespace = names.tenant_namespace(name)
    try:
        secret = await session.client.get(SECRETS, names.CCM_KUBECONFIG_SECRET, namespace)
    except NotFound as error:
        raise console.Failure(f"tenant '{name}' has no kubeconfig yet: {_problem(tenant) or error.message}") from error
    try:
        return base64.b64decode(view.text(secret, "data", names.CCM_KUBECONFIG_KEY), validate=True).decode()
    except ValueError as error:
        where = f"Secret {namespace}/{names.CCM_KUBECONFIG_SECRET}"
        raise console.Failure(f"{where} holds no kubeconfig; delete it to have it made anew") from error


def _agents_secret(text: str) -> Object:
    """Return the Secret that the agent mounts in the tenant cluster."""
    metadata = {"name": names.CCM_CLUSTER_SECRET, "namespace": names.MANAGER_NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": {names.CCM_KUBECONFIG_KEY: text},
    }


@tenants.command()
@click.argument("name", shell_complete=tenant_names)
@click.option(
    "--overlap",
    type=console.Duration(),
    default="10m",
    show_default=True,
    help="How long the old token is accepted beside the new one.",
)
@click.option("--now", is_flag=True, help="Revoke the old token as soon as there is a new one: it was stolen.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the new token.")
@connection_options
@click.pass_context
def rotate(ctx: click.Context, name: str, overlap: float, *, now: bool, wait: bool) -> None:
    """Give a tenant a new token; the old one is revoked when the overlap is over.

    Carry the new kubeconfig over before that. The agent picks it up without a restart.

    \b
    kubelb-manager tenants rotate shop
    kubelb-manager tenants kubeconfig shop --secret | kubectl --context shop apply -f -

    A shorter overlap for a rotation under way is given by another one:
      kubelb-manager tenants rotate shop --now
    """
    tenant = work(ctx, lambda session: _rotate(session, name, 0.0 if now else overlap, wait=wait))
    credential = view.get(tenant, "status", "credential", default={})
    if wait:
        until = view.text(credential, "previousUntil")
        rest = f"the one before it is accepted until {until}" if until else "the one before it is revoked"
        click.echo(f"tenant '{name}' has token {credential.get('generation')}, {rest}", err=True)
    click.echo(f"next: {_carry(name)}", err=True)


async def _rotate(session: Session, name: str, overlap: float, *, wait: bool) -> Object:
    tenant = await _tenant(session, name)
    if view.deleting(tenant):
        raise console.Failure(f"tenant '{name}' is being removed")
    wanted = _generation(tenant) + 1
    notes = {names.ANNOTATION_TOKEN_GENERATION: str(wanted), names.ANNOTATION_TOKEN_OVERLAP: _go_duration(overlap)}
    patch = {"metadata": {"resourceVersion": view.resource_version(tenant), "annotations": notes}}
    try:
        tenant = await session.client.patch(TENANTS, name, patch)
    except Conflict as error:
        raise console.Failure(f"tenant '{name}' was changed at the same moment; look at it and try again") from error
    session.say(f"tenant '{name}': token {wanted} is asked for")
    if not wait:
        return tenant

    async def missing() -> str:
        nonlocal tenant
        tenant = await session.client.get(TENANTS, name)
        have = view.get(tenant, "status", "credential", "generation", default=0)
        return "" if have == wanted else f"it has token {have or 'none'}; {_problem(tenant) or 'no problem is told'}"

    await session.until(f"token {wanted} of tenant '{name}'", missing)
    return tenant


def _generation(tenant: Object) -> int:
    """Return the newest generation that was asked for or is in use."""
    asked = view.annotations(tenant).get(names.ANNOTATION_TOKEN_GENERATION, "")
    used = view.get(tenant, "status", "credential", "generation", default=1)
    return max(int(asked) if asked.isascii() and asked.isdigit() else 1, used if isinstance(used, int) else 1)


def _go_duration(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds * 1000:.0f}ms"


@tenants.command()
@click.argument("name_list", metavar="NAME...", nargs=-1, required=True, shell_complete=tenant_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until everything is gone.")
@connection_options
@click.pass_context
def remove(ctx: click.Context, name_list: tuple[str, ...], *, yes: bool, wait: bool) -> None:
    """Remove tenants: their traffic is drained, then everything of them here goes, their credential last.

    Their agents release what they hold in the tenant clusters; nothing else changes there.

    \b
    kubelb-manager tenants remove shop
    kubelb-manager tenants remove shop blog --yes --timeout 5m
    """
    found = work(ctx, lambda session: _what_goes(session, name_list))
    if not yes:
        click.echo("\n".join(found), err=True)
        if not click.confirm("Remove?", err=True):
            raise console.Failure("nothing is removed")
    work(ctx, lambda session: _remove(session, name_list, wait=wait))


async def _what_goes(session: Session, wanted: tuple[str, ...]) -> list[str]:
    lines = []
    for name in wanted:
        await _tenant(session, name)
        home = names.tenant_namespace(name)
        counts = [len((await session.client.list(kind, home)).items) for kind in (LOAD_BALANCERS, ROUTES)]
        lines.append(f"tenant '{name}' serves {counts[0]} LoadBalancers and {counts[1]} Routes")
    return lines


async def _remove(session: Session, wanted: tuple[str, ...], *, wait: bool) -> None:
    uids = {name: view.uid(await _tenant(session, name)) for name in wanted}
    for name, uid in uids.items():
        await session.client.delete(TENANTS, name, uid=uid)
        session.say(f"tenant '{name}' is being removed")

    async def missing() -> str:
        left = {view.uid(item): item for item in (await session.client.list(TENANTS)).items}
        return ", ".join(f"{name}: {_problem(left[uid]) or 'still there'}" for name, uid in uids.items() if uid in left)

    if wait:
        await session.until("removal", missing)
        session.say("gone")


async def _tenant(session: Session, name: str) -> Object:
    try:
        return await session.client.get(TENANTS, name)
    except NotFound as error:
        known = [view.name(item) for item in await _all(session)]
        shown = ", ".join(known[:10]) + (" ..." if len(known) > 10 else "")
        raise console.Failure(f"there is no tenant '{name}'; there are: {shown or 'none'}") from error


def _check_name(ctx: click.Context, name: str) -> None:
    if problem := names.tenant_name_problem(name):
        raise click.BadParameter(f"'{name}' {problem}", ctx, param_hint="NAME")


def _carry(name: str) -> str:
    return (
        f"kubelb-manager tenants kubeconfig {name} --secret | kubectl --context TENANT_CLUSTER apply -f -  "
        "# the agent reads it without a restart"
    )


def _row(tenant: Object, now: datetime) -> tuple[object, ...]:
    credential = view.get(tenant, "status", "credential", default={})
    return (
        view.name(tenant),
        view.text(tenant, "status", "phase"),
        names.tenant_namespace(view.name(tenant)),
        credential.get("generation", ""),
        view.text(credential, "previousUntil"),
        console.age(view.creation_time(tenant), now),
        _problem(tenant),
    )


def _problem(tenant: Object) -> str:
    """Return what the conditions say is wrong, empty if nothing."""
    wrong = [
        f"{view.text(item, 'reason')}: {view.text(item, 'message')}"
        for item in conditions_of(tenant)
        if item.get("status") == "False"
    ]
    if view.deleting(tenant):
        wrong.insert(0, "Terminating")
    return "; ".join(wrong)


def conditions_of(tenant: Object) -> list[Object]:
    """Return the conditions of a Tenant that tell of itself and its settings."""
    told = view.objects(tenant, "status", "conditions")
    found = (conditions.find(told, kind) for kind in ("Ready", "SettingsValid"))
    return [dict(item) for item in found if item is not None]


def _shown(obj: Object) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}
