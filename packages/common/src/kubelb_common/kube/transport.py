"""HTTP sessions for one `Access`, made by `kubernetes.aio`: its configuration, authentication and TLS.

Two sessions share one TLS context: requests, limited so that a burst does not bury the API server, and watches,
without a limit because each holds its connection for minutes. A dead peer is noticed by TCP within about 30 s.

When credentials change, a new transport takes over and the old one *retires*: its watches end at once, so that
they are opened anew with the new credential; requests under way are finished first.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from kubelb_common.kube.errors import ConfigError
from kubelb_common.kube.kubeconfig import Access

MAX_REQUESTS = 64
_KEEPALIVE = (
    ("TCP_KEEPIDLE", 15),
    ("TCP_KEEPINTVL", 5),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 30_000),
)
_LOOPBACK = ("localhost", "127.", "::1")


class Transport:
    """Sessions that speak as one `Access`; must be made within a running event loop."""

    def __init__(self, access: Access, user_agent: str) -> None:
        self.access = access
        self.retired = False
        self.headers = {"Accept": "application/json", "User-Agent": user_agent}
        configuration = _configuration(access)
        with _client_certificate(access, configuration):
            try:
                self.requests = _Rest(configuration, MAX_REQUESTS).session()
                self.watches = _Rest(configuration, 0).session()
            except ssl.SSLError as error:
                raise ConfigError(
                    f"{access.origin}: certificate-authority, client-certificate or client-key cannot be used "
                    f"({error.reason or error}); check that each is valid PEM and that key and certificate match"
                ) from error
        self.options: dict[str, Any] = {}
        if access.tls_server_name:
            self.options["server_hostname"] = access.tls_server_name
        if access.proxy:
            self.options["proxy"] = access.proxy
        self._configuration = configuration
        self._open: set[aiohttp.ClientResponse] = set()
        self._under_way = 0
        self._closing: asyncio.Task[None] | None = None

    async def authorization(self) -> dict[str, str]:
        """Return the headers that say who we are."""
        settings: Any = await self._configuration.auth_settings()
        return {setting["key"]: setting["value"] for setting in settings.values()}

    @contextmanager
    def use(self) -> Iterator[None]:
        """Keep the request session open for the block, even if the transport retires meanwhile."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if self.retired and not self._under_way:
                self._close_soon()

    @contextmanager
    def streaming(self, response: aiohttp.ClientResponse) -> Iterator[None]:
        """Have the stream ended when the transport retires; it is closed after the block in any case."""
        self._open.add(response)
        if self.retired:  # while it was being opened
            _end(response)
        try:
            yield
        finally:
            self._open.discard(response)
            if (connection := response.connection) is not None and connection.transport is not None:
                connection.transport.abort()  # nobody would wait for the end of a TLS goodbye
            response.close()

    def retire(self) -> None:
        """End all watches now, and close when no request is under way."""
        self.retired = True
        for response in self._open:
            _end(response)
        self._close_soon()

    async def close(self) -> None:
        """End everything."""
        self.retired = True
        await self.watches.close()
        await self.requests.close()
        if self._closing is not None:
            await self._closing
        await asyncio.sleep(0)  # lets aborted connections end before the loop may

    def _close_soon(self) -> None:
        self._closing = asyncio.create_task(self._close_unused())

    async def _close_unused(self) -> None:
        await self.watches.close()
        if not self._under_way:
            await self.requests.close()


def _end(response: aiohttp.ClientResponse) -> None:
    """Wake whoever reads from the response; closing its session does not."""
    response.content.set_exception(aiohttp.ClientConnectionError("the credential changed"))


class _Rest(RESTClientObject):
    """The library's way from a configuration to a session, with our sockets."""

    def __init__(self, configuration: Configuration, limit: int) -> None:
        super().__init__(configuration)
        self.maxsize = limit

    def session(self) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = self._create_pool_manager()
        return session

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=_socket)


def _socket(info: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, *_ = info
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if (option := getattr(socket, name, None)) is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _configuration(access: Access) -> Configuration:
    configuration = Configuration(
        host=access.server,
        api_key={"BearerToken": access.token} if access.token else None,
        api_key_prefix={"BearerToken": "Bearer"},
        ca_cert_data=access.ca,
        verify_ssl=access.verify,
        tls_server_name=access.tls_server_name,
        proxy=access.proxy,
        client_session_kwargs={
            "trust_env": access.proxy is None and not _is_local(access.server),  # as Go's clients do
            "cookie_jar": aiohttp.DummyCookieJar(),
            "auto_decompress": True,
        },
    )
    configuration.disable_strict_ssl_verification = True  # many clusters' authorities lack a key identifier
    return configuration


def _is_local(server: str) -> bool:
    return (urlsplit(server).hostname or "").startswith(_LOOPBACK)


@contextmanager
def _client_certificate(access: Access, configuration: Configuration) -> Iterator[None]:
    """Lend the client certificate to the library as files, which is all that TLS contexts can load."""
    if access.client_certificate is None or access.client_key is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="kubelb-") as folder:  # mode 0700
        certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate.write_text(access.client_certificate)
        key.write_text(access.client_key)
        configuration.cert_file, configuration.key_file = str(certificate), str(key)
        try:
            yield
        finally:
            configuration.cert_file = configuration.key_file = None
