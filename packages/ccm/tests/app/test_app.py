"""Starts and stops: what is waited for, and that a restart changes nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from kubelb_ccm.app import App
from kubelb_ccm.options import Options
from kubelb_common.kube import resources
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime


async def running(world):
    options = Options("a", node_address_type="InternalIP", metrics=None, health=None)
    app = App(options, world.tenant, world.hub)
    return app, asyncio.create_task(app.run())


async def ended(task):
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("cluster", ["tenant", "hub"])
async def test_an_unreachable_api_server_is_waited_for(world, cluster):
    getattr(world, cluster).stop()
    app, task = await running(world)
    await world.quiet(120)
    assert not app.supervisor.ready
    assert not task.done()
    getattr(world, cluster).start()
    await world.until(lambda: app.supervisor.ready)
    await ended(task)


async def test_a_missing_crd_is_waited_for_and_gives_nothing_up(world):
    world.put_service(builders.service("web", "shop").port(80))
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.start()
    await world.stop()
    world.manager.paused = True
    world.hub.hide(resources.ROUTES)
    world.delete(resources.INGRESSES, "web")
    app, task = await running(world)
    await world.quiet(120)
    assert not app.supervisor.ready
    assert "routes.kubelb.k8c.io" in app.supervisor.unsynced()
    assert world.ingress("web") is not None
    world.hub.show(resources.ROUTES)
    world.manager.paused = False
    await world.until(lambda: world.ingress("web") is None)
    await ended(task)


async def test_with_the_ingress_controller_off_ingresses_are_not_even_read(world):
    world.options["disable_ingress_controller"] = True
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.start()
    assert world.routes() == []
    assert not [entry for entry in world.tenant.requests() if entry.resource.startswith("ingresses")]


async def test_broken_watches_lose_nothing(world):
    world.put_service(builders.service("web", "shop").port(80))
    await world.start()
    for number in range(10):
        world.put_ingress(builders.ingress(f"web-{number}", "shop").rule("a.example.com", f"/{number}", "web", 80))
        world.tenant.break_watches()
        world.hub.break_watches()
        await world.quiet(0.3)
    await world.until(lambda: len(world.routes()) == 10)
    for number in range(0, 10, 2):
        world.delete(resources.INGRESSES, f"web-{number}")
        world.hub.break_watches()
    await world.until(lambda: len(world.routes()) == 5)
    await world.until(lambda: all(ingress_address(world, number) for number in range(1, 10, 2)))


def ingress_address(world, number):
    return (world.ingress(f"web-{number}").get("status") or {}).get("loadBalancer", {}).get("ingress")
