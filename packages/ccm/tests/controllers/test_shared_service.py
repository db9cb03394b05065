"""Many Ingresses for one Service: what one of them costs does not depend on how many others there are."""

from __future__ import annotations

from collections import Counter

import pytest

from kubelb_ccm.controllers.lifecycle import Lifecycle
from kubelb_ccm.controllers.twins import Twins
from kubelb_common.kube import resources
from kubelb_common.runtime.store import Store
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime
MANY = 300


def shop(name):
    return builders.ingress(name, "shop").rule(f"{name}.example.com", "/", "web", 80)


def addresses(ingress):
    return ingress.get("status", {}).get("loadBalancer", {}).get("ingress")


class Work:
    """Counts passes by key and objects that stores hand out by the list; everything still happens."""

    def __init__(self, monkeypatch):
        self.passes = Counter()
        self.scanned = 0
        for owner in (Lifecycle, Twins):
            monkeypatch.setattr(owner, "reconcile", self._counted(owner.reconcile, owner.__name__))
        for name in ("list", "keys", "by_index"):
            monkeypatch.setattr(Store, name, self._measured(getattr(Store, name)))
        each = Store.each

        def counted_each(store, name, value):
            for obj in each(store, name, value):
                self.scanned += 1
                yield obj

        monkeypatch.setattr(Store, "each", counted_each)

    def forget(self):
        self.passes.clear()
        self.scanned = 0

    def _counted(self, reconcile, owner):
        async def counted(instance, key):
            self.passes[owner, key.name] += 1
            return await reconcile(instance, key)

        return counted

    def _measured(self, read):
        def measured(store, *args):
            found = read(store, *args)
            self.scanned += len(found)
            return found

        return measured


async def crowded(world, monkeypatch):
    """Fill the world with many Ingresses for one Service, wait until it rests, and count from there on.

    No fixture: virtual time begins with the test.
    """
    made = Work(monkeypatch)
    world.put_service(builders.service("web", "shop").port(80, name="http"))
    for number in range(MANY):
        world.tenant.store.create(resources.INGRESSES, shop(f"i{number}").build(), "shop")
    await world.start()
    await world.until(lambda: all(map(addresses, world.tenant.objects(resources.INGRESSES, "shop"))))
    await world.quiet()
    made.forget()
    world.forget()
    return made


async def test_one_more_ingress_costs_the_same_as_the_first(world, monkeypatch):
    work = await crowded(world, monkeypatch)
    added = world.put_ingress(shop("added"))
    await world.until(lambda: addresses(world.ingress("added")))
    await world.quiet()
    assert world.writes() == [
        "patch ingresses.networking.k8s.io added",
        "patch ingresses.networking.k8s.io/status added",
        f"create routes.kubelb.k8c.io {added['metadata']['uid']}",
    ]
    assert {name for _, name in work.passes} <= {"added", "web"}, "others are left in peace"
    assert work.passes["Lifecycle", "added"] <= 3  # it came, the manager spoke, and perhaps once more
    assert work.passes["Twins", "web"] <= 1
    assert work.scanned <= 10


async def test_one_ingress_less_costs_the_same_as_of_few(world, monkeypatch):
    work = await crowded(world, monkeypatch)
    world.delete(resources.INGRESSES, "i7")
    await world.until(lambda: world.ingress("i7") is None)
    await world.quiet()
    assert {name for _, name in work.passes} <= {"i7", "web"}
    assert work.passes.total() <= 8
    assert work.scanned <= 10
    assert world.service("web-nodeport") is not None


async def test_a_route_that_comes_after_its_source_went_is_removed(world):
    world.put_service(builders.service("web", "shop").port(80, name="http"))
    await world.start()

    def vanish():
        world.change(resources.INGRESSES, "gone", {"metadata": {"finalizers": None}})
        world.delete(resources.INGRESSES, "gone")

    world.manager.paused = True
    # The watch of Routes is down while this happens, so the pass after the deletion knows of none.
    world.tenant.before_next("patch", resources.INGRESSES, world.hub.break_watches)
    world.hub.before_next("create", resources.ROUTES, vanish)
    world.put_ingress(shop("gone"))
    await world.quiet(60)
    assert world.ingress("gone") is None
    (route,) = world.routes()
    assert route["metadata"]["deletionTimestamp"]
    world.manager.paused = False
    await world.until(lambda: not world.routes() and world.service("web-nodeport") is None)


async def test_a_wish_that_comes_with_the_answer_to_our_own_write_is_served(world):
    world.put_service(builders.service("web", "shop").port(80, name="http"))
    await world.start()

    def rename():
        world.change(resources.INGRESSES, "web", {"metadata": {"labels": {"wish": "new"}}})
        world.tenant.expire_history()

    # The watch is down and cannot be resumed, so the informer sees the wish and our write as one change.
    world.hub.before_next("create", resources.ROUTES, world.tenant.break_watches)
    world.tenant.before_next("patch", f"{resources.INGRESSES}/status", rename)
    world.put_ingress(shop("web"))
    await world.quiet(60)
    (route,) = world.routes()
    assert route["spec"]["source"]["kubernetes"]["resource"]["metadata"]["labels"] == {"wish": "new"}
