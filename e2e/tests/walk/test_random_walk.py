"""Whatever happens to a tenant's objects and to the agents, in the end everything is as if it had been made at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import walk

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import Conflict, NotFound
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import view
from kubelb_common.testing import builders
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.scenario import ECHO_HTTP, ECHO_TCP, Environment, Tenant, ingress

pytestmark = [pytest.mark.long, pytest.mark.needs(Capability.LOAD)]

_KINDS: dict[str, Resource] = {
    "Service": resources.SERVICES,
    "LoadBalancer": resources.SERVICES,
    "Ingress": resources.INGRESSES,
}
#: Deaths of each agent during the walks.
_DEATHS = 2


@dataclass(slots=True)
class Walker:
    """One namespace, its model, and a source of chance."""

    env: Environment
    tenant: Tenant
    seed: int
    model: walk.Model = field(default_factory=walk.Model)

    @property
    def namespace(self) -> str:
        """Its own, in the tenant's cluster."""
        return f"{self.tenant.namespace}-{self.seed}"

    def host(self, head: str) -> str:
        """Return a host name that no other walker uses."""
        return f"{head}.{self.namespace}.example.com"

    async def run(self, steps: int, done: asyncio.Event) -> None:
        """Take all steps, one object at a time."""
        chance = random.Random(self.seed)
        for number in range(steps):
            step = self.model.step(chance)
            await self.apply(step)
            if number == steps // 3:
                done.set()

    async def apply(self, step: walk.Step) -> None:
        """Make one object what the model says."""
        resource = _KINDS[step.kind]
        if step.verb == "delete":
            with contextlib.suppress(NotFound):
                await self.tenant.client.delete(resource, step.name, self.namespace)
            return
        await self.env.wait.eventually("removed", lambda: self._put(resource, self._wanted(step)))

    async def _put(self, resource: Resource, wanted: Object) -> None:
        """Create or replace; an object of this name that is still on its way out is waited for."""
        client, name = self.tenant.client, view.name(wanted)
        try:
            live = await client.get(resource, name, self.namespace)
        except NotFound:
            await client.create(resource, wanted, self.namespace)
            return
        assert not view.deleting(live), f"{resource.kind} {self.namespace}/{name} is still being deleted"
        live["spec"] = {**live["spec"], **wanted["spec"]} if resource is resources.SERVICES else wanted["spec"]
        try:
            await client.replace(resource, live, self.namespace)
        except Conflict as error:
            raise AssertionError(f"{resource.kind} {self.namespace}/{name} changes: {error}") from error

    def _wanted(self, step: walk.Step) -> Object:
        if step.kind == "Ingress":
            model = self.model.ingresses[step.name]
            rules = [(self.host(path.host), path.path, path.service) for path in model.paths]
            made = ingress(step.name, self.namespace, *rules)
            made["spec"]["ingressClassName"] = names.CLASS if model.ours else walk.OTHER_CLASS
            return made
        balanced = step.kind == "LoadBalancer"
        app = (self.model.balancers if balanced else self.model.services)[step.name]
        port = (
            {"name": "tcp", "port": 9000, "targetPort": ECHO_TCP}
            if balanced
            else {"name": "http", "port": 80, "targetPort": ECHO_HTTP}
        )
        made = builders.service(step.name, self.namespace).selector(app=app).build()
        made["spec"] |= {"type": "LoadBalancer" if balanced else "ClusterIP", "ports": [{**port, "protocol": "TCP"}]}
        return made

    # The end ------------------------------------------------------------------------------------------

    async def is_as_modelled(self) -> None:
        """Check objects in both clusters, addresses, and who answers; an AssertionError says what differs."""
        ingresses = {view.name(item): item for item in await self._list(resources.INGRESSES)}
        assert ingresses.keys() == self.model.ingresses.keys()
        ours = {name: item for name, item in ingresses.items() if self.model.ingresses[name].ours}
        for name in ingresses.keys() - ours.keys():
            assert not view.finalizers(ingresses[name]), f"{name} is not ours and is held"
            assert not view.get(ingresses[name], "status", "loadBalancer", "ingress"), (
                f"{name} is not ours and has an address"
            )
        await self._check_objects(ours)
        order = walk.oldest_first(list(ours.values()))
        for host, asked in walk.questions():
            expected = self.model.answer(host, asked, order)
            named = [name for name in order if any(path.host == host for path in self.model.ingresses[name].paths)]
            if named:
                address = view.text(ours[named[0]], "status", "loadBalancer", "ingress", 0, "ip")
                assert address, f"{named[0]} has no address"
                found = await self.env.traffic.get(address, self.host(host), asked)
                answer = found.pod.partition("-")[0] or str(found.status)
                assert answer == expected, (
                    f"http://{self.host(host)}{asked}: {answer} {found.error}, expected {expected}"
                )
        for name, app in self.model.balancers.items():
            address = await self._address(name)
            found = await self.env.traffic.tcp(address, 9000)
            assert found["text"].startswith(app), f"{name} at {address}: {found}, expected {app}"

    async def _check_objects(self, ours: dict[str, Object]) -> None:
        services = await self._list(resources.SERVICES)
        twins = {
            view.name(item) for item in services if view.labels(item).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
        }
        assert twins == {names.twin_name(name) for name in self.model.twins()}
        own = {view.name(item): view.uid(item) for item in services if view.name(item) not in twins}
        assert own.keys() == {*self.model.services, *self.model.balancers}
        assert await self._exported(resources.ROUTES) == {view.uid(item) for item in ours.values()}
        assert await self._exported(resources.LOAD_BALANCERS) == {own[name] for name in self.model.balancers}
        copies = await self._exported(resources.INGRESSES)
        assert len(copies) == len(ours), f"copies in the management cluster: {sorted(copies)}"

    async def _exported(self, resource: Resource) -> set[str]:
        """Return the names of what stands for this namespace in the management cluster."""
        selector = f"{names.LABEL_ORIGIN_NAMESPACE}={self.namespace}"
        found = await self.env.management.list(resource, self.tenant.hub_namespace, label_selector=selector)
        return {view.name(item) for item in found.items}

    async def _list(self, resource: Resource) -> list[Object]:
        return (await self.tenant.client.list(resource, self.namespace)).items

    async def _address(self, service: str) -> str:
        found = await self.tenant.client.get(resources.SERVICES, service, self.namespace)
        address = view.text(found, "status", "loadBalancer", "ingress", 0, "ip")
        assert address, f"LoadBalancer Service {service} has no address"
        return address


