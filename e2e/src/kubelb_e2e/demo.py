"""`make demo`: one management cluster, two tenants, the life of an Ingress and of a LoadBalancer Service.

Each step is seen by watching the API servers and by asking the address, and shown with the
milliseconds since the object was applied.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from tabulate import tabulate

from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import AlreadyExists, KubeError
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import conditions, view
from kubelb_common.runtime.clock import SystemClock
from kubelb_common.runtime.informer import Informer
from kubelb_common.telemetry import logs
from kubelb_e2e import product, providers
from kubelb_e2e.clusters.base import Lab, Wish, credential_name
from kubelb_e2e.clusters.base import tenants as tenants_of
from kubelb_e2e.errors import LabError
from kubelb_e2e.scenario import ECHO_TCP, Tenant
from kubelb_e2e.traffic import Traffic, traffic

LAB = "demo"
NAMESPACE = "demo"
HOST = "demo.example.com"
TCP_PORT = 9000
_LIMIT = 60.0


class DemoError(Exception):
    """A step did not come; the text says which."""


class Steps:
    """Waits for named steps and notes when each was seen."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._seen: dict[str, float] = {}
        self._informers: list[Informer] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()

    async def follow(self, client: AioClient, resource: Resource, namespace: str) -> None:
        """Watch a kind; its objects are what conditions are about."""
        informer = Informer(client, resource, namespace=namespace, clock=SystemClock())
        informer.on_change(lambda _change: self._look())
        self._informers.append(informer)
        self._tasks.append(asyncio.create_task(informer.run()))
        await informer.wait_synced()

    def begin(self, conditions_: dict[str, Callable[[Object], bool]]) -> None:
        """Start the clock; `conditions_` maps a step to what one of the watched objects must show."""
        self._conditions = conditions_
        self._started = time.monotonic()

    def note(self, step: str) -> None:
        """Note a step that was seen elsewhere."""
        self._seen.setdefault(step, time.monotonic() - self._started)
        self._changed.set()

    def _look(self) -> None:
        for step, holds in getattr(self, "_conditions", {}).items():
            if step in self._seen:
                continue
            if any(holds(obj) for informer in self._informers for obj in informer.store.list()):
                self.note(step)

    async def all(self, steps: list[str]) -> dict[str, float]:
        """Wait until every step was seen; return seconds by step."""
        try:
            async with asyncio.timeout(_LIMIT):
                while missing := [step for step in steps if step not in self._seen]:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise DemoError(f"after {_LIMIT:.0f} s still missing: {', '.join(missing)}") from None
        return {step: self._seen[step] for step in steps}

    async def close(self) -> None:
        """End the watches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _kind(kind: str, name: str | None = None) -> Callable[[Object], bool]:
    return lambda obj: view.kind(obj) == kind and (name is None or view.name(obj) == name)


def _programmed(kind: str) -> Callable[[Object], bool]:
    return lambda obj: (
        view.kind(obj) == kind and conditions.is_true(view.objects(obj, "status", "conditions"), "Programmed")
    )


def _addressed(kind: str, name: str) -> Callable[[Object], bool]:
    return lambda obj: _kind(kind, name)(obj) and bool(view.get(obj, "status", "loadBalancer", "ingress"))


async def ingress_story(tenant: Tenant, hub: AioClient, worker: Traffic) -> tuple[dict[str, float], str]:
    """Apply an Ingress; return its steps and its address."""
    steps = Steps()
    for resource in (resources.SERVICES, resources.INGRESSES):
        await steps.follow(tenant.client, resource, NAMESPACE)
    await steps.follow(hub, resources.ROUTES, tenant.hub_namespace)
    story: dict[str, Callable[[Object], bool]] = {
        "1 Ingress is in the tenant cluster": _kind("Ingress", "web"),
        "2 CCM made the NodePort twin": _kind("Service", "echo-nodeport"),
        "3 CCM wrote the Route into the hub": _kind("Route"),
        "4 every Envoy acknowledged (Programmed)": _programmed("Route"),
        "5 address is in the tenant's Ingress": _addressed("Ingress", "web"),
    }
    last = "6 first 200 through Envoy"
    steps.begin(story)
    await tenant.ingress("web", (HOST, "/", "echo"))
    answering = asyncio.create_task(_first_answer(tenant, resources.INGRESSES, "web", steps, last, worker))
    try:
        found = await steps.all([*story, last])
        return found, await answering
    finally:
        answering.cancel()
        await steps.close()


async def service_story(tenant: Tenant, hub: AioClient, worker: Traffic) -> tuple[dict[str, float], str]:
    """Apply a Service of type LoadBalancer; return its steps and its address."""
    steps = Steps()
    await steps.follow(tenant.client, resources.SERVICES, NAMESPACE)
    await steps.follow(hub, resources.LOAD_BALANCERS, tenant.hub_namespace)
    story: dict[str, Callable[[Object], bool]] = {
        "1 Service is in the tenant cluster": _kind("Service", "echo-lb"),
        "2 it has a node port": lambda obj: (
            _kind("Service", "echo-lb")(obj) and bool(view.get(obj, "spec", "ports", 0, "nodePort"))
        ),
        "3 CCM wrote the LoadBalancer into the hub": _kind("LoadBalancer"),
        "4 every Envoy acknowledged (Programmed)": _programmed("LoadBalancer"),
        "5 address is in the tenant's Service": _addressed("Service", "echo-lb"),
    }
    last = "6 first answer through Envoy"
    steps.begin(story)
    await tenant.load_balancer("echo-lb", app="echo", port=TCP_PORT, target=ECHO_TCP)
    answering = asyncio.create_task(_first_answer(tenant, resources.SERVICES, "echo-lb", steps, last, worker))
    try:
        found = await steps.all([*story, last])
        return found, await answering
    finally:
        answering.cancel()
        await steps.close()


async def _first_answer(tenant: Tenant, resource: Resource, name: str, steps: Steps, step: str, worker: Traffic) -> str:
    """Ask the address as soon as the tenant knows it."""
    while True:
        obj = await tenant.client.get(resource, name, NAMESPACE)
        address = view.text(obj, "status", "loadBalancer", "ingress", 0, "ip")
        if address and resource is resources.INGRESSES:
            found = await worker.until(address, HOST, seconds=_LIMIT)
            if found["reached"]:
                steps.note(step)
                return address
        elif address:
            answer = await worker.tcp(address, TCP_PORT)
            if answer["text"]:
                steps.note(step)
                return address
        await asyncio.sleep(0.01)


async def tell(lab: Lab) -> None:
    """Run both stories and show them."""
    hub = AioClient(kubeconfig.load(lab.kubeconfig("management")))
    tenants = []
    for cluster in tenants_of(lab):
        client = AioClient(kubeconfig.load(lab.kubeconfig(cluster)))
        agent = AioClient(kubeconfig.load(lab.kubeconfig(credential_name(cluster))))
        tenants.append(Tenant(cluster, client, agent.namespace, agent, NAMESPACE))
    try:
        async with traffic(lab.command_line([])) as worker:
            with _timed("deploying an echo application in each tenant"):
                for tenant in tenants:
                    await _application(tenant)
            found, address = await ingress_story(tenants[0], hub, worker)
            _table(f"{tenants[0].name}: Ingress web, host {HOST}", found)
            answer = await worker.get(address, HOST)
            click.echo(f"  http://{HOST}/ at {address} -> {answer.status}: {answer.body.splitlines()[0]}")
            found, tcp_address = await service_story(tenants[1], hub, worker)
            _table(f"{tenants[1].name}: Service echo-lb, type LoadBalancer, port {TCP_PORT}", found)
            line = await worker.tcp(tcp_address, TCP_PORT, "hello\n")
            click.echo(f"  tcp {tcp_address}:{TCP_PORT} -> {line['text'].strip()}")
        outside = lab.forward(f"{address}:80")
        click.echo(f"\nFrom this machine:  curl -H 'Host: {HOST}' http://{outside}/")
        await _from_here(outside)
    finally:
        for client in (hub, *(t.client for t in tenants), *(t.agent for t in tenants)):
            await client.close()


async def _from_here(address: str) -> None:
    """Ask once from the host itself, so that what is printed is true."""
    async with traffic() as here:
        host, _, port = address.rpartition(":")
        answer = await here.get(host, HOST, port=int(port))
    if answer.status != 200:
        raise DemoError(f"the host got {answer.status} {answer.error} from {address}")
    click.echo(f"  -> {answer.status}: {answer.body.splitlines()[0]}")


async def _application(tenant: Tenant) -> None:
    try:
        await tenant.client.create(resources.NAMESPACES, {"metadata": {"name": NAMESPACE}})
        await tenant.app("echo", replicas=2)
    except AlreadyExists as error:
        raise DemoError(f"the lab {LAB!r} has a demo in it; end it: kubelb-e2e down --name {LAB}") from error
    while True:
        deployment = await tenant.get(resources.DEPLOYMENTS, "echo")
        if view.get(deployment, "status", "readyReplicas") == 2:
            return
        await asyncio.sleep(0.1)


def _table(title: str, steps: dict[str, float]) -> None:
    rows = [(step, f"{seconds * 1000:.0f}") for step, seconds in steps.items()]
    click.echo(f"\n{title}")
    click.echo(tabulate(rows, headers=("step", "ms since apply"), tablefmt="simple", colalign=("left", "right")))


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    click.echo(f"{what} ...", nl=False)
    yield
    click.echo(f" {time.monotonic() - started:.1f} s")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help=f"Leave the lab running; end it by: kubelb-e2e down --name {LAB}")
def main(*, keep: bool) -> None:
    """Show the life of an Ingress and of a LoadBalancer Service across two clusters."""
    logs.configure("error")
    try:
        lab = providers.get("local").up(LAB, Wish(tenants=2, nodes=2), say=_say)
        product.deploy(lab, (), say=_say)
        asyncio.run(tell(lab))
    except (LabError, DemoError, KubeError) as error:
        click.echo(f"\nerror: {error}", err=True)
        click.echo(f"the lab is still there: kubelb-e2e dump DIR --name {LAB}; kubelb-e2e down --name {LAB}", err=True)
        sys.exit(1)
    if keep:
        click.echo(f"\nThe lab stays: kubelb-e2e run --name {LAB} -- kubectl get pods -A; kubelb-e2e down --name {LAB}")
    else:
        providers.get("local").down(LAB, say=_say)
        click.echo("\nThe lab is gone, nothing is left (KEEP=1 make demo keeps it).")


def _say(text: str, seconds: float) -> None:
    click.echo(f"[{seconds:6.1f}s] {text}")


if __name__ == "__main__":
    main()
