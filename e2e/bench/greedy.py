"""One tenant with thousands of objects and a stream of changes; what another tenant waits for its own change.

The greedy tenant writes Routes with its own credential, as an agent of its does, over a backend that answers. The
modest one adds Ingresses one after another, quiet first and then beside the other: the ratio is what it pays.
"""

from __future__ import annotations

import asyncio
import copy
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import click

from kubelb_common.kube import resources
from kubelb_common.kube.errors import KubeError
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_e2e.scenario import Tenant

#: Writes under way at once while the greedy tenant fills up.
_SIDE_BY_SIDE = 8
_SETTLE = 600.0
Series = Callable[[str], Awaitable[list[float]]]


class Greedy:
    """A tenant's Routes, made from one that its agent exported."""

    def __init__(self, tenant: Tenant, model: Object, count: int) -> None:
        self._tenant = tenant
        self._model = model
        self._names = [f"greedy-{number}" for number in range(count)]
        self.changes = 0

    def _spec(self, name: str, path: str) -> Object:
        spec = copy.deepcopy(self._model["spec"])
        rule = spec["source"]["kubernetes"]["resource"]["spec"]["rules"][0]
        rule["host"] = f"{name}.{self._tenant.name}.greedy.example.com"
        rule["http"]["paths"][0]["path"] = path
        return spec

    async def fill(self) -> None:
        """Create all Routes, and wait until the last is accepted."""
        waiting = list(reversed(self._names))

        async def write() -> None:
            while waiting:
                name = waiting.pop()
                body = {"apiVersion": self._model["apiVersion"], "kind": "Route", "metadata": {"name": name}}
                route = {**body, "spec": self._spec(name, "/")}
                await self._tenant.agent.create(resources.ROUTES, route, self._tenant.hub_namespace)

        await asyncio.gather(*(write() for _ in range(_SIDE_BY_SIDE)))
        async with asyncio.timeout(_SETTLE):
            for name in self._names[-_SIDE_BY_SIDE:]:
                while not await self._is_accepted(name):  # noqa: ASYNC110 - a cluster tells nobody here
                    await asyncio.sleep(0.5)

    async def _is_accepted(self, name: str) -> bool:
        found = await self._tenant.agent.get(resources.ROUTES, name, self._tenant.hub_namespace)
        return bool(view.get(found, "status", "conditions"))

    @asynccontextmanager
    async def changing(self, rate: float) -> AsyncIterator[None]:
        """Change one Route after another, `rate` a second as far as the cluster takes them, while this is entered."""
        tasks = [asyncio.create_task(self._change(rate / _SIDE_BY_SIDE)) for _ in range(_SIDE_BY_SIDE)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _change(self, rate: float) -> None:
        due = time.monotonic()
        while True:
            self.changes += 1
            name = self._names[self.changes % len(self._names)]
            spec = self._spec(name, f"/{self.changes}")
            try:
                await self._tenant.agent.patch(resources.ROUTES, name, {"spec": spec}, self._tenant.hub_namespace)
            except KubeError as error:
                click.echo(f"  greedy: {error}", err=True)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def clear(self) -> None:
        """Ask for the deletion of all Routes."""
        for name in self._names:
            await self._tenant.agent.delete(resources.ROUTES, name, self._tenant.hub_namespace)


async def measure(greedy: Greedy, series: Series, rate: float) -> None:
    """Print what the modest tenant waits: quiet, beside the objects, and beside the changes."""
    quiet = await series("quiet")
    await greedy.fill()
    beside = await series("beside its objects")
    began, before = time.monotonic(), greedy.changes
    async with greedy.changing(rate):
        await asyncio.sleep(2)
        changing = await series("beside its changes")
        real = (greedy.changes - before) / (time.monotonic() - began)
    for name, times in (("quiet", quiet), ("beside the objects", beside), (f"beside {real:.0f} changes/s", changing)):
        if times:
            middle = statistics.median(times)
            click.echo(f"greedy tenant: {name}: median {middle:.0f} ms, max {max(times):.0f} ms of {len(times)}")
    if quiet and changing:
        ratio = statistics.median(changing) / statistics.median(quiet)
        click.echo(f"greedy tenant: another tenant's change takes {ratio:.2f} times its quiet value (goal: under 2)")
    await greedy.clear()
