"""When a drain ends, in virtual time, with an Envoy that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from kubelb_common.runtime.clock import SystemClock
from kubelb_manager.agent.admin import EnvoyGone, EnvoySilent, _sum
from kubelb_manager.agent.drain import Drain

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Envoy:
    """`connections_at` is a function of the seconds since the start."""

    connections_at: Callable[[float], int]
    began: float = field(default_factory=now)
    calls: list[str] = field(default_factory=list)

    async def state(self) -> str:
        return "DRAINING" if self.calls else "LIVE"

    async def fail_health_check(self) -> None:
        self.calls.append("fail")

    async def drain_listeners(self) -> None:
        self.calls.append("drain")

    async def connections(self) -> int:
        return self.connections_at(now() - self.began)


def drain(envoy: Envoy, *, timeout: float = 60, minimum: float = 5) -> Drain:
    return Drain(envoy, SystemClock(), timeout=timeout, minimum=minimum)


async def test_a_quiet_envoy_waits_the_shortest_time() -> None:
    envoy = Envoy(lambda _: 0)
    done = await drain(envoy).wait()
    assert (done.seconds, done.left) == (pytest.approx(5), 0)
    assert envoy.calls == ["fail", "drain"]


async def test_it_ends_with_the_last_connection() -> None:
    done = await drain(Envoy(lambda past: 0 if past > 17 else 3)).wait()
    assert 17 <= done.seconds <= 17.6
    assert done.left == 0


async def test_connections_that_come_within_the_shortest_time_are_waited_for() -> None:
    done = await drain(Envoy(lambda past: 1 if 4 < past < 20 else 0)).wait()
    assert 20 <= done.seconds <= 20.6


async def test_it_ends_at_its_limit() -> None:
    done = await drain(Envoy(lambda _: 1)).wait()
    assert (done.seconds, done.left) == (pytest.approx(60), 1)


async def test_a_limit_of_nothing() -> None:
    done = await drain(Envoy(lambda _: 1), timeout=0, minimum=0).wait()
    assert (done.seconds, done.left) == (0, 1)


async def test_who_goes_away_does_not_stop_it_and_nobody_begins_it_twice() -> None:
    envoy = Envoy(lambda past: 0 if past > 10 else 1)
    one = drain(envoy)
    first = asyncio.create_task(one.wait())
    await asyncio.sleep(2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert one.active
    done = await one.wait()
    assert envoy.calls == ["fail", "drain"]
    assert 10 <= done.seconds <= 10.6
    assert not one.active
    assert await one.wait() == done


async def test_an_envoy_that_is_gone_is_drained() -> None:
    def gone(_past: float) -> int:
        raise EnvoyGone("refused")

    done = await drain(Envoy(gone)).wait()
    assert (done.seconds, done.left) == (0, 0)


async def test_silence_is_no_end() -> None:
    """An Envoy too busy to say is not one without connections."""

    def silent(past: float) -> int:
        if past < 30:
            raise EnvoySilent("/stats: TimeoutError")
        return 0

    done = await drain(Envoy(silent)).wait()
    assert 30 <= done.seconds <= 30.6


def test_own_connections_do_not_count() -> None:
    text = """
listener.[__]_8080.downstream_cx_active: 3
listener.[__]_8080.worker_0.downstream_cx_active: 3
listener.0.0.0.0_10001.downstream_cx_active: 2
listener.[__]_19001.downstream_cx_active: 7
listener.admin.downstream_cx_active: 1
listener.admin.main_thread.downstream_cx_active: 1
udp.dns.downstream_sess_active: 4
http.http.downstream_cx_active: 3
"""
    assert _sum(text, {19001}) == 9
