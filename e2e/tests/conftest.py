"""One lab for the whole run, a namespace and a report of its own for each scenario."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import NotFound
from kubelb_e2e import artifacts, config, product, provision
from kubelb_e2e.clusters.local import provider
from kubelb_e2e.clusters.local.provider import LocalLab, Wish
from kubelb_e2e.scenario import Environment, Tenant
from kubelb_e2e.traffic import Traffic, traffic
from kubelb_e2e.wait import Waiter

ARTIFACTS = Path(os.environ.get("KUBELB_ARTIFACTS", "artifacts"))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("testbed")
    group.addoption("--lab", default="e2e", help="Name of the lab; a running one of this name is used as it is.")
    group.addoption("--keep", action="store_true", help="Leave the lab running at the end.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and here / "unit" not in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()


def _say(text: str, seconds: float) -> None:
    sys.stdout.write(f"[{seconds:6.1f}s] {text}\n")
    sys.stdout.flush()


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[LocalLab]:
    name = request.config.getoption("--lab")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        found = LocalLab.up(name, Wish(tenants=2, nodes=2), binaries=provision.binaries, say=_say)
        product.deploy(found, (), say=_say)
    yield found
    if not request.config.getoption("--keep"):
        provider.down(name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def clients(lab: LocalLab) -> AsyncIterator[dict[str, AioClient]]:
    wanted = [cluster.name for cluster in lab.spec.clusters]
    wanted += [cluster.name.replace("tenant-", "ccm-") for cluster in lab.spec.tenants]
    found = {name: AioClient(kubeconfig.load(lab.kubeconfig(name))) for name in wanted}
    yield found
    for client in found.values():
        await client.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worker(lab: LocalLab) -> AsyncIterator[Traffic]:
    async with traffic(lab.command_line([])) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def env(
    request: pytest.FixtureRequest, lab: LocalLab, clients: dict[str, AioClient], worker: Traffic
) -> AsyncIterator[Environment]:
    """The lab, and a namespace in each tenant that goes at the end; a failure leaves a dump."""
    head = re.sub(r"[^a-z0-9-]", "-", request.node.name.removeprefix("test_").lower())[:40].strip("-")
    tenants = []
    for number, cluster in enumerate(lab.spec.tenants, start=1):
        client = clients[cluster.name]
        agent = clients[f"ccm-{number}"]
        await client.create(resources.NAMESPACES, {"metadata": {"name": head}})
        tenants.append(Tenant(cluster.name, client, agent.namespace, agent, head))
    waiter = Waiter(config.intervals())
    environment = Environment(clients["management"], tenants, worker, waiter, lab)
    yield environment
    if request.node.stash.get(FAILED, False):
        folder = ARTIFACTS / request.node.name
        await asyncio.to_thread(artifacts.dump, lab, folder)
        sys.stdout.write(f"dump: {folder}\n")
    for tenant in tenants:
        await tenant.client.delete(resources.NAMESPACES, head)

    async def clean() -> None:
        for tenant in tenants:
            try:
                found = await tenant.client.get(resources.NAMESPACES, head)
            except NotFound:
                continue
            raise AssertionError(f"namespace {head} of {tenant.name} does not go: {found['status'].get('conditions')}")

    await waiter.eventually("removed", clean)
