"""One of several replicas writes: election by a coordination.k8s.io Lease.

What can happen, and in which order
-----------------------------------
1. *Candidate*: follows the Lease. It takes it when there is none, when nobody holds it, or when its holder has not
   renewed it for the lease's duration. That duration is measured by our own clock from the moment at which we saw the
   last renewal, so clocks that disagree do no harm.
2. *Leader*: the term begins, the writers start. The Lease is renewed every `period` seconds, and at once when it was
   deleted.
3. *The term ends* when a stop is asked for, when somebody else holds the Lease, or when no renewal succeeded for
   `deadline` seconds. Writers get what is left of the lease, less a margin, to end; then they are cut. So the old
   leader's writers have ended before another candidate may begin.
4. After an orderly end the Lease is released: the next candidate, which watches it, takes over at once.
5. Without a stop the old leader is a candidate again.

What may never happen
---------------------
* Two leaders at once, as far as a process can know: every write is made with the Lease's resourceVersion, and
  `may_write` is false as soon as our own clock says that another may have taken over, even if this process was
  frozen meanwhile.
* A candidate that saw a leader takes the deleted Lease of that leader before the leader's time is over.
"""

from __future__ import annotations

import asyncio
import math
import socket
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from kubelb_common.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import LEASES
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock, SystemClock
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.telemetry import logs

_log = logs.get(__name__)
#: Less than a clock can be trusted to wait for.
_INSTANT = 0.001


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of an election; the defaults are those of client-go.

    Attributes:
        lease: a leader that was not seen to renew for so long may be replaced.
        deadline: a leader that could not renew for so long ends its term.
        period: between renewals (ruling 35: at most one per 2 s).
        margin: before the end of the lease everything of the term has ended.
        grace: writers get so long to end at most.
    """

    lease: float = 15.0
    deadline: float = 10.0
    period: float = 2.0
    margin: float = 2.0
    grace: float = 10.0


class Term(Protocol):
    """What runs while we lead."""

    async def begin(self) -> None:
        """Start the writers."""

    async def end(self, grace: float) -> None:
        """Stop the writers; return when none runs any more. Those that take longer than `grace` seconds are cut."""


class Leadership(Protocol):
    """Decides when the terms of this process begin and end."""

    @property
    def leads(self) -> bool:
        """Whether a term is under way."""

    @property
    def may_write(self) -> bool:
        """Whether a write that begins now is a leader's."""

    def on_term(self, handler: Callable[[bool], None]) -> None:
        """Call `handler` with True before the writers of a term start, and with False after they have stopped."""

    async def run(self, term: Term) -> None:
        """Run terms until `stop`; when cancelled, end the term at once."""

    async def stop(self) -> None:
        """Have `run` end the term in order, and return."""


class _Terms:
    """Who hears of terms."""

    def __init__(self) -> None:
        self._leads = False
        self._handlers: list[Callable[[bool], None]] = []

    def on_term(self, handler: Callable[[bool], None]) -> None:
        """See Leadership."""
        self._handlers.append(handler)

    def _lead_now(self, *, leads: bool) -> None:
        self._leads = leads
        for handler in self._handlers:
            handler(leads)


class Alone(_Terms):
    """Leadership without an election: one term from start to stop."""

    def __init__(self) -> None:
        super().__init__()
        self._stopping = asyncio.Event()

    @property
    def leads(self) -> bool:
        """See Leadership."""
        return self._leads

    @property
    def may_write(self) -> bool:
        """See Leadership."""
        return self._leads

    async def run(self, term: Term) -> None:
        """See Leadership."""
        self._lead_now(leads=True)
        grace = 0.0
        try:
            await term.begin()
            await self._stopping.wait()
            grace = Timing().grace
        finally:
            await term.end(grace)
            self._lead_now(leads=False)

    async def stop(self) -> None:
        """See Leadership."""
        self._stopping.set()


class _Record(NamedTuple):
    """What a Lease says; while it stays the same, nobody has renewed it."""

    holder: str
    renewed: str
    transitions: int
    seconds: float


class _Lost(Exception):  # noqa: N818  # an outcome, not an accident
    """Somebody else holds the Lease."""


