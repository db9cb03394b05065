"""One lab for the whole run (see `kubelb_e2e.claims`), a namespace and a report of its own for each scenario."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import AlreadyExists, KubeError, NotFound
from kubelb_common.objects import view
from kubelb_e2e import artifacts, config, providers, report
from kubelb_e2e.claims import RunsLab
from kubelb_e2e.clusters.base import Lab, Wish, credential_name, not_for, tenants
from kubelb_e2e.errors import LabError, Unavailable
from kubelb_e2e.scenario import Environment, Tenant
from kubelb_e2e.traffic import Traffic, traffic
from kubelb_e2e.wait import Waiter

pytest_plugins = ["kubelb_e2e.report.plugin"]
HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("testbed")
    group.addoption(
        "--provider",
        choices=list(providers.PROVIDERS),
        default=providers.DEFAULT,
        help="What the clusters are made of; for kind also --kind-image, --kind-bin and --kind-kubectl-bin.",
    )
    group.addoption("--lab", default="e2e", help="Name of the lab; one that `kubelb-e2e up` started is used as it is.")
    group.addoption("--keep", action="store_true", help="Leave the lab running at the end.")
    group.addoption("--tenants", type=int, help="Tenant clusters, at least 2.  [e2e/config.yaml]")
    group.addoption("--nodes", type=int, help="Nodes of each cluster.  [e2e/config.yaml]")
    group.addoption("--kubernetes", help="kind: Kubernetes minor of e2e/config.yaml.")
    group.addoption("--fresh", action="store_true", help="kind: replace a lab that is there, even a complete one.")
    group.addoption("--seeds", type=int, default=10, help="Random walks side by side.  [10]")
    group.addoption("--first-seed", type=int, default=1, help="Seed of the first one; the others count up.  [1]")
    group.addoption("--steps", type=int, default=200, help="Changes of each random walk.  [200]")
    group.addoption("--reuse", action="store_true", help="kind: keep what a killed run left, and use it.")


def pytest_configure(config: pytest.Config) -> None:
    """Say what is known before anything starts: skips depend on it."""
    run = report.run(config)
    run.provider = config.getoption("--provider")
    run.capabilities = providers.get(run.provider).capabilities
    run.lab = config.getoption("--lab")
    run.root = HERE
    if wrong := not_for(run.provider, _wish(config)):
        raise pytest.UsageError(f"{', '.join(wrong)}: not for --provider {run.provider}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and HERE / "unit" not in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    found = yield
    if found.when == "call":
        item.stash[FAILED] = found.failed
    return found


FAILED = pytest.StashKey[bool]()


def _say(text: str, seconds: float) -> None:
    sys.stdout.write(f"[{seconds:6.1f}s] {text}\n")
    sys.stdout.flush()


def _wish(options: pytest.Config) -> Wish:
    suite = config.suite()
    provider = options.getoption("--provider")

    def path(option: str) -> Path | None:
        given = options.getoption(option)
        return Path(given).absolute() if given and provider != "local" else None

    own = provider != "existing"
    return Wish(
        tenants=(options.getoption("--tenants") or suite.tenants) if own else None,
        nodes=(options.getoption("--nodes") or suite.nodes[provider]) if own else None,
        ip_family=suite.ip_family.get(provider),
        kubernetes=options.getoption("--kubernetes"),
        node_image=options.getoption("--kind-image"),
        kind=path("--kind-bin"),
        kubectl=path("--kind-kubectl-bin"),
        fresh=options.getoption("--fresh"),
        reuse=options.getoption("--reuse"),
    )


def _runs_lab(options: pytest.Config) -> RunsLab:
    run = report.run(options)
    keep = options.getoption("--keep")
    return RunsLab(run.lab, run.provider, _wish(options), keep=keep, dumps=run.folder, say=_say)


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    options = request.config
    capture = options.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            own = _runs_lab(options)
            found = own.start()
        except LabError as error:
            # One line instead of an error for each scenario; the report has it too.
            pytest.exit(str(error), returncode=2 if isinstance(error, Unavailable) else 1)
        try:
            _describe(options, found)
        except (LabError, KubeError) as error:
            own.end()
            pytest.exit(str(error), returncode=1)
    yield found
    with capture.global_and_fixture_disabled():
        own.end()


def _describe(options: pytest.Config, found: Lab) -> None:
    """Tell the report what the lab is made of."""
    facts = found.facts()
    run = report.run(options)
    run.facts = dict(facts.lines)

    async def clusters() -> None:
        for name in found.cluster_names:
            client = AioClient(kubeconfig.load(found.kubeconfig(name)))
            try:
                nodes = (await client.list(resources.NODES)).items
            finally:
                await client.close()
            memory = (facts.memory or {}).get(name)
            run.clusters.append(report.describe(name, nodes, image=facts.node_image, memory=memory))

    asyncio.run(clusters())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def clients(lab: Lab) -> AsyncIterator[dict[str, AioClient]]:
    wanted = [*lab.cluster_names, *map(credential_name, tenants(lab))]
    found = {name: AioClient(kubeconfig.load(lab.kubeconfig(name))) for name in wanted}
    yield found
    for client in found.values():
        await client.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worker(lab: Lab) -> AsyncIterator[Traffic]:
    async with traffic(lab.command_line([])) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ended(clients: dict[str, AioClient]) -> AsyncIterator[list[Tenant]]:
    """The tenants of scenarios that are over; when all are, nothing may be left of them in tenant clusters."""
    found: list[Tenant] = []
    yield found
    waiter = Waiter(config.intervals())
    for tenant in found:
        await _gone(waiter, tenant.name, tenant.client, tenant.namespace)


@pytest_asyncio.fixture(loop_scope="session")
async def env(
    request: pytest.FixtureRequest, lab: Lab, clients: dict[str, AioClient], worker: Traffic, ended: list[Tenant]
) -> AsyncIterator[Environment]:
    """The lab, and a namespace in each tenant that is deleted at the end; a failure leaves a dump."""
    head = re.sub(r"[^a-z0-9-]", "-", request.node.name.removeprefix("test_").lower())[:40].strip("-")
    waiter = Waiter(config.intervals())
    members = []
    for cluster in tenants(lab):
        client, agent = clients[cluster], clients[credential_name(cluster)]
        await _make_namespace(waiter, cluster, client, head)
        members.append(Tenant(cluster, client, agent.namespace, agent, head, lab.image))
    worker.reset()
    environment = Environment(clients["management"], members, worker, waiter, lab)
    yield environment
    record = report.of(request.node)
    record.count(worker.total)
    if request.node.stash.get(FAILED, False):
        folder = report.run(request.config).folder / request.node.name
        await asyncio.to_thread(artifacts.dump, lab, folder)
        record.dump = folder
        sys.stdout.write(f"dump: {folder}\n")
    for tenant in members:
        await tenant.clear()
        await tenant.client.delete(resources.NAMESPACES, head)
    # Pods of tenants may still go while the next scenario runs, and `ended` sees to it that they do. What is served may
    # not: a default backend of this scenario would answer for unknown hosts of the next. The fleet stays for a while and
    # serves the next scenario.
    ended += members
    await _hub_is_clean(waiter, clients["management"], members)


async def _make_namespace(waiter: Waiter, cluster: str, client: AioClient, name: str) -> None:
    """Make a scenario's namespace; one that a killed run left in a lab that is used again goes first."""
    try:
        await client.create(resources.NAMESPACES, {"metadata": {"name": name}})
    except AlreadyExists:
        await client.delete(resources.NAMESPACES, name)
        await _gone(waiter, cluster, client, name)
        await client.create(resources.NAMESPACES, {"metadata": {"name": name}})


async def _hub_is_clean(waiter: Waiter, management: AioClient, members: list[Tenant]) -> None:
    async def check() -> None:
        for namespace in (tenant.hub_namespace for tenant in members):
            for resource in (resources.ROUTES, resources.LOAD_BALANCERS, resources.INGRESSES):
                left = (await management.list(resource, namespace)).items
                assert not left, f"{resource.kind} left in {namespace}: {[view.name(item) for item in left]}"

    await waiter.eventually("removed", check)


async def _gone(waiter: Waiter, cluster: str, client: AioClient, name: str) -> None:
    async def check() -> None:
        try:
            found = await client.get(resources.NAMESPACES, name)
        except NotFound:
            return
        conditions = view.objects(found, "status", "conditions")
        raise AssertionError(f"namespace {name} of {cluster} does not go: {conditions}")

    await waiter.eventually("removed", check)
