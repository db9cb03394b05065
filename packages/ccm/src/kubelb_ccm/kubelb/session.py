"""The global flags, and the tenant's namespace of the management cluster that they lead to.

The flags may stand before or after a command's name, as users of the original are used to; what is nearer to the
end of the line wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from kubelb_common import console, names
from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import KubeError
from kubelb_common.kube.port import KubeClient
from kubelb_common.telemetry import logs

_Command = TypeVar("_Command", bound=Callable[..., Any])
_T = TypeVar("_T")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NAMESPACE_MAX = 63
_LEVELS = ("error", "warning", "info", "debug", "debug")


@dataclass(frozen=True, slots=True)
class Session:
    """A tenant in the management cluster, for the time of one command.

    Attributes:
        client: the management cluster, by the tenant's credential.
        server: its URL.
        namespace: of the tenant there.
        seconds: that the command may take.
        quiet: no progress is shown.
    """

    client: KubeClient
    server: str
    namespace: str
    seconds: float
    quiet: bool

    def say(self, text: str) -> None:
        """Tell of progress on standard error."""
        if not self.quiet:
            click.echo(console.printable(text), err=True)


def global_options(*, hidden: bool = True) -> Callable[[_Command], _Command]:
    """Return a decorator that adds the global flags; they are shown in the help of the program itself only."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(_options(hidden=hidden)):
            command = option(command)
        return command

    return decorate


def _options(*, hidden: bool) -> list[Callable[[Any], Any]]:
    def option(*flags: str, **more: Any) -> Callable[[Any], Any]:
        return click.option(*flags, **more, expose_value=False, callback=_remember, hidden=hidden)

    return [
        option(
            "--kubeconfig",
            metavar="FILE",
            envvar="KUBECONFIG",
            help="The tenant's credential for the management cluster.  [env: KUBECONFIG]",
        ),
        option(
            "-t",
            "--tenant",
            metavar="NAME",
            envvar="TENANT_NAME",
            help="The Tenant's name.  [env: TENANT_NAME; default: the namespace of the kubeconfig]",
        ),
        option(
            "--timeout",
            type=console.Duration(),
            default="4m",
            show_default=True,
            help="How long a command may take, waiting included.",
        ),
        option("-v", "--v", "verbosity", type=click.IntRange(0, 4), default=0, metavar="0-4", help="How much to log."),
        option("-q", "--quiet", is_flag=True, help="Show no progress."),
    ]


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    known: dict[str, Any] = ctx.find_root().ensure_object(dict)
    assert param.name is not None
    if ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE or param.name not in known:
        known[param.name] = value


def work(ctx: click.Context, task: Callable[[Session], Coroutine[Any, Any, _T]]) -> _T:
    """Run the task of a command in a session, within its time.

    Raises:
        click.UsageError: a flag is missing or wrong.
        console.Failure: the rest that can go wrong.
    """
    flags: dict[str, Any] = ctx.find_root().ensure_object(dict)
    logs.configure(_LEVELS[flags["verbosity"]], json=False)
    path = flags["kubeconfig"]
    if not path:
        raise click.UsageError("--kubeconfig is missing: give the tenant's file, or set KUBECONFIG", ctx)
    try:
        source = kubeconfig.load(path)
        access = source.read()
    except KubeError as error:
        raise console.Failure(str(error)) from error
    namespace = _namespace(flags["tenant"] or "", access.namespace, ctx)

    async def run() -> _T:
        client = AioClient(source, user_agent="kubelb")
        try:
            return await task(Session(client, access.server, namespace, flags["timeout"], flags["quiet"]))
        finally:
            await client.close()

    return console.run(run(), flags["timeout"])


def _namespace(tenant: str, found: str, ctx: click.Context) -> str:
    if not tenant and not found.startswith(names.TENANT_NAMESPACE_PREFIX):
        raise click.UsageError("--tenant is missing: give the Tenant's name, or set TENANT_NAME", ctx)
    namespace = names.tenant_namespace(tenant or found)
    if len(namespace) > _NAMESPACE_MAX or not _LABEL.fullmatch(namespace):
        raise click.UsageError(
            f"--tenant: '{tenant}' is not a Tenant's name: lower-case letters, digits and '-', "
            f"at most {_NAMESPACE_MAX} characters together with '{names.TENANT_NAMESPACE_PREFIX}'",
            ctx,
        )
    return namespace
