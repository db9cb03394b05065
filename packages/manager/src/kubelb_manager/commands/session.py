"""The admin's way to the management cluster, for the time of one command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from kubelb_common import console
from kubelb_common.faults import Fault
from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import Forbidden, KubeError, NotFound
from kubelb_common.kube.port import KubeClient
from kubelb_common.objects import view
from kubelb_common.telemetry import logs

_Command = TypeVar("_Command", bound=Callable[..., Any])
_T = TypeVar("_T")
_POLL = 0.2
_COMPLETION_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Session:
    """The management cluster.

    Attributes:
        client: by the admin's credential.
        seconds: that the command may take.
        deadline: time of the loop, a little before these are over, so that what is known by then can be told.
    """

    client: KubeClient
    seconds: float
    deadline: float

    def say(self, text: str) -> None:
        """Tell of progress on standard error."""
        click.echo(console.printable(text), err=True)

    async def until(self, what: str, missing: Callable[[], Awaitable[str]]) -> None:
        """Wait until `missing` returns nothing.

        Raises:
            console.Failure: the command's time is over; the text says what was missing last.
        """
        last = ""
        try:
            async with asyncio.timeout_at(self.deadline):
                while last := await missing():  # noqa: ASYNC110 - the condition is in a cluster
                    await asyncio.sleep(_POLL)
        except TimeoutError as error:
            raise console.Failure(
                f"{what}: not within {self.seconds:g} s ({last or 'no answer'}); look whether a manager of this "
                "release runs, or give more time with --timeout"
            ) from error


def connection_options(command: _Command) -> _Command:
    """Add the flags that lead to the management cluster; they arrive in the context alone."""
    for option in (
        click.option(
            "--timeout",
            type=console.Duration(),
            default="60s",
            show_default=True,
            expose_value=False,
            callback=_remember,
            help="How long the command may take, waiting included.",
        ),
        click.option(
            "--context",
            metavar="NAME",
            expose_value=False,
            callback=_remember,
            help="Context of the kubeconfig.  [default: its current one]",
        ),
        click.option(
            "--kubeconfig",
            metavar="FILE",
            expose_value=False,
            callback=_remember,
            help="Your kubeconfig of the management cluster.  [default: $KUBECONFIG, the pod's own, ~/.kube/config]",
        ),
    ):
        command = option(command)
    return command


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    assert param.name is not None
    ctx.meta[f"{__name__}.{param.name}"] = value


def work(ctx: click.Context, task: Callable[[Session], Coroutine[Any, Any, _T]]) -> _T:
    """Run the task of a command, within its time.

    Raises:
        console.Failure: what can go wrong, in one line.
    """
    logs.configure("error", json=False)
    path, context = (ctx.meta.get(f"{__name__}.{name}") for name in ("kubeconfig", "context"))
    seconds = float(ctx.meta[f"{__name__}.timeout"])
    try:
        source = kubeconfig.load(path, context=context)
    except KubeError as error:
        raise console.Failure(str(error)) from error

    async def run() -> _T:
        client = AioClient(source, user_agent="kubelb-manager-cli")
        deadline = asyncio.get_running_loop().time() + seconds - min(0.5, seconds / 4)
        try:
            return await task(Session(client, seconds, deadline))
        except Forbidden as error:
            raise console.Failure(f"{error.message}; this needs the kubeconfig of an admin of the hub") from error
        finally:
            await client.close()

    return console.run(run(), seconds)


def tenant_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of Tenants; nothing while the cluster does not answer."""

    async def names() -> list[str]:
        client = AioClient(kubeconfig.load(ctx.meta.get(f"{__name__}.kubeconfig")), user_agent="kubelb-manager-cli")
        try:
            async with asyncio.timeout(_COMPLETION_SECONDS):
                return [view.name(tenant) for tenant in (await client.list(resources.TENANTS)).items]
        finally:
            await client.close()

    try:
        found = asyncio.run(names())
    except (KubeError, Fault, TimeoutError):
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def no_kind(error: NotFound) -> console.Failure:
    """Return what a 404 for a whole kind means."""
    return console.Failure(
        f"this cluster has no Tenants ({error.message}); check that the kubeconfig is the hub's, and that the CRDs are "
        "installed: kubelb-manager crds | kubectl apply -f -"
    )
