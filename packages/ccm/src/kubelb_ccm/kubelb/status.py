"""`kubelb status`: how the tenant stands in the management cluster."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click

from kubelb_ccm.kubelb.session import Session, global_options, work
from kubelb_ccm.kubelb.standing import CONDITION_TYPES, current, wrong
from kubelb_common import console, names
from kubelb_common.console import Format
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import LOAD_BALANCERS, ROUTES, TENANT_STATES
from kubelb_common.objects import conditions, view

_MESSAGE_MAX = 160
#: Editions of the original and ours say so in TenantState; without it, nothing is known.
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Found:
    """What was read: the TenantState (empty where there is none), load balancers and routes."""

    server: str
    namespace: str
    state: Object
    load_balancers: list[Object]
    routes: list[Object]


@click.command()
@console.output_option
@global_options()
@click.pass_context
def status(ctx: click.Context, output: Format) -> None:
    """Show how the tenant stands.

    Version, edition, phase and limits as the manager tells them, load balancers and routes by their conditions, and
    what is wrong with which of them.

    \b
    kubelb status
    kubelb status -o json | jq '.problems[] | "\\(.kind) \\(.origin): \\(.reason)"'
    """
    told = summary(work(ctx, _read))
    if output != "table":
        click.echo(console.document(told, output))
        return
    click.echo(_text(told))


async def _read(session: Session) -> Found:
    state, load_balancers, routes = await asyncio.gather(
        _tenant_state(session),
        session.client.list(LOAD_BALANCERS, session.namespace),
        session.client.list(ROUTES, session.namespace),
    )
    return Found(session.server, session.namespace, state, load_balancers.items, routes.items)


async def _tenant_state(session: Session) -> Object:
    # Early releases of the original called it after the namespace.
    for name in (names.TENANT_STATE_NAME, session.namespace):
        try:
            return await session.client.get(TENANT_STATES, name, session.namespace)
        except NotFound:
            continue
    return {}


def summary(found: Found) -> dict[str, Any]:
    """Return what there is to say, as the document of `-o json`."""
    said = found.state.get("status") or {}
    return {
        "tenant": names.tenant_of_namespace(found.namespace),
        "namespace": found.namespace,
        "server": found.server,
        "edition": view.text(said, "version", "edition") or _UNKNOWN,
        "version": view.text(said, "version", "gitVersion") or _UNKNOWN,
        "phase": view.text(said, "phase") or _UNKNOWN,
        "lastUpdated": view.text(said, "lastUpdated") or None,
        "limits": view.get(said, "limits", default={}) or {},
        "loadBalancersDisabled": view.get(said, "loadBalancer", "disable") is True,
        "loadBalancers": _counts(found.load_balancers),
        "routes": _counts(found.routes),
        "problems": [*_problems("LoadBalancer", found.load_balancers), *_problems("Route", found.routes)],
    }


def _counts(objects: list[Object]) -> dict[str, Any]:
    by_type = {kind: dict(sorted(Counter(_state_of(obj, kind) for obj in objects).items())) for kind in CONDITION_TYPES}
    return {"total": len(objects), "conditions": by_type}


def _state_of(obj: Object, kind: str) -> str:
    item = conditions.find(current(obj), kind)
    return str(item.get("status")) if item is not None else "Unknown"


def _problems(kind: str, objects: Iterable[Object]) -> list[dict[str, str]]:
    return [
        {
            "kind": kind,
            "name": view.name(obj),
            "origin": _origin(obj),
            "type": view.text(item, "type"),
            "reason": view.text(item, "reason"),
            "message": view.text(item, "message"),
        }
        for obj in objects
        for item in wrong(obj)
    ]


def _origin(obj: Object) -> str:
    labels = view.labels(obj)
    if names.LABEL_ORIGIN_NAME not in labels:
        return ""
    kind = labels.get(names.LABEL_ORIGIN_KIND, "Service").partition(".")[0]
    return f"{kind} {labels.get(names.LABEL_ORIGIN_NAMESPACE, '')}/{labels[names.LABEL_ORIGIN_NAME]}"


def _text(told: dict[str, Any]) -> str:
    head = [
        ("Tenant", f"{told['tenant']} ({told['namespace']})"),
        ("Management cluster", told["server"]),
        ("Version", f"{told['version']}, edition {told['edition']}"),
        ("Phase", told["phase"]),
        ("Updated", told["lastUpdated"]),
    ]
    if told["loadBalancersDisabled"]:
        head.append(("Load balancers", "switched off by the platform team"))
    if told["limits"]:
        head.append(("Limits", ", ".join(f"{name} {value}" for name, value in told["limits"].items())))
    rows = [
        (name, told[key]["total"], *(_counted(told[key]["conditions"][kind]) for kind in CONDITION_TYPES))
        for name, key in (("LoadBalancer", "loadBalancers"), ("Route", "routes"))
    ]
    parts = [console.fields(head), console.table(("kind", "total", *CONDITION_TYPES), rows)]
    if told["problems"]:
        parts.append(console.table(("kind", "name", "origin", "reason", "message"), _problem_rows(told["problems"])))
    return "\n\n".join(parts)


def _counted(states: dict[str, int]) -> str:
    """Return `3 of 4`-like words: how many hold, and how many do not."""
    told = [f"{states[state]} {word}" for state, word in _WORDS if states.get(state)]
    return ", ".join(told)


_WORDS = (("True", "yes"), ("False", "no"), ("Unknown", "unknown"))


def _problem_rows(problems: list[dict[str, str]]) -> list[list[str]]:
    return [[item["kind"], item["name"], item["origin"], item["reason"], _cut(item["message"])] for item in problems]


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE_MAX else text[: _MESSAGE_MAX - 1] + "…"
