"""Asks node ports whether they take connections (ruling 26).

kube-proxy programs a new node port up to a second or more after the API server has it. A route that
is published in between answers 503, a listener accepts and resets. So each node port is asked by a
TCP connect: often at first, and with growing pauses after the bound, for as long as somebody wants
to know and it has not answered. What answered once is not asked again until it was forgotten: a
later failure is Envoy's to see, not ours.

What a cluster's answers come to:

* every node answered: it answers;
* the others were asked for two seconds (only nodes with a pod answer under the traffic policy Local, or one is
  dead): one answer is enough, Envoy tries another node;
* the bound passed without an answer: silent.

A UDP port is not asked: a datagram of ours would reach the application, and the silence of one that is served and of
one that is not are the same. It counts as answering once kube-proxy has had the two seconds that it may need.

Never: a connection to an address that translation did not let through its deny list; more than
`_AT_ONCE` connects at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from kubelb_common.runtime.clock import Clock
from kubelb_manager.ir.model import Cluster, Endpoint, Protocol
from kubelb_manager.rollout.view import Reach

#: Longest wait for a first answer (ruling 26).
BOUND = 5.0
#: How long other nodes may lag behind the first that answers; two periods of kube-proxy's default sync.
LAG = 2.0
_AT_ONCE = 64
_CONNECT_TIMEOUT = 1.0
_FIRST_PAUSE = 0.01
_EARLY_PAUSE = 0.05
_LATE_PAUSE = 10.0


@dataclass(slots=True)
class _Question:
    asked_since: float
    answered_at: float | None = None
    task: asyncio.Task[None] | None = None


Connect = Callable[[Endpoint], Awaitable[bool]]


async def connects(endpoint: Endpoint) -> bool:
    """Whether a TCP connection to `endpoint` is taken; it is closed at once."""
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(endpoint.address, endpoint.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


@dataclass(slots=True)
class NodePortProber:
    """Asks the endpoints of the clusters that somebody wants to know about.

    Args:
        clock: time and pauses.
        on_answer: called when what is known of an endpoint changes (an answer, or a bound passed).
        connect: asks one endpoint.
    """

    clock: Clock
    on_answer: Callable[[Endpoint], None]
    connect: Connect = connects
    _questions: dict[Endpoint, _Question] = field(default_factory=dict)
    _limit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    def ask(self, endpoints: Iterable[Endpoint]) -> None:
        """Start to ask those of `endpoints` that are not asked yet; needs a running event loop."""
        for endpoint in endpoints:
            if endpoint in self._questions:
                continue
            question = self._questions[endpoint] = _Question(self.clock.monotonic())
            question.task = asyncio.get_running_loop().create_task(self._pursue(endpoint, question))

    def forget(self, endpoints: Iterable[Endpoint]) -> None:
        """Stop asking, and ask anew if somebody wants to know again."""
        for endpoint in endpoints:
            question = self._questions.pop(endpoint, None)
            if question is not None and question.task is not None:
                question.task.cancel()

    def close(self) -> None:
        """Stop asking altogether."""
        self.forget(list(self._questions))

    def reach(self, cluster: Cluster) -> Reach:
        """Return what the answers so far say of `cluster`."""
        now = self.clock.monotonic()
        questions = [self._questions.get(endpoint) for endpoint in cluster.endpoints]
        if not questions:
            return Reach.SILENT
        asked = [question for question in questions if question is not None]
        answers = [question.answered_at for question in asked if question.answered_at is not None]
        if len(answers) == len(questions):
            return Reach.ANSWERS
        open_since = [question.asked_since for question in asked if question.answered_at is None]
        if answers and open_since and now - max(*open_since, min(answers)) >= LAG:
            return Reach.ANSWERS
        if open_since and now - min(open_since) >= BOUND:
            return Reach.ANSWERS if answers else Reach.SILENT
        return Reach.ASKING

    async def _pursue(self, endpoint: Endpoint, question: _Question) -> None:
        pause = _FIRST_PAUSE
        told_late = False
        while not await self._connects(endpoint):
            waited = self.clock.monotonic() - question.asked_since
            if waited >= BOUND and not told_late:
                told_late = True
                self.on_answer(endpoint)
            if waited < BOUND:
                pause = min(pause * 2, _EARLY_PAUSE, max(BOUND - waited, _FIRST_PAUSE))
            else:
                pause = min(pause * 2, _LATE_PAUSE)
            await self.clock.sleep(pause)
        question.answered_at = self.clock.monotonic()
        self.on_answer(endpoint)

    async def _connects(self, endpoint: Endpoint) -> bool:
        if endpoint.protocol is Protocol.UDP:
            await self.clock.sleep(LAG)
            return True
        async with self._limit:
            return await self.connect(endpoint)
