"""`kubelb-manager proxies`: what the manager knows of every Envoy."""

from __future__ import annotations

import click

from kubelb_common import console
from kubelb_common.kube.errors import ApiError, Forbidden, NotFound
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import PODS
from kubelb_common.objects import conditions, view
from kubelb_manager.commands.session import Session, connection_options, work
from kubelb_manager.options import Options

_DEFAULTS = Options()
_COLUMNS = ("fleet", "pod", "node", "ready", "connected", "generation", "refusals")
_MANAGERS = "app.kubernetes.io/name=kubelb-manager"


@click.command()
@click.option("--namespace", default=_DEFAULTS.namespace, show_default=True, help="Where the manager runs.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=_DEFAULTS.health.port,
    show_default=True,
    help="The manager's health port.",
)
@click.option("--fleet", metavar="TEXT", default="", help="Only fleets whose name holds this text.")
@console.output_option
@connection_options
@click.pass_context
def proxies(ctx: click.Context, namespace: str, port: int, fleet: str, output: console.Format) -> None:
    """Show every Envoy: its fleet, node, whether it is ready, and what it has acknowledged or refused.

    Asks the manager through the API server, so your own rights decide: list pods and get pods/proxy in the manager's
    namespace. GENERATION is acknowledged/current; an Envoy that stays behind refuses something or does not answer.

    \b
    kubelb-manager proxies
    kubelb-manager proxies --fleet tenant-shop -o yaml
    kubelb-manager proxies -o json | jq '.items[] | select(.refusals != [])'
    """
    found = [item for item in work(ctx, lambda session: _ask(session, namespace, port)) if fleet in item["fleet"]]
    if output != "table":
        click.echo(console.document({"items": found}, output))
    elif found:
        click.echo(console.table(_COLUMNS, [_row(item) for item in found]))
    else:
        click.echo("There are no proxies.", err=True)


async def _ask(session: Session, namespace: str, port: int) -> list[Object]:
    """Ask the managers one after another; each knows the streams of its own proxies."""
    pods = (await session.client.list(PODS, namespace, label_selector=_MANAGERS)).items
    ready = [pod for pod in pods if conditions.is_true(view.objects(pod, "status", "conditions"), "Ready")]
    if not ready:
        raise console.Failure(f"no manager is ready in namespace {namespace} ({len(pods)} pods with label {_MANAGERS})")
    found: dict[tuple[str, str], Object] = {}
    trouble = ""
    for pod in ready:
        try:
            answer = await session.client.get_subresource(PODS, f"{view.name(pod)}:{port}", "proxy/proxies", namespace)
        except Forbidden:
            raise
        except NotFound as error:
            raise console.Failure(f"manager {view.name(pod)} serves no /proxies on port {port}: {error}") from error
        except ApiError as error:
            trouble = f"manager {view.name(pod)} does not answer: {error}"
            continue
        if answer.get("complete") is True:
            return view.objects(answer, "proxies")
        _join(found, view.objects(answer, "proxies"))
    if trouble and not found:
        raise console.Failure(trouble)
    if trouble:
        session.say(f"{trouble}; proxies that are connected to it are shown as not connected")
    return [found[key] for key in sorted(found)]


def _join(found: dict[tuple[str, str], Object], told: list[Object]) -> None:
    """Add what one manager tells; who has a proxy's stream knows best."""
    for item in told:
        key = view.text(item, "fleet"), view.text(item, "pod")
        if key not in found or item.get("connected") is True:
            found[key] = item


def _row(item: Object) -> tuple[object, ...]:
    generation = view.get(item, "generation", default={})
    refusals = [f"{entry.get('type')}: {entry.get('message')}" for entry in view.objects(item, "refusals")]
    return (
        item["fleet"],
        view.text(item, "pod"),
        view.text(item, "node"),
        "yes" if item.get("ready") is True else "no",
        "yes" if item.get("connected") is True else "no",
        f"{generation.get('acknowledged', 0)}/{generation.get('current', 0)}",
        "; ".join(refusals),
    )