def own_identity() -> str:
    """Return a name for this process that no other has: the host's (a pod's) name and a part of chance."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


class Elector(_Terms):
    """Leadership by a Lease; see the module. Its informer must be run by the supervisor.

    Args:
        client: the cluster that has the Lease.
        namespace: where the Lease is.
        name: its name.
        identity: who we are; unique among all processes, past ones included.
        annotations: put on the Lease while we hold it, for example an address; asked at each renewal. Others are
            left alone.
        timing: see Timing.
        clock: time; the wall clock is shown in the Lease and decides nothing.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str | None = None,
        annotations: Callable[[], Mapping[str, str]] = dict,
        timing: Timing | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self.identity = identity or own_identity()
        self._client = client
        self._namespace = namespace
        self._name = name
        self._annotations = annotations
        self._timing = timing or Timing()
        self._clock = clock or SystemClock()
        self.informer = Informer(
            client, LEASES, namespace=namespace, field_selector=f"metadata.name={name}", clock=self._clock
        )
        self.informer.on_change(self._on_change)
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        #: Our last write of the Lease, and when it was begun.
        self._own: Object | None = None
        self._renewed_at = -math.inf
        self._seen: _Record | None = None
        self._seen_at = 0.0
        self._log = _log.bind(lease=f"{namespace}/{name}", identity=self.identity)

    @property
    def leads(self) -> bool:
        """Whether a term of ours is under way."""
        return self._leads

    @property
    def may_write(self) -> bool:
        """Whether we lead, and nobody may have taken over however long this process slept."""
        return self._leads and self._left() > 0

    def holder(self) -> Object | None:
        """Return the Lease as it was seen last if somebody holds it."""
        live = self.informer.store.get(self._namespace, self._name)
        return live if live is not None and view.text(live, "spec", "holderIdentity") else None

    def on_change(self, handler: Callable[[], None]) -> None:
        """Call `handler` when the Lease was seen to change; renewals count."""
        self.informer.on_change(lambda _change: handler())

    async def stop(self) -> None:
        """Have `run` end the term in order, release the Lease and return."""
        self._stopping.set()
        self._wake.set()

    async def run(self, term: Term) -> None:
        """Run terms until `stop`."""
        while await self._acquire():
            self._log.info("leads")
            self._lead_now(leads=True)
            await self._lead(term)

    # Candidate -----------------------------------------------------------------------------------

    async def _acquire(self) -> bool:
        """Wait until the Lease is ours; False when a stop came first."""
        while not self._stopping.is_set():
            self._wake.clear()
            wait = self._remaining()
            if wait <= 0:
                try:
                    if await self._unless_stopped(self._take()):
                        return True
                    wait = self._remaining()
                except Conflict:
                    wait = 0.1  # somebody was faster: see what the Lease says now
                except KubeError as error:
                    self._log.warning("cannot ask for the lease", error=str(error), retry_in=self._timing.period)
                    wait = self._timing.period
            await self._pause(wait)
        return False

    async def _unless_stopped(self, question: Coroutine[Any, Any, bool]) -> bool:
        """Return the answer; False when a stop comes before it, for nobody needs to wait for a dead API server."""
        asking, stopping = asyncio.create_task(question), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((asking, stopping), return_when=asyncio.FIRST_COMPLETED)
            return asking.done() and asking.result()
        finally:
            for task in (asking, stopping):
                task.cancel()
            await asyncio.gather(asking, stopping, return_exceptions=True)

    def _remaining(self) -> float:
        """Return for how long the holder that was seen last must be respected."""
        seen = self._seen
        if seen is None or seen.holder in ("", self.identity):
            return 0.0
        left = self._seen_at + max(self._timing.lease, seen.seconds) - self._clock.monotonic()
        return left if left > _INSTANT else 0.0

    async def _take(self) -> bool:
        sent = self._clock.monotonic()
        live = await self._read()
        self._observe(live)
        if self._remaining() > 0:
            return False
        self._own = await (self._create() if live is None else self._write(live, self.identity))
        self._renewed_at = sent
        return True

    def _observe(self, live: Object | None) -> None:
        """Note a renewal that was not seen before. A Lease that is gone says nothing of its holder."""
        record = None if live is None else _record(live)
        if record is not None and record != self._seen:
            self._seen, self._seen_at = record, self._clock.monotonic()

    def _on_change(self, change: Change) -> None:
        if not self._leads:
            self._observe(change.new)
            if change.new is None or not view.text(change.new, "spec", "holderIdentity"):
                self._wake.set()
        elif change.new is None or self._is_foreign(change.new):
            self._wake.set()  # the next renewal tells whether we still lead

    def _is_foreign(self, seen: Object) -> bool:
        """Whether somebody else wrote his name after our last write; a late watch shows older ones."""
        if view.text(seen, "spec", "holderIdentity") == self.identity:
            return False
        ours, theirs = view.resource_version(self._own or {}), view.resource_version(seen)
        return not (ours.isdecimal() and theirs.isdecimal()) or int(theirs) > int(ours)

    # Leader --------------------------------------------------------------------------------------

    async def _lead(self, term: Term) -> None:
        grace, lost = 0.0, True
        try:
            await term.begin()
            lost = not await self._keep()
            grace = max(min(self._timing.grace, self._left()), 0.0)
        finally:
            try:
                await term.end(grace)
            finally:
                release = not lost and self.may_write
                self._lead_now(leads=False)
        if release:
            await self._release()
        self._log.info("leads no more", lost=lost)

    def _left(self) -> float:
        return self._renewed_at + self._timing.lease - self._timing.margin - self._clock.monotonic()

    async def _keep(self) -> bool:
        """Renew; return True when a stop is asked for, False when the Lease is lost."""
        due = self._renewed_at + self._timing.period
        while not self._stopping.is_set():
            now = self._clock.monotonic()
            end = self._renewed_at + self._timing.deadline
            if end - now < _INSTANT:
                self._log.error("could not renew the lease in time", deadline=self._timing.deadline)
                return False
            self._wake.clear()
            await self._pause(min(due, end) - now)
            if self._stopping.is_set():
                break
            due = self._clock.monotonic() + self._timing.period
            try:
                async with asyncio.timeout(end - self._clock.monotonic()):
                    await self._renew()
            except _Lost:
                self._log.error("somebody else holds the lease")
                return False
            except TimeoutError:
                continue
            except KubeError as error:
                self._log.warning("cannot renew the lease", error=str(error))
        return True

    async def _renew(self) -> None:
        assert self._own is not None
        sent = self._clock.monotonic()
        try:
            written = await self._write(self._own, self.identity)
        except (Conflict, NotFound):
            written = await self._write_again()
        self._own, self._renewed_at = written, sent

    async def _write_again(self) -> Object:
        """Renew a Lease that somebody changed or deleted."""
        live = await self._read()
        if live is None:
            self._log.warning("the lease was deleted, making it again")
            with suppress(AlreadyExists):
                return await self._create()
            live = await self._client.get(LEASES, self._name, self._namespace)
        if view.text(live, "spec", "holderIdentity") != self.identity:
            self._observe(live)
            raise _Lost
        return await self._write(live, self.identity)

    async def _release(self) -> None:
        """Give the Lease back; who cannot be reached sees it expire."""
        assert self._own is not None
        try:
            async with asyncio.timeout(self._timing.period):
                await self._write(self._own, "")
        except (KubeError, TimeoutError) as error:
            self._log.warning("cannot release the lease, it expires", error=str(error))

    # Reading and writing -------------------------------------------------------------------------

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    async def _read(self) -> Object | None:
        with suppress(NotFound):
            return await self._client.get(LEASES, self._name, self._namespace)
        return None

    async def _create(self) -> Object:
        wanted: Object = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace, "annotations": dict(self._annotations())},
            "spec": self._spec({}, self.identity),
        }
        return await self._client.create(LEASES, wanted, self._namespace)

    async def _write(self, live: Object, holder: str) -> Object:
        ours = dict(self._annotations())
        others = {key: text for key, text in view.annotations(live).items() if key not in ours}
        metadata = {**live["metadata"], "annotations": others | (ours if holder else {})}
        wanted = {**live, "metadata": metadata, "spec": self._spec(live.get("spec") or {}, holder)}
        return await self._client.replace(LEASES, wanted, self._namespace)

    def _spec(self, before: Object, holder: str) -> Object:
        now = view.format_micro_time(self._clock.now())
        taken = holder != before.get("holderIdentity")
        transitions = before.get("leaseTransitions") or 0
        return {
            **before,
            "holderIdentity": holder,
            "leaseDurationSeconds": math.ceil(self._timing.lease) if holder else 1,
            "acquireTime": now if taken and holder else before.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": transitions + 1 if taken and holder and before else transitions,
        }


def _record(lease: Object) -> _Record:
    seconds = view.get(lease, "spec", "leaseDurationSeconds", default=0)
    transitions = view.get(lease, "spec", "leaseTransitions", default=0)
    return _Record(
        view.text(lease, "spec", "holderIdentity"),
        view.text(lease, "spec", "renewTime"),
        transitions if isinstance(transitions, int) else 0,
        float(seconds) if isinstance(seconds, int) else 0.0,
    )
