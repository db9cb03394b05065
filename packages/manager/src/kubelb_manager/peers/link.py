"""The stream between a replica and the leader: gRPC over the port of the xDS server, mutual TLS, managers only.

A replica finds the leader's address in the Lease, opens one stream, says who it is, and then sends updates as they
come. The leader says nothing. The stream ends when either side stops, when the leader leads no more, or when the
Lease names another; then the leader knows nothing of the replica's Envoys, and the replica begins anew with
everything, at whoever leads by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from kubelb_common.runtime.backoff import Backoff
from kubelb_common.runtime.clock import Clock
from kubelb_common.telemetry import logs
from kubelb_manager.peers import model
from kubelb_manager.peers.book import Book, Page
from kubelb_manager.peers.report import Report

_log = logs.get(__name__)
SERVICE = "kubelb.manager.v1.Peers"
_METHOD = "Report"
_REPLICA = "kubelb-replica"
_RETRY = Backoff(base=0.1, cap=2.0)
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    # A leader that froze or lost its network is noticed within seconds; the server allows such pings.
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A leader that comes back is found at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


@dataclass(frozen=True, slots=True)
class PeerTls:
    """A manager's own certificate and key, the authority of the other side, and the name it must have; PEM."""

    certificate: bytes
    key: bytes
    ca: bytes
    server_name: str


@dataclass(frozen=True, slots=True)
class Target:
    """A leader to report to: who it is, and `host:port`."""

    identity: str
    address: str


class Receiver:
    """The leader's side: writes what replicas say into the book.

    Args:
        book: where it goes.
        clock: for the ages of streams.
        welcome: whether a peer with these URI names in its certificate is a manager.
    """

    def __init__(self, book: Book, clock: Clock, welcome: Callable[[Iterable[str]], bool]) -> None:
        self._book = book
        self._clock = clock
        self._welcome = welcome
        self._leads = False
        self._open: set[asyncio.Task[Any]] = set()

    def handler(self) -> Any:
        """Return the handler of the service."""
        return grpc.method_handlers_generic_handler(
            SERVICE, {_METHOD: grpc.stream_unary_rpc_method_handler(self._receive)}
        )

    def lead(self, *, leads: bool) -> None:
        """Take reports from now on; or take none any more, and end the streams."""
        self._leads = leads
        if not leads:
            for task in self._open:
                task.cancel()

    async def _receive(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        uris = tuple(each.decode("utf-8", "replace") for each in context.auth_context().get("peer_uri", ()))
        if not self._welcome(uris):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only managers report here")
        if not self._leads:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this manager does not lead")
        replica = dict(context.invocation_metadata()).get(_REPLICA, "")
        if not replica:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"metadata {_REPLICA} is missing")
        reading = asyncio.ensure_future(self._read(requests, replica))
        self._open.add(reading)
        try:
            await asyncio.wait((reading,))
            if not reading.cancelled():
                reading.result()
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._open.discard(reading)
            reading.cancel()
        return b""

    async def _read(self, requests: AsyncIterator[bytes], replica: str) -> None:
        page: Page = self._book.open(str(replica))
        _log.info("a replica reports", replica=replica)
        try:
            async for data in requests:
                self._book.note(page, model.decode(data), self._clock.monotonic())
        finally:
            self._book.close(page)
            _log.info("a replica reports no more", replica=replica)


class Sender:
    """A replica's side: reports to whoever leads.

    Args:
        report: what is to be told.
        identity: who we are.
        target: whom to tell now; None for nobody.
        tls: asked at each connection.
        clock: for pauses.
    """

    def __init__(
        self,
        report: Report,
        identity: str,
        target: Callable[[], Target | None],
        tls: Callable[[], PeerTls],
        clock: Clock,
    ) -> None:
        self._report = report
        self._identity = identity
        self._target = target
        self._tls = tls
        self._clock = clock
        self._moved = asyncio.Event()

    def look(self) -> None:
        """See whether there is another leader."""
        self._moved.set()

    async def run(self) -> None:
        """Report until cancelled."""
        failures = 0
        while True:
            self._moved.clear()
            target = self._target()
            if target is None:
                await self._moved.wait()
                continue
            began = self._clock.monotonic()
            reporting = asyncio.ensure_future(self._to(target))
            try:
                while not reporting.done() and self._target() == target:
                    moved = asyncio.ensure_future(self._moved.wait())
                    await asyncio.wait((reporting, moved), return_when=asyncio.FIRST_COMPLETED)
                    moved.cancel()
                    self._moved.clear()
            finally:
                reporting.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.gather(reporting, return_exceptions=True)
            if self._target() != target:
                continue
            failures = 1 if self._clock.monotonic() - began > 1.0 else failures + 1
            await self._clock.sleep(_RETRY.delay(failures))

    async def _to(self, target: Target) -> None:
        tls = self._tls()
        credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", tls.server_name))
        wake = asyncio.Event()
        feed = self._report.feed(wake.set)
        try:
            async with grpc.aio.secure_channel(target.address, credentials, options) as channel:
                call = channel.stream_unary(f"/{SERVICE}/{_METHOD}")(metadata=((_REPLICA, self._identity),))
                ended = asyncio.ensure_future(call.code())
                try:
                    while not ended.done():
                        for update in feed.take():
                            await call.write(model.encode(update))
                        woken = asyncio.ensure_future(wake.wait())
                        await asyncio.wait((woken, ended), return_when=asyncio.FIRST_COMPLETED)
                        woken.cancel()
                        wake.clear()
                    _log.info("the leader takes no reports", leader=target.identity, cause=await call.details())
                finally:
                    ended.cancel()
                    call.cancel()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            details = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
            _log.info("cannot report to the leader", leader=target.identity, cause=details)
        finally:
            self._report.close(feed)
