"""One leads, the others wait; whatever happens, never two at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb_common.kube.errors import ServerError, Unreachable
from kubelb_common.kube.resources import CONFIG_MAPS, LEASES
from kubelb_common.runtime.clock import SystemClock
from kubelb_common.runtime.controller import DONE, Controller, Result
from kubelb_common.runtime.fence import Fenced, NotLeading
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.leader import Alone, Elector, Timing
from kubelb_common.runtime.supervisor import Supervisor
from kubelb_common.testing.fake_kube import FakeKube

pytestmark = pytest.mark.looptime
NS, NAME = "kubelb", "the-lease"
TIMING = Timing()


class SkewedClock(SystemClock):
    """A wall clock that is wrong."""

    def __init__(self, skew: timedelta) -> None:
        self._skew = skew

    def now(self) -> datetime:
        return super().now() + self._skew


@dataclass
class Replica:
    """An elector whose writers are a flag."""

    name: str
    kube: FakeKube
    elector: Elector
    stuck: float = 0.0
    writing: bool = False
    terms: int = 0
    on_begin: Callable[[], object] = lambda: None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin(self) -> None:
        self.writing = True
        self.terms += 1
        self.on_begin()

    async def end(self, grace: float) -> None:
        await asyncio.sleep(min(self.stuck, grace))
        self.writing = False

    def start(self) -> None:
        self.tasks = [asyncio.create_task(self.elector.run(self)), asyncio.create_task(self.elector.informer.run())]

    async def stop(self) -> None:
        await self.elector.stop()
        await asyncio.gather(self.tasks[0], return_exceptions=True)
        self.tasks[1].cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def kill(self) -> None:
        """End without a word to anybody."""
        self.kube.stop_here()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Client(FakeKube):
    """A way to the cluster that can be cut alone."""

    cut = False

    def stop_here(self) -> None:
        self.cut = True

    async def get(self, *args, **kwargs):
        self._check()
        return await super().get(*args, **kwargs)

    async def create(self, *args, **kwargs):
        self._check()
        return await super().create(*args, **kwargs)

    async def replace(self, *args, **kwargs):
        self._check()
        return await super().replace(*args, **kwargs)

    def _check(self) -> None:
        if self.cut:
            raise Unreachable("cut")


@dataclass
class World:
    kube: FakeKube
    replicas: list[Replica] = field(default_factory=list)
    most: int = 0

    def replica(self, name: str, *, skew: float = 0.0, stuck: float = 0.0) -> Replica:
        client = Client()
        client._cluster = self.kube._cluster
        clock = SkewedClock(timedelta(seconds=skew))
        elector = Elector(
            client, namespace=NS, name=NAME, identity=name, annotations=lambda: {"where": name}, clock=clock
        )
        made = Replica(name, client, elector, stuck, on_begin=self.writing)
        self.replicas.append(made)
        made.start()
        return made

    def writing(self) -> list[str]:
        found = [each.name for each in self.replicas if each.writing]
        self.most = max(self.most, len(found))
        return found

    async def passes(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def lease(self):
        return self.kube.peek(LEASES, NAME, NS)

    def writes(self) -> int:
        return sum(1 for entry in self.kube.writes() if entry.resource.startswith("leases"))


@asynccontextmanager
async def world_of() -> AsyncIterator[World]:
    made = World(FakeKube(namespaces=[NS]))
    yield made
    for each in made.replicas:
        for task in each.tasks:
            task.cancel()
        await asyncio.gather(*each.tasks, return_exceptions=True)
    assert made.most <= 1, "two replicas wrote at once"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with world_of() as made:
        yield made


async def test_one_of_three_leads_and_renews_every_two_seconds(world: World) -> None:
    for name in "abc":
        world.replica(name)
    await world.passes(1)
    (leader,) = world.writing()
    assert world.lease()["spec"]["holderIdentity"] == leader
    assert world.lease()["metadata"]["annotations"] == {"where": leader}
    world.kube.forget_requests()
    await world.passes(100)
    assert world.writing() == [leader]
    assert world.writes() <= 50
    reads = [entry for entry in world.kube.requests() if entry.verb == "get"]
    assert not reads, "candidates watch, they do not ask"


async def test_an_orderly_stop_hands_over_at_once(world: World) -> None:
    first, second = world.replica("a"), world.replica("b")
    await world.passes(1)
    assert world.writing() == ["a"]
    await first.stop()
    await world.passes(0.3)
    assert world.writing() == ["b"]
    assert second.terms == 1
    assert world.lease()["spec"]["leaseTransitions"] >= 1
    assert world.lease()["spec"]["leaseDurationSeconds"] == 15


async def test_writers_end_before_the_lease_is_released(world: World) -> None:
    first = world.replica("a", stuck=6)
    world.replica("b")
    await world.passes(1)
    stopping = asyncio.create_task(first.stop())
    await world.passes(5)
    assert world.writing() == ["a"]
    await stopping
    await world.passes(0.3)
    assert world.writing() == ["b"]


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
async def test_a_dead_leader_is_replaced_after_its_lease_whatever_the_clocks_say(world: World, skew: float) -> None:
    first = world.replica("a")
    await world.passes(1)
    world.replica("b", skew=skew)
    await world.passes(60)
    assert world.writing() == ["a"]
    await first.kill()
    await world.passes(12)
    assert world.writing() == []
    await world.passes(4)
    assert world.writing() == ["b"]


@pytest.mark.parametrize("stuck", [0.0, 100.0])
async def test_a_leader_that_cannot_renew_stops_before_another_starts(world: World, stuck: float) -> None:
    first = world.replica("a", stuck=stuck)
    await world.passes(1)
    world.replica("b")
    await world.passes(1)
    first.kube.cut = True
    await world.passes(8)
    assert world.writing() == ["a"], "a short trouble ends no term"
    await world.passes(5.5)
    assert world.writing() == []
    assert not first.elector.may_write
    await world.passes(3)
    assert world.writing() == ["b"]
    first.kube.cut = False
    await world.passes(30)
    assert world.writing() == ["b"], "who comes back is a candidate"


async def test_a_short_trouble_of_the_api_server_ends_no_term(world: World) -> None:
    first = world.replica("a")
    await world.passes(1)
    for _ in range(20):
        world.kube.fail_next("update", LEASES, ServerError(500, "", "ill"), times=3)
        await world.passes(9)
    assert world.writing() == ["a"]
    assert first.terms == 1


async def test_a_deleted_lease_is_made_again_by_its_holder(world: World) -> None:
    first = world.replica("a")
    world.replica("b")
    await world.passes(1)
    leader = world.writing()
    for _ in range(5):
        world.kube.store.delete(LEASES, NAME, NS)
        await world.passes(1)
        assert world.lease()["spec"]["holderIdentity"] == leader[0]
    assert world.writing() == leader
    assert first.terms + world.replicas[1].terms == 1


async def test_a_lease_that_was_deleted_while_its_holder_is_cut_off_is_not_free(world: World) -> None:
    first = world.replica("a")
    await world.passes(1)
    world.replica("b")
    await world.passes(1)
    first.kube.cut = True
    world.kube.store.delete(LEASES, NAME, NS)
    await world.passes(5)
    assert world.writing() == ["a"]
    await world.passes(15)
    assert world.writing() == ["b"]


async def test_an_admin_who_edits_the_lease_costs_no_term(world: World) -> None:
    first = world.replica("a")
    await world.passes(1)
    world.kube.store.patch(LEASES, NAME, {"metadata": {"annotations": {"note": "x"}}}, NS, subresource=None)
    await world.passes(5)
    assert first.terms == 1
    assert world.lease()["metadata"]["annotations"] == {"where": "a", "note": "x"}


async def test_a_lease_taken_by_force_ends_the_term_at_once(world: World) -> None:
    first = world.replica("a")
    await world.passes(1)
    world.kube.store.patch(LEASES, NAME, {"spec": {"holderIdentity": "somebody"}}, NS, subresource=None)
    await world.passes(0.5)
    assert world.writing() == []
    await world.passes(16)
    assert world.writing() == ["a"], "somebody never renews"
    assert first.terms == 2


async def test_a_stop_does_not_wait_for_a_dead_api_server(world: World) -> None:
    world.kube.stop()
    first = world.replica("a")
    await world.passes(30)
    began = asyncio.get_running_loop().time()
    await first.stop()
    assert asyncio.get_running_loop().time() - began < 1


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "mend", "kill", "stop", "delete", "new"]),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.1, 1.0, 3.0, 9.0, 14.0, 20.0]),
    ),
    max_size=12,
)


@given(EVENTS)
@settings(max_examples=40)
def test_never_two_and_always_one_in_the_end(events: list[tuple[str, int, float]]) -> None:
    loop = looptime.new_event_loop()
    loop.setup_looptime()
    try:
        loop.run_until_complete(walk(events))
    finally:
        loop.close()


async def walk(events: list[tuple[str, int, float]]) -> None:
    async with world_of() as world:
        for name in "abc":
            world.replica(name, skew=ord(name) * 100.0, stuck=4)
        await world.passes(1)
        for what, index, seconds in events:
            each = world.replicas[index % len(world.replicas)]
            match what:
                case "cut" | "mend":
                    each.kube.cut = what == "cut"
                case "kill":
                    await each.kill()
                case "stop":
                    await each.stop()
                case "delete" if world.lease() is not None and not any(r.kube.cut for r in world.replicas):
                    # A candidate that never saw the old Lease cannot know of a holder that is cut off.
                    world.kube.store.delete(LEASES, NAME, NS)
                    await world.passes(1)
                case "new":
                    world.replica(f"n{len(world.replicas)}")
            await world.passes(seconds)
        for each in world.replicas:
            each.kube.cut = False
        world.replica("last")
        await world.passes(60)
        assert len(world.writing()) == 1


# With a supervisor ------------------------------------------------------------------------------


async def test_writers_run_in_terms_and_begin_with_everything() -> None:
    kube = FakeKube(namespaces=[NS])
    seen: list[str] = []

    async def reconcile(key: ObjectKey) -> Result:
        seen.append(key.name)
        return DONE

    elector = Elector(kube, namespace=NS, name=NAME, identity="a")
    supervisor = Supervisor()
    supervisor.informer(elector.informer)
    informer = supervisor.informer(Informer(kube, CONFIG_MAPS))
    controller = Controller("writer", reconcile)
    controller.watch(informer)
    supervisor.controller(controller, by_leader=True)
    supervisor.lead_by(elector)
    kube.put(CONFIG_MAPS, {"metadata": {"name": "one", "namespace": NS}})
    held = {"metadata": {"name": NAME, "namespace": NS}, "spec": {"holderIdentity": "other", "renewTime": "x"}}
    kube.put(LEASES, held)
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(10)
    assert supervisor.ready, "who does not lead is ready too"
    assert seen == []
    await asyncio.sleep(10)
    assert seen == ["one"]
    kube.put(CONFIG_MAPS, {"metadata": {"name": "two", "namespace": NS}})
    await asyncio.sleep(1)
    assert seen == ["one", "two"]
    kube.store.patch(LEASES, NAME, {"spec": {"holderIdentity": "other"}}, NS, subresource=None)
    await asyncio.sleep(1)
    kube.put(CONFIG_MAPS, {"metadata": {"name": "three", "namespace": NS}})
    kube.store.delete(CONFIG_MAPS, "one", NS)
    await asyncio.sleep(5)
    assert seen == ["one", "two"], "nothing is done without the lease"
    await asyncio.sleep(20)
    assert sorted(seen[2:]) == ["three", "two"], "a term begins with everything there is"
    supervisor.stop()
    await task
    lease = kube.peek(LEASES, NAME, NS)
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == ""


async def test_alone_there_is_one_term() -> None:
    alone = Alone()
    replica = Replica("a", FakeKube(), alone)  # type: ignore[arg-type]
    running = asyncio.create_task(alone.run(replica))
    await asyncio.sleep(1)
    assert alone.may_write
    assert replica.writing
    await alone.stop()
    await running
    assert not replica.writing
    assert not alone.may_write


async def test_the_fence_stops_writes_and_lets_reads_pass() -> None:
    kube = FakeKube(namespaces=[NS])
    leads = False
    fenced = Fenced(kube, lambda: leads)
    obj = {"metadata": {"name": "x"}}
    with pytest.raises(NotLeading, match="may not create configmaps x"):
        await fenced.create(CONFIG_MAPS, obj, NS)
    leads = True
    stored = await fenced.create(CONFIG_MAPS, obj, NS)
    leads = False
    assert (await fenced.list(CONFIG_MAPS, NS)).items[0]["metadata"]["name"] == "x"
    for write in (
        lambda: fenced.replace(CONFIG_MAPS, stored, NS),
        lambda: fenced.patch(CONFIG_MAPS, "x", {"data": {"a": "b"}}, NS),
        lambda: fenced.delete(CONFIG_MAPS, "x", NS),
        lambda: fenced.create_subresource(CONFIG_MAPS, "x", "token", {}, NS),
    ):
        with pytest.raises(NotLeading):
            await write()
    assert [entry.verb for entry in kube.writes()] == ["create"]
