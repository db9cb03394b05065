"""Node ports are asked until they answer; what a cluster's answers come to (ruling 26)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from kubelb_common.runtime.clock import SystemClock
from kubelb_manager.ir.model import Cluster, Endpoint, Layer, Protocol
from kubelb_manager.probes.nodeport import BOUND, LAG, NodePortProber, connects
from kubelb_manager.rollout.view import Reach

ONE, TWO = Endpoint("192.0.2.11", 30001), Endpoint("192.0.2.12", 30001)


class Nodes:
    """Node ports that are opened by hand, the times at which each was asked, and what the prober told."""

    def __init__(self) -> None:
        self.open: set[Endpoint] = set()
        self.asked: list[tuple[float, Endpoint]] = []
        self.told: list[tuple[float, Endpoint]] = []
        self.at_once = self.most_at_once = 0
        self.takes = 0.0
        self.prober = NodePortProber(SystemClock(), self._tell, self._connect)

    def _tell(self, endpoint: Endpoint) -> None:
        self.told.append((_now(), endpoint))

    async def _connect(self, endpoint: Endpoint) -> bool:
        self.asked.append((_now(), endpoint))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.at_once -= 1
        return endpoint in self.open

    def reach(self, *endpoints: Endpoint) -> Reach:
        return self.prober.reach(_cluster(*endpoints))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _cluster(*endpoints: Endpoint) -> Cluster:
    return Cluster(name="t/s/n/80/30001/l7", layer=Layer.L7, endpoints=endpoints)


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.prober.close()
    await asyncio.sleep(0)


async def test_real_socket_answers_and_closed_port_does_not() -> None:
    taken: list[bool] = []
    server = await asyncio.start_server(lambda _reader, writer: (taken.append(True), writer.close()), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await connects(Endpoint("127.0.0.1", port))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not await connects(Endpoint("127.0.0.1", unused.getsockname()[1]))


async def test_real_socket_that_opens_late_is_found() -> None:
    answered = asyncio.Event()
    prober = NodePortProber(SystemClock(), lambda _endpoint: answered.set())
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", late.getsockname()[1])
        prober.ask([endpoint])
        assert prober.reach(_cluster(endpoint)) is Reach.ASKING
        late.listen()
        async with asyncio.timeout(30):
            await answered.wait()
    assert prober.reach(_cluster(endpoint)) is Reach.ANSWERS
    prober.close()


@pytest.mark.looptime
async def test_every_node_answers(nodes: Nodes) -> None:
    nodes.open = {ONE, TWO}
    nodes.prober.ask([ONE, TWO])
    await asyncio.sleep(0.01)
    assert nodes.reach(ONE, TWO) is Reach.ANSWERS
    assert [endpoint for _, endpoint in nodes.told] == [ONE, TWO]
    await asyncio.sleep(60)
    assert len(nodes.asked) == 2, "what answered is not asked again"


@pytest.mark.looptime
async def test_one_answer_of_two_counts_after_the_lag(nodes: Nodes) -> None:
    nodes.open = {ONE}
    nodes.prober.ask([ONE, TWO])
    await asyncio.sleep(0.01)
    assert nodes.reach(ONE, TWO) is Reach.ASKING
    await asyncio.sleep(LAG - 0.1)
    assert nodes.reach(ONE, TWO) is Reach.ASKING
    await asyncio.sleep(0.1)
    assert nodes.reach(ONE, TWO) is Reach.ANSWERS


@pytest.mark.looptime
async def test_a_node_that_comes_later_has_a_lag_of_its_own(nodes: Nodes) -> None:
    """Else a pod that moves would be sent connections before kube-proxy knows of it."""
    nodes.open = {ONE}
    nodes.prober.ask([ONE])
    await asyncio.sleep(60)
    nodes.prober.ask([TWO])
    assert nodes.reach(ONE, TWO) is Reach.ASKING
    await asyncio.sleep(LAG - 0.1)
    assert nodes.reach(ONE, TWO) is Reach.ASKING
    await asyncio.sleep(0.1)
    assert nodes.reach(ONE, TWO) is Reach.ANSWERS


@pytest.mark.looptime
async def test_a_udp_port_is_not_asked_but_given_the_time_of_kube_proxy(nodes: Nodes) -> None:
    port = ONE._replace(protocol=Protocol.UDP)
    nodes.prober.ask([port])
    await asyncio.sleep(LAG - 0.1)
    assert nodes.reach(port) is Reach.ASKING
    await asyncio.sleep(0.2)
    assert nodes.reach(port) is Reach.ANSWERS
    assert nodes.asked == []
    assert len(nodes.told) == 1, "whoever waits is told"


@pytest.mark.looptime
async def test_silence_is_said_at_the_bound_and_asking_goes_on(nodes: Nodes) -> None:
    nodes.prober.ask([ONE])
    await asyncio.sleep(BOUND - 0.1)
    assert nodes.reach(ONE) is Reach.ASKING
    assert nodes.told == []
    await asyncio.sleep(0.2)
    assert nodes.reach(ONE) is Reach.SILENT
    assert len(nodes.told) == 1
    nodes.open = {ONE}
    await asyncio.sleep(30)
    assert nodes.reach(ONE) is Reach.ANSWERS
    assert len(nodes.told) == 2


@pytest.mark.looptime
async def test_asks_often_within_the_bound_and_rarely_after(nodes: Nodes) -> None:
    nodes.prober.ask([ONE])
    await asyncio.sleep(BOUND + 120)
    times = [time for time, _ in nodes.asked]
    pauses = [(after - before, before - times[0]) for before, after in pairwise(times)]
    assert max(pause for pause, since in pauses if since < BOUND - 0.1) <= 0.051
    assert 9.9 <= max(pause for pause, since in pauses if since > BOUND + 60) <= 10.1


@pytest.mark.looptime
async def test_a_late_answer_is_seen_within_a_twentieth_of_a_second(nodes: Nodes) -> None:
    nodes.prober.ask([ONE])
    await asyncio.sleep(1.0)
    nodes.open = {ONE}
    opened = _now()
    await asyncio.sleep(0.1)
    assert nodes.told[0][0] - opened <= 0.051


@pytest.mark.looptime
async def test_asking_twice_asks_once(nodes: Nodes) -> None:
    nodes.open = {ONE}
    nodes.prober.ask([ONE])
    nodes.prober.ask([ONE, ONE])
    await asyncio.sleep(1)
    assert len(nodes.asked) == 1


@pytest.mark.looptime
async def test_forgotten_endpoint_is_not_asked_and_asked_anew_when_wanted(nodes: Nodes) -> None:
    nodes.prober.ask([ONE])
    await asyncio.sleep(BOUND + 1)
    nodes.prober.forget([ONE])
    count = len(nodes.asked)
    await asyncio.sleep(60)
    assert len(nodes.asked) == count
    nodes.prober.ask([ONE])
    assert nodes.reach(ONE) is Reach.ASKING, "a fresh bound"


@pytest.mark.looptime
async def test_many_are_not_asked_at_the_same_time(nodes: Nodes) -> None:
    nodes.takes = 0.5
    nodes.prober.ask(Endpoint("192.0.2.1", 30000 + number) for number in range(500))
    await asyncio.sleep(5)
    assert nodes.most_at_once == 64


@pytest.mark.looptime
async def test_a_cluster_without_endpoints_is_silent(nodes: Nodes) -> None:
    assert nodes.reach() is Reach.SILENT


@pytest.mark.looptime
async def test_close_ends_every_question(nodes: Nodes) -> None:
    nodes.prober.ask([ONE, TWO])
    await asyncio.sleep(1)
    nodes.prober.close()
    count = len(nodes.asked)
    await asyncio.sleep(60)
    assert len(nodes.asked) == count
