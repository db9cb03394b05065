"""What a Tenant that is gone left behind goes by its UID, and only when it is sure (rulings 21, 22)."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from kubelb_common import names
from kubelb_common.api import crd_schema
from kubelb_common.kube import resources
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.controller import DONE, Again
from kubelb_common.testing.fake_kube import FakeKube
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.controllers.orphans import CONFIRM, Orphans
from kubelb_manager.desired import envoy_fleet
from kubelb_manager.desired import tenant as desired
from kubelb_manager.gather.stores import Informers
from kubelb_manager.settings.merged import EnvoySettings

HOME = "tenant-a"


class Time:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class World:
    """A namespace that a Tenant owned; nothing here collects garbage by itself."""

    def __init__(self) -> None:
        self.clock = Time()
        self.kube = FakeKube(crds=crd_schema.crds())
        self.informers = Informers.of(self.kube, namespace="kubelb", clock=self.clock)
        self.hub = Hub(self.kube, self.informers, self.clock)
        self.orphans = Orphans(self.hub, self.clock)
        body = {"metadata": {"name": "a"}, "spec": {}, "apiVersion": names.API_VERSION, "kind": "Tenant"}
        (self.tenant,) = self.kube.put(resources.TENANTS, body)
        for resource, obj in (
            (resources.NAMESPACES, desired.namespace(self.tenant)),
            (resources.ROLES, desired.role(self.tenant)),
            (resources.TENANT_STATES, desired.tenant_state(self.tenant)),
            (resources.SECRETS, desired.token_secret(self.tenant)),
            (resources.DEPLOYMENTS, self._fleet()),
            (
                resources.ROUTES,
                self._held(
                    "Route", {"endpoints": [{"addressesReference": {"name": "default"}}], "source": {"kubernetes": {}}}
                ),
            ),
        ):
            self.kube.put(resource, obj)

    def _held(self, kind: str, spec: Object) -> Object:
        metadata = {"name": "r", "namespace": HOME, "finalizers": [names.FINALIZER, "example.com/never"]}
        return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}

    def _fleet(self) -> Object:
        settings = EnvoySettings()
        agent = envoy_fleet.Agent("manager", "token")
        return envoy_fleet.workload(
            self.tenant, HOME, "shared", bootstrap="{}", image="envoy", agent=agent, settings=settings
        )

    def serve(self, ready: bool) -> None:
        labels = {names.LABEL_FLEET: "tenant-a.shared"}
        piece = {
            "metadata": {"name": "envoy", "namespace": HOME, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
        }
        self.kube.put(resources.ENDPOINT_SLICES, piece)

    def lose_tenant(self) -> None:
        self.kube.store.delete(resources.TENANTS, "a", None)

    async def sweep(self) -> object:
        """One pass over caches that are up to date."""
        self.fill()
        return await self.orphans.sweep(HOME)

    def fill(self) -> None:
        """Bring the caches up to date; a kind that is not installed has no objects."""
        for informer in self.informers.all():
            with suppress(NotFound):
                informer.store.replace_all(self.kube.objects(informer.resource))

    async def passes(self, count: int = 8) -> None:
        for _ in range(count):
            await self.sweep()

    def left(self) -> list[str]:
        return [view.name(item) for item in self.kube.objects(resources.ROUTES)]

    def is_gone(self) -> bool:
        return self.kube.peek(resources.NAMESPACES, HOME) is None


@pytest.fixture
def world() -> World:
    return World()


async def test_a_tenants_own_namespace_stays(world: World) -> None:
    assert await world.sweep() == DONE
    world.clock.seconds += 10 * CONFIRM
    assert await world.sweep() == DONE
    assert not world.is_gone()


async def test_it_is_swept_when_a_second_list_lacks_the_tenant_too(world: World) -> None:
    world.lose_tenant()
    assert await world.sweep() == Again(CONFIRM)
    world.clock.seconds += CONFIRM - 1
    assert await world.sweep() == Again(1)
    assert world.kube.writes() == []
    world.clock.seconds += 1
    await world.passes()
    assert world.is_gone()
    assert world.kube.peek(resources.SECRETS, "kubelb-ccm", HOME) is None


async def test_a_cache_that_lost_the_tenant_sweeps_nothing(world: World) -> None:
    """The store lacks it, the API server has it: a bug or a stale cache must not cost a tenant."""
    for _ in range(3):
        world.fill()
        world.informers.tenants.store.replace_all([])
        assert isinstance(await world.orphans.sweep(HOME), Again)
        world.clock.seconds += CONFIRM
    assert world.kube.writes() == []


async def test_without_the_kind_nothing_is_swept(world: World) -> None:
    world.lose_tenant()
    await world.sweep()
    world.clock.seconds += CONFIRM
    world.kube.hide(resources.TENANTS)
    with pytest.raises(NotFound):
        await world.orphans.sweep(HOME)
    assert world.kube.writes() == []


async def test_the_agent_hears_first_and_proxies_go_before_what_they_serve(world: World) -> None:
    world.lose_tenant()
    world.serve(ready=True)
    await world.sweep()
    world.clock.seconds += CONFIRM
    await world.passes()
    state = world.kube.peek(resources.TENANT_STATES, "default", HOME)
    assert state is not None
    assert state["status"]["phase"] == "Terminating"
    role = world.kube.peek(resources.ROLES, "kubelb-ccm", HOME)
    assert role is not None
    assert not any("create" in rule["verbs"] for rule in role["rules"])
    assert world.kube.peek(resources.DEPLOYMENTS, "envoy-tenant-a", HOME) is None
    assert world.left() == ["r"], "an Envoy may still use its node ports"
    world.serve(ready=False)
    await world.passes()
    assert world.is_gone()


async def test_proxies_that_never_go_hold_it_up_for_a_while_only(world: World) -> None:
    world.lose_tenant()
    world.serve(ready=True)
    await world.sweep()
    world.clock.seconds += CONFIRM
    await world.sweep()
    world.clock.seconds += 30
    await world.passes()
    assert world.left() == []
    assert world.is_gone()


@pytest.mark.parametrize("change", ["label", "owner", "kind"])
async def test_namespaces_of_others_are_left_alone(world: World, change: str) -> None:
    world.lose_tenant()
    patch: Object = {
        "label": {"labels": {names.LABEL_MANAGED_BY: None}},
        "owner": {"ownerReferences": None},
        "kind": {
            "ownerReferences": [{**desired.namespace(world.tenant)["metadata"]["ownerReferences"][0], "kind": "Other"}]
        },
    }[change]
    world.kube.store.patch(resources.NAMESPACES, HOME, {"metadata": patch}, None, subresource=None)
    assert await world.sweep() == DONE
    world.clock.seconds += 2 * CONFIRM
    assert await world.sweep() == DONE
    assert not world.is_gone()
