"""The gRPC server: one handler per stream, bytes in and out, mutual TLS.

A stream's life: its first request names the node; the node must be well formed and prove itself by its certificate,
else the stream ends with PERMISSION_DENIED and a text that says why. From then on a reader feeds requests to the
stream's session and a writer sends what the session hands over, in that order. The stream ends when the
client ends it, when its fleet is removed, or when the server stops; whichever comes first, the session is closed once.

Certificates can be exchanged while streams are open: the next handshake uses the new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from kubelb_manager.delivery import wire
from kubelb_manager.delivery.cache import Cache, Session
from kubelb_manager.delivery.identity import NodeIdentity, PeerCertUris, parse_node
from kubelb_manager.delivery.messages import Response

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

Authorize = Callable[[NodeIdentity, PeerCertUris], str | None]

_OPTIONS = (
    # 20,000 names in `initial_resource_versions` pass gRPC's default of 4 MiB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A dead Envoy or a silent network is noticed in 40 s; Envoy's own pings are welcome.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Two servers on one port would share the streams, unseen.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The server's certificate chain and key, and the authority that client certificates come from; all PEM."""

    certificate: bytes
    key: bytes
    client_ca: bytes


class XdsServer:
    """Serves a cache by delta ADS.

    Args:
        cache: what is served.
        host: address to bind; an IPv6 literal without brackets is fine.
        port: to bind; 0 chooses one.
        tls: certificates; None is plaintext, for tests on loopback.
        authorize: returns why a node with these certificate names is refused, None if it is welcome.
        others: gRPC handlers of further services on the same port; each looks at certificates itself.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        host: str,
        port: int,
        tls: ServerTls | None,
        authorize: Authorize,
        others: Iterable[Any] = (),
    ) -> None:
        self._cache = cache
        self._others = tuple(others)
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._tls = tls
        self._authorize = authorize
        self._server: Any = None
        self._open: set[_Writer] = set()

    async def start(self) -> int:
        """Bind and serve; return the port.

        Raises:
            OSError: if the address cannot be bound.
        """
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((self._handlers(), *self._others))
        try:
            port: int = (
                server.add_insecure_port(self._address)
                if self._tls is None
                else server.add_secure_port(self._address, self._credentials(self._tls))
            )
        except RuntimeError as error:
            raise OSError(f"xDS server cannot bind {self._address}: {error}") from error
        await server.start()
        self._server = server
        return port

    async def stop(self, grace: float = 1.0) -> None:
        """End all streams, so that Envoys look for another server, and stop; at most `grace` seconds."""
        if self._server is None:
            return
        for writer in tuple(self._open):
            writer.end()
        server, self._server = self._server, None
        await server.stop(grace)

    def reload_tls(self, tls: ServerTls) -> None:
        """Use other certificates from the next handshake on. Open streams stay."""
        self._tls = tls

    # -------------------------------------------------------------------------------------------

    def _handlers(self) -> Any:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._serve),
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(_refuse_state_of_the_world),
            },
        )

    def _credentials(self, tls: ServerTls) -> Any:
        in_use = tls

        def fetch() -> Any:
            nonlocal in_use
            if self._tls is None or self._tls == in_use:
                return None
            in_use = self._tls
            return _configuration(in_use)

        return grpc.dynamic_ssl_server_credentials(_configuration(tls), fetch, require_client_authentication=True)

    async def _serve(self, _requests: AsyncIterator[bytes], context: Any) -> None:
        writer = _Writer(context)
        session: Session | None = None
        self._open.add(writer)
        writing = asyncio.ensure_future(writer.run())
        try:
            while (data := await _read(context, writing)) is not None:
                incoming = await _decode(data, context)
                if session is None:
                    node = await self._identify(incoming.node_id, context)
                    session = self._cache.connect(node.fleet_key, node.pod, writer.send, writer.end)
                session.on_request(incoming.request)
        finally:
            self._open.discard(writer)
            writer.end()
            if session is not None:
                session.close()
            writing.cancel()

    async def _identify(self, node_id: str, context: Any) -> NodeIdentity:
        node = parse_node(node_id)
        if node is None:
            text = f"node id {node_id[:200]!r} is not <tenant namespace>/<fleet>/<pod>"
        else:
            refused = self._authorize(node, _uris(context))
            if refused is None:
                return node
            text = refused
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
        raise AssertionError("abort raises")


class _Writer:
    """Responses of one stream on their way out, in order. They are joined to bytes when their turn comes."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._queue: asyncio.Queue[Response | None] = asyncio.Queue()

    def send(self, responses: Iterable[Response]) -> None:
        for response in responses:
            self._queue.put_nowait(response)

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def run(self) -> None:
        while (response := await self._queue.get()) is not None:
            await self._context.write(wire.encode(response))


async def _read(context: Any, writing: asyncio.Future[None]) -> bytes | None:
    """Return the next request; None when the client, or our own side, ended the stream."""
    reading = asyncio.ensure_future(context.read())
    try:
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            return None
        data = reading.result()
    finally:
        reading.cancel()
    return None if data is grpc.aio.EOF else data


async def _decode(data: bytes, context: Any) -> wire.Incoming:
    try:
        return wire.decode(data)
    except ValueError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        raise AssertionError("abort raises") from error


async def _refuse_state_of_the_world(_requests: AsyncIterator[bytes], context: Any) -> None:
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED, "this server speaks delta xDS only: set api_type to DELTA_GRPC in ads_config"
    )


def _configuration(tls: ServerTls) -> Any:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], root_certificates=tls.client_ca)


def _uris(context: Any) -> PeerCertUris:
    found = context.auth_context().get("peer_uri", ())
    return tuple(each.decode("utf-8", "replace") for each in found)
