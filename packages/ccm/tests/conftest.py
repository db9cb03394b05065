"""A tenant cluster and a management cluster, both fake, with the agent between them and a manager of a few lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from kubelb_ccm.app import App
from kubelb_ccm.export.meta import origin
from kubelb_ccm.options import Options
from kubelb_common import names
from kubelb_common.api.crd_schema import crds
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object, Resource
from kubelb_common.testing import builders
from kubelb_common.testing.fake_kube import FakeKube

TENANT_NS = "tenant-a"
CRDS = crds()
ADDRESS = [{"ip": "192.0.2.10"}]


@dataclass
class Manager:
    """Does with Routes and LoadBalancers what the real one does, as far as an agent can see."""

    hub: FakeKube
    paused: bool = False
    #: False: a manager of the original, which writes no conditions.
    conditions: bool = True
    #: Envoy still has clusters for everything it ever had.
    sticky: bool = False
    #: Finalizers are removed.
    releases: bool = True
    verdicts: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    async def run(self) -> None:
        seen: object = None
        while True:
            now = (self.hub.store.history.version, self.conditions, self.sticky, self.releases, dict(self.verdicts))
            if not self.paused and now != seen:
                seen = now
                for resource in (resources.ROUTES, resources.LOAD_BALANCERS, resources.SYNC_SECRETS):
                    for obj in self.hub.objects(resource, TENANT_NS):
                        self._step(resource, obj)
            await asyncio.sleep(0.05)

    def _step(self, resource: Resource, obj: Object) -> None:
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp"):
            if self.releases:
                self.hub.store.patch(
                    resource, metadata["name"], {"metadata": {"finalizers": None}}, TENANT_NS, subresource=None
                )
            return
        if resource == resources.SYNC_SECRETS:
            status = self._sync_secret(obj)
        else:
            status = self._route(obj) if resource == resources.ROUTES else self._load_balancer()
        if self.conditions and resource != resources.SYNC_SECRETS:
            status["conditions"] = self._conditions(metadata["generation"])
        if status != obj.get("status"):
            self.hub.store.replace(resource, {**obj, "status": status}, TENANT_NS, subresource="status")

    def _sync_secret(self, obj: Object) -> Object:
        generation = obj["metadata"]["generation"]
        good = obj.get("type", "Opaque") in {"Opaque", "kubernetes.io/tls", "kubernetes.io/basic-auth"}
        condition = {
            "type": "Synced",
            "status": "True" if good else "False",
            "reason": "Synced" if good else "SyncFailed",
            "message": "" if good else "Secrets of this type are not synced.",
            "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        return {"phase": "Synced" if good else "Failed", "observedGeneration": generation, "conditions": [condition]}

    def _load_balancer(self) -> Object:
        return {"loadBalancer": {"ingress": ADDRESS}}

    def _route(self, route: Object) -> Object:
        source = route["spec"]["source"]["kubernetes"]
        used = {
            f"{found['metadata']['namespace']}/{found['metadata']['name']}": {"name": found["metadata"]["name"]}
            for found in source.get("services", ())
        }
        if self.sticky:
            used = {**((route.get("status") or {}).get("resources") or {}).get("services", {}), **used}
        resource = source["resource"]
        made = {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "name": resource["metadata"]["name"],
            "namespace": resource["metadata"]["namespace"],
            "generatedName": "copy",
            "status": {"loadBalancer": {"ingress": ADDRESS}},
        }
        refused = self.verdicts.get("Accepted", ("True", "", ""))[0] == "False"
        return {"resources": {"services": used, **({} if refused else {"route": made})}}

    def _conditions(self, generation: int) -> list[Object]:
        said = {kind: ("True", kind, "") for kind in ("Accepted", "ResolvedRefs", "Programmed")} | self.verdicts
        return [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "observedGeneration": generation,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for kind, (status, reason, message) in said.items()
        ]


class World:
    """Both clusters, the agent and the manager; time is virtual."""

    def __init__(self, hub: FakeKube | None = None, node: str = "10.0.0.1") -> None:
        self.tenant = FakeKube(
            namespaces=["shop", "blog", "kubelb"],
            crds=[crd for crd in CRDS if crd["spec"]["names"]["kind"] == "SyncSecret"],
            garbage_collection=True,
            seed=0 if hub is None else 1,
        )
        self.hub = hub or FakeKube(namespaces=[TENANT_NS], crds=CRDS, garbage_collection=True)
        self.manager = Manager(self.hub)
        self.options: dict[str, object] = {"node_address_type": "InternalIP", "leader_election": False}
        self._tasks: list[asyncio.Task[None]] = []
        self._agent: asyncio.Task[None] | None = None
        self.app: App | None = None
        self.tenant.put(resources.NODES, builders.node("node-1", node).build())

    async def start(self) -> None:
        app = await self.start_unready()
        await self.until(lambda: app.supervisor.ready)
        await self.quiet()

    async def start_unready(self) -> App:
        """Start an agent that may not get an answer."""
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self.manager.run()))
        options = Options("a", metrics=None, health=None, **self.options)  # type: ignore[arg-type]
        app = self.app = App(options, self.tenant, self.hub)
        self._agent = asyncio.create_task(app.run())
        return app

    async def stop(self) -> None:
        if self._agent is not None:
            self._agent.cancel()
            with suppress(asyncio.CancelledError):
                await self._agent
            self._agent = None

    async def close(self) -> None:
        await self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, condition: Callable[[], object], seconds: float = 90.0) -> None:
        """Wait (in virtual time) until the condition holds."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  # any state of two clusters, not an event
                await asyncio.sleep(0.05)

    async def quiet(self, seconds: float = 1.0) -> None:
        """Let everything that is due happen."""
        await asyncio.sleep(seconds)

    async def writes_within(self, seconds: float) -> list[str]:
        """Return the agent's writes in so many seconds."""
        self.forget()
        await asyncio.sleep(seconds)
        return self.writes()

    def forget(self) -> None:
        self.tenant.forget_requests()
        self.hub.forget_requests()

    def writes(self) -> list[str]:
        return [
            f"{entry.verb} {entry.resource} {entry.name}" for kube in (self.tenant, self.hub) for entry in kube.writes()
        ]

    # -- the tenant's objects

    def put_service(self, builder: builders.ServiceBuilder) -> Object:
        return self.tenant.put(resources.SERVICES, builder.build())[0]

    def put_ingress(self, builder: builders.IngressBuilder) -> Object:
        return self.tenant.put(resources.INGRESSES, builder.build())[0]

    def service(self, name: str, namespace: str = "shop") -> Object | None:
        return self.tenant.peek(resources.SERVICES, name, namespace)

    def ingress(self, name: str, namespace: str = "shop") -> Object | None:
        return self.tenant.peek(resources.INGRESSES, name, namespace)

    def change(self, resource: Resource, name: str, patch: Object, namespace: str = "shop") -> Object:
        return self.tenant.store.patch(resource, name, patch, namespace, subresource=None)

    def delete(self, resource: Resource, name: str, namespace: str = "shop") -> None:
        self.tenant.store.delete(resource, name, namespace)

    # -- the exports

    def routes(self) -> list[Object]:
        return self.hub.objects(resources.ROUTES, TENANT_NS)

    def load_balancers(self) -> list[Object]:
        return self.hub.objects(resources.LOAD_BALANCERS, TENANT_NS)

    def sync_secrets(self) -> dict[str, Object]:
        """Return the exported SyncSecrets by the full name of their origin."""
        found = self.hub.objects(resources.SYNC_SECRETS, TENANT_NS)
        return {"/".join(origin(item) or ()): item for item in found}

    def route_services(self) -> dict[str, Object]:
        """Return the Services of the only Route by name."""
        (route,) = self.routes()
        found = route["spec"]["source"]["kubernetes"].get("services", [])
        return {item["metadata"]["name"]: item for item in found}


def is_held(obj: Object | None) -> bool:
    return obj is not None and names.FINALIZER in obj["metadata"].get("finalizers", [])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.close()
