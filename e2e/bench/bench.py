"""What the local testbed measures: apply -> first 200, and writes while idle. Prints; never fails by time.

    python e2e/bench/bench.py [--count 300] [--repeat 2] [--lab bench] [--keep]

Cells, each with the outcomes seen on the way (404 then 200 is right, anything else is printed):

* Ingresses for one Service, added one after another, polled every 5 ms; mean and max of all, of the
  first fifty and of the last fifty. The first cell is run again (`--repeat`): the difference of
  the two is the noise.
* Ingresses with a new Service each: kube-proxy's sync is part of it.
* Services of type LoadBalancer, each new: first answer.
* A greedy tenant (`--greedy 5000`): its Routes and 50 changes a second beside another tenant's Ingresses; the ratio.
* Writes of our agents while nothing changes for a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from collections import Counter

import click
import greedy
from tabulate import tabulate

from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import NotFound
from kubelb_common.objects import view
from kubelb_common.telemetry import logs
from kubelb_e2e import product, providers
from kubelb_e2e.audit import writes_of_agents
from kubelb_e2e.clusters.base import Lab, Wish
from kubelb_e2e.scenario import Tenant
from kubelb_e2e.traffic import Traffic, traffic

NAMESPACE = "bench"
_FIFTY = 50
_IDLE = 60.0
_PATIENCE = 60.0
#: Ingresses of the modest tenant in each series, and changes a second of the greedy one.
_MODEST = 30
_GREEDY_RATE = 50.0


class Cell:
    """The times of one series, in milliseconds, and every outcome that was seen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ms: list[float] = []
        self.outcomes: Counter[str] = Counter()
        self.lost = 0

    def row(self) -> tuple[object, ...]:
        """Return a line of the table."""
        if not self.ms:
            return (self.name, 0, "-", "-", "-", "-", "-", "-", "nothing answered")
        first, last = self.ms[:_FIFTY], self.ms[-_FIFTY:]
        growth = statistics.mean(last) / statistics.mean(first)
        wrong = {key: count for key, count in self.outcomes.items() if key not in ("404", "200")}
        return (
            self.name,
            len(self.ms),
            f"{statistics.mean(self.ms):.0f}",
            f"{statistics.median(self.ms):.0f}",
            f"{max(self.ms):.0f}",
            f"{statistics.mean(first):.0f}",
            f"{statistics.mean(last):.0f}",
            f"{growth:.2f}",
            ", ".join(f"{count} x {key}" for key, count in sorted(wrong.items())) or "none",
        )


async def one_after_another(
    tenant: Tenant, worker: Traffic, address: str, name: str, count: int, *, own_service: bool
) -> Cell:
    """Add `count` Ingresses; each is applied when the one before answers."""
    cell = Cell(name)
    tag = name.split(maxsplit=1)[0].lower() + str(time.monotonic_ns() % 10**9)
    for number in range(count):
        host = f"h{number}.{tag}.example.com"
        service = "echo"
        if own_service:
            service = f"s{number}-{tag}"
            await tenant.service(service, app="echo")
        started = time.monotonic()
        asking = asyncio.create_task(worker.until(address, host, seconds=_PATIENCE, interval=0.005))
        await tenant.ingress(f"i{number}-{tag}", (host, "/", service))
        found = await asking
        cell.outcomes.update(found["outcomes"])
        if found["reached"]:
            # Both clocks are the machine's monotonic one.
            cell.ms.append((found["at"] - started) * 1000)
        else:
            cell.lost += 1
        if number % 25 == 24:
            click.echo(f"  {name}: {number + 1} of {count}, mean {statistics.mean(cell.ms):.0f} ms", err=True)
    return cell


async def load_balancers(tenant: Tenant, worker: Traffic, count: int) -> Cell:
    """Add Services of type LoadBalancer; time until a pod answers at the address."""
    cell = Cell("new LoadBalancer Service")
    tag = str(time.monotonic_ns() % 10**9)
    for number in range(count):
        name = f"lb{number}-{tag}"
        started = time.monotonic()
        await tenant.load_balancer(name, app="echo")
        address = ""
        while time.monotonic() - started < _PATIENCE:
            address = address or view.text(
                await tenant.get(resources.SERVICES, name), "status", "loadBalancer", "ingress", 0, "ip"
            )
            if address:
                found = await worker.tcp(address, 9000)
                cell.outcomes["200" if found["text"] else f"{'cut' if found['connected'] else 'refused'}"] += 1
                if found["text"]:
                    cell.ms.append((time.monotonic() - started) * 1000)
                    break
            await asyncio.sleep(0.005)
        else:
            cell.lost += 1
    return cell