@contextlib.asynccontextmanager
async def _walkers(env: Environment, seeds: range) -> AsyncIterator[list[Walker]]:
    """Namespaces with the applications in them, spread over the tenants; all goes at the end."""
    found = [Walker(env, env.tenants[number % len(env.tenants)], seed) for number, seed in enumerate(seeds)]
    try:
        for walker in found:
            namespace = {"metadata": {"name": walker.namespace}}
            await walker.tenant.client.create(resources.NAMESPACES, namespace)
            for app in walk.APPS:
                await walker.tenant.apply(resources.DEPLOYMENTS, walker.tenant.echo(app, walker.namespace))
        yield found
    finally:
        for walker in found:
            for resource in (resources.INGRESSES, resources.SERVICES):
                for item in await walker._list(resource):
                    with contextlib.suppress(NotFound):
                        await walker.tenant.client.delete(resource, view.name(item), walker.namespace)
            await walker.tenant.client.delete(resources.NAMESPACES, walker.namespace)


async def test_random_walks(env: Environment, request: pytest.FixtureRequest) -> None:
    """Several seeded walks side by side while manager and agents are killed; each ends as its model says."""
    first, count, steps = (request.config.getoption(name) for name in ("--first-seed", "--seeds", "--steps"))
    async with _walkers(env, range(first, first + count)) as walkers:
        under_way = asyncio.Event()
        tasks = [asyncio.create_task(walker.run(steps, under_way)) for walker in walkers]
        walking = asyncio.gather(*tasks)
        await asyncio.wait([walking, asyncio.create_task(under_way.wait())], return_when=asyncio.FIRST_COMPLETED)
        for _ in range(_DEATHS):
            for client, app in ((env.management, "kubelb-manager"), (env.tenants[0].client, "kubelb-ccm")):
                old = await env.kill_pods(client, "kubelb", app)
                await env.replaced(client, "kubelb", app, old)
        await walking
        for walker in walkers:
            await env.wait.eventually("walk", walker.is_as_modelled)
