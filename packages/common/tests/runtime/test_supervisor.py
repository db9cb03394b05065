from __future__ import annotations

import asyncio

import pytest

from kubelb_common.kube.errors import ConfigError
from kubelb_common.kube.resources import CONFIG_MAPS, SECRETS
from kubelb_common.runtime.controller import DONE, Controller, Result
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.supervisor import Crash, Run, Supervisor
from kubelb_common.testing.fake_kube import FakeKube

pytestmark = pytest.mark.looptime

Log = list[str]


def forever(name: str, log: Log) -> Run:
    async def run() -> None:
        log.append(f"{name} starts")
        try:
            await asyncio.Event().wait()
        finally:
            log.append(f"{name} ends")

    return run


class LoggedInformer(Informer):
    log: Log

    async def run(self) -> None:
        self.log.append("informer starts")
        try:
            await super().run()
        finally:
            self.log.append("informer ends")


class LoggedController(Controller):
    log: Log

    async def run(self) -> None:
        self.log.append("controller starts")
        try:
            await super().run()
        finally:
            self.log.append("controller ends")


def build(kube: FakeKube, log: Log) -> tuple[Supervisor, Controller]:
    async def reconcile(_key: ObjectKey) -> Result:
        log.append("reconcile begins")
        await asyncio.sleep(3)
        log.append("reconcile ends")
        return DONE

    supervisor = Supervisor()
    supervisor.service("health", forever("health", log), early=True)
    supervisor.service("first", forever("first", log))
    supervisor.service("second", forever("second", log))
    informer = LoggedInformer(kube, CONFIG_MAPS)
    controller = LoggedController("supervised", reconcile)
    informer.log = controller.log = log
    supervisor.informer(informer)
    return supervisor, supervisor.controller(controller)


BEFORE_SYNC = ["health starts", "informer starts"]
STARTED = [*BEFORE_SYNC, "controller starts", "first starts", "second starts"]
STOPPED = ["controller ends", "second ends", "first ends", "informer ends", "health ends"]


async def test_starts_and_stops_in_order_and_lets_a_reconcile_end() -> None:
    log: Log = []
    supervisor, controller = build(FakeKube(), log)
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(1)
    assert log == STARTED
    assert supervisor.ready
    controller.enqueue(ObjectKey("a", "b"))
    await asyncio.sleep(1)
    supervisor.stop()
    await task
    assert log[len(STARTED) :] == ["reconcile begins", "reconcile ends", *STOPPED]
    assert not supervisor.ready


async def test_nothing_but_health_runs_before_everything_is_listed() -> None:
    kube, log = FakeKube(), Log()
    kube.stop()
    supervisor, _ = build(kube, log)
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(100)
    assert log == BEFORE_SYNC
    assert supervisor.unsynced() == ["configmaps"]
    assert not supervisor.ready
    kube.start()
    await asyncio.sleep(31)
    assert log == STARTED
    supervisor.stop()
    await task


async def test_a_stop_before_everything_is_listed_works() -> None:
    kube, log = FakeKube(), Log()
    kube.stop()
    supervisor, _ = build(kube, log)
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(5)
    supervisor.stop()
    await task
    assert log == [*BEFORE_SYNC, "informer ends", "health ends"]


async def test_cancellation_stops_in_order_too() -> None:
    log: Log = []
    supervisor, _ = build(FakeKube(), log)
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == [*STARTED, *STOPPED]


async def test_a_second_stop_ends_the_grace() -> None:
    log: Log = []
    supervisor, controller = build(FakeKube(), log)
    task = asyncio.create_task(supervisor.run())
    controller.enqueue(ObjectKey("a", "b"))
    await asyncio.sleep(1)
    supervisor.stop()
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    supervisor.stop()
    await task
    assert asyncio.get_running_loop().time() - began < 1.1
    assert "reconcile ends" not in log


@pytest.mark.parametrize("fault", [ConfigError("bad file"), ValueError("a bug"), None])
async def test_a_crashed_service_stops_everything_in_order(fault: Exception | None) -> None:
    async def breaks() -> None:
        await asyncio.sleep(5)
        if fault:
            raise fault

    log: Log = []
    supervisor, _ = build(FakeKube(), log)
    supervisor.service("fragile", breaks)
    with pytest.raises(Crash, match="fragile crashed: "):
        await supervisor.run()
    assert log == [*STARTED, *STOPPED]


async def test_a_service_with_a_stop_ends_by_itself() -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        await asked.wait()
        await asyncio.sleep(4)
        ended.set()

    async def stop() -> None:
        asked.set()

    supervisor = Supervisor()
    supervisor.service("server", run, stop=stop)
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(1)
    supervisor.stop()
    await task
    assert ended.is_set()


async def test_a_service_that_does_not_end_is_cancelled_after_its_grace() -> None:
    async def stop() -> None: ...

    log: Log = []
    supervisor = Supervisor()
    supervisor.service("stuck", forever("stuck", log), stop=stop, grace=7)
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    supervisor.stop()
    await task
    assert log[-1] == "stuck ends"
    assert asyncio.get_running_loop().time() - began == pytest.approx(7)


async def test_two_informers_of_one_kind_are_both_waited_for() -> None:
    kube = FakeKube()
    supervisor = Supervisor()
    for resource in (CONFIG_MAPS, SECRETS):
        supervisor.informer(Informer(kube, resource))
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(1)
    assert supervisor.unsynced() == []
    supervisor.stop()
    await task


async def test_preparations_come_one_by_one_before_the_informers() -> None:
    log: Log = []
    supervisor, _ = build(FakeKube(), log)

    def step(name: str) -> Run:
        async def run() -> None:
            log.append(f"{name} begins")
            await asyncio.sleep(2)
            log.append(f"{name} is done")

        return run

    supervisor.prepare("one", step("one"))
    supervisor.prepare("two", step("two"))
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(3)
    assert log == ["health starts", "one begins", "one is done", "two begins"]
    await asyncio.sleep(5)
    assert log[3:6] == ["two begins", "two is done", "informer starts"]
    supervisor.stop()
    await task


async def test_a_stop_ends_a_preparation() -> None:
    log: Log = []
    supervisor, _ = build(FakeKube(), log)
    supervisor.prepare("long", forever("long", log))
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(3)
    supervisor.stop()
    await task
    assert log == ["health starts", "long starts", "long ends", "health ends"]


async def test_a_preparation_that_fails_ends_the_process() -> None:
    async def breaks() -> None:
        raise ConfigError("bad file")

    log: Log = []
    supervisor, _ = build(FakeKube(), log)
    supervisor.prepare("fragile", breaks)
    with pytest.raises(Crash, match="fragile crashed: bad file"):
        await supervisor.run()
    assert log == ["health starts", "health ends"]