async def measure(lab: Lab, count: int, repeat: int, few: int, many: int) -> None:
    """Run all cells and print them."""
    client = AioClient(kubeconfig.load(lab.kubeconfig("tenant-1")))
    agent = AioClient(kubeconfig.load(lab.kubeconfig("ccm-1")))
    tenant = Tenant("tenant-1", client, agent.namespace, agent, f"{NAMESPACE}-{time.monotonic_ns() % 10**6}")
    await client.create(resources.NAMESPACES, {"metadata": {"name": tenant.namespace}})
    await tenant.app("echo")
    try:
        async with traffic(lab.command_line([])) as worker:
            await tenant.ingress("warm", ("warm.example.com", "/", "echo"))
            address = ""
            while not address:
                await asyncio.sleep(0.1)
                found = await tenant.get(resources.INGRESSES, "warm")
                address = view.text(found, "status", "loadBalancer", "ingress", 0, "ip")
            await worker.until(address, "warm.example.com", seconds=_PATIENCE)
            cells = []
            for round_ in range(repeat):
                name = "one Service" + (f" (again, {round_ + 1})" if round_ else "")
                cells.append(await one_after_another(tenant, worker, address, name, count, own_service=False))
            cells.append(await one_after_another(tenant, worker, address, "new Service each", few, own_service=True))
            cells.append(await load_balancers(tenant, worker, few))
            headers = ("cell", "n", "mean ms", "median", "max", "first 50", "last 50", "growth", "wrong answers")
            click.echo(tabulate([cell.row() for cell in cells], headers=headers, tablefmt="simple"))
            lost = sum(cell.lost for cell in cells)
            if lost:
                click.echo(f"{lost} never answered within {_PATIENCE:.0f} s")
            if repeat > 1 and all(cell.ms for cell in cells[:2]):
                noise = statistics.mean(cells[1].ms) / statistics.mean(cells[0].ms)
                click.echo(f"noise: the repeated cell is {noise:.2f} times the first (it also has more objects)")
            await idle(lab)
            if many:
                await beside_a_greedy_tenant(lab, tenant, worker, address, many)
    finally:
        await client.delete(resources.NAMESPACES, tenant.namespace)
        await client.close()
        await agent.close()


async def beside_a_greedy_tenant(lab: Lab, tenant: Tenant, worker: Traffic, address: str, count: int) -> None:
    """Measure `tenant` while the lab's second one has `count` Routes and changes them."""
    client = AioClient(kubeconfig.load(lab.kubeconfig("tenant-2")))
    agent = AioClient(kubeconfig.load(lab.kubeconfig("ccm-2")))
    other = Tenant("tenant-2", client, agent.namespace, agent, f"greedy-{time.monotonic_ns() % 10**6}")
    await client.create(resources.NAMESPACES, {"metadata": {"name": other.namespace}})
    try:
        await other.app("echo")
        await other.ingress("model", (f"model.{other.namespace}.example.com", "/", "echo"))
        source = await other.get(resources.INGRESSES, "model")
        model: dict[str, object] = {}
        while not model:
            await asyncio.sleep(0.2)
            with contextlib.suppress(NotFound):
                model = await agent.get(resources.ROUTES, view.uid(source), agent.namespace)

        async def series(name: str) -> list[float]:
            cell = await one_after_another(tenant, worker, address, name, _MODEST, own_service=False)
            return cell.ms

        await greedy.measure(greedy.Greedy(other, model, count), series, _GREEDY_RATE)
    finally:
        await client.delete(resources.NAMESPACES, other.namespace)
        await client.close()
        await agent.close()


async def idle(lab: Lab) -> None:
    """Count the agents' writes while nothing changes."""
    quiet_since, seen = time.monotonic(), len(writes_of_agents(lab))
    while time.monotonic() - quiet_since < 5:
        await asyncio.sleep(1)
        now = len(writes_of_agents(lab))
        if now != seen:
            quiet_since, seen = time.monotonic(), now
    before = len(writes_of_agents(lab))
    await asyncio.sleep(_IDLE)
    fresh = writes_of_agents(lab)[before:]
    click.echo(f"writes of our agents in {_IDLE:.0f} s without a change: {len(fresh)}")
    for write in fresh[:10]:
        click.echo(f"  {write}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--count", default=300, show_default=True, help="Ingresses for one Service.")
@click.option("--few", default=20, show_default=True, help="Ingresses with their own Service, and LoadBalancers.")
@click.option("--repeat", default=2, show_default=True, help="How often the first cell is run.")
@click.option("--greedy", "many", default=5000, show_default=True, help="Routes of the greedy tenant; 0: leave it out.")
@click.option("--lab", "name", default="bench", show_default=True, help="Name of the lab; a running one is used.")
@click.option("--keep", is_flag=True, help="Leave the lab running.")
def main(count: int, few: int, repeat: int, many: int, name: str, *, keep: bool) -> None:
    """Print the measurements of the local testbed."""
    logs.configure("error")
    lab = providers.get("local").up(name, Wish(tenants=2), say=_say)
    product.deploy(lab, (), say=_say)
    asyncio.run(measure(lab, count, repeat, few, many))
    if not keep:
        providers.get("local").down(name, say=_say)


def _say(text: str, seconds: float) -> None:
    click.echo(f"[{seconds:6.1f}s] {text}", err=True)


if __name__ == "__main__":
    sys.exit(main())
