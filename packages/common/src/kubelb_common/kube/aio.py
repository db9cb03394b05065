"""`KubeClient` over HTTP: raw JSON both ways, `kubernetes.aio` for configuration, authentication and TLS.

What can happen, and in which order
-----------------------------------
* A request is answered, refused (`ApiError`), or not answered within 30 s (`Unreachable`). Nothing is tried again
  here but one case: 401, when the credential's files say something newer than what was sent.
* A list is read in pages of 500. When the server forgets the version between two pages (410), the list starts over
  once. Nothing is returned before the last page.
* A watch is a line per event. Lines come in chunks of any size, cut anywhere. It ends when the server ends it
  (its timeout) or when the credential changes; it raises when the connection breaks, when a line is cut off, when
  the server sends an ERROR event, or when it lasts longer than was asked for by more than a margin, because then
  nobody is there any more.
* Credential files change: the new content is read, a new transport takes over (see `transport`). A content that
  cannot be read or used (a file is being written) changes nothing; the next wake-up reads again.

What may never happen
---------------------
* An exception of another library leaves this module: everything is a `KubeError`, chained to its cause.
* A half-read list or event is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from kubelb_common.kube import filewatch, nesting
from kubelb_common.kube.errors import (
    ApiError,
    ConfigError,
    Gone,
    KubeError,
    Unauthorized,
    Unreachable,
    from_status,
)
from kubelb_common.kube.kubeconfig import Source
from kubelb_common.kube.port import Object, ObjectList, Propagation, Resource, WatchEvent
from kubelb_common.kube.transport import Transport
from kubelb_common.telemetry import logs

_log = logs.get(__name__)

REQUEST_SECONDS = 30.0
WATCH_MARGIN_SECONDS = 15.0
PAGE = 500

_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_BROKEN = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


_EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


class _Line(msgspec.Struct):
    """One line of a watch."""

    type: str
    object: dict[str, Any]


_decode_line = msgspec.json.Decoder(_Line).decode


class AioClient:
    """One cluster, seen through the credential that a `Source` gives (see `kubeconfig.load`).

    Args:
        source: read now and whenever its files change.
        user_agent: how the API server's audit log names us.

    Raises:
        ConfigError: the source cannot be read.
    """

    def __init__(self, source: Source, *, user_agent: str = "kubelb") -> None:
        self._source = source
        self._user_agent = user_agent
        self._access = source.read()
        self._transport: Transport | None = None
        self._follower: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<AioClient {self.server}>"

    @property
    def namespace(self) -> str:
        """The namespace of the kubeconfig's context, or the pod's own."""
        return self._access.namespace

    @property
    def server(self) -> str:
        """The API server's base URL."""
        return self._access.server

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """See KubeClient."""
        return await self._request("GET", resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> ObjectList:
        """See KubeClient."""
        path = resource.path(namespace)
        query = _selectors(label_selector, field_selector)
        try:
            return await self._pages(resource, path, query)
        except Gone:
            return await self._pages(resource, path, query)

    async def _pages(self, resource: Resource, path: str, query: Mapping[str, str]) -> ObjectList:
        items: list[Object] = []
        position = ""
        while True:
            page = {"limit": str(PAGE), **query, **({"continue": position} if position else {})}
            answer = await self._request("GET", path, page)
            for item in answer.get("items") or ():
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
                items.append(item)
            metadata = answer.get("metadata") or {}
            position = metadata.get("continue") or ""
            if not position:
                return ObjectList(items, metadata.get("resourceVersion") or "")

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: int = 300,
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        """See KubeClient."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
            **_selectors(label_selector, field_selector),
        }
        return self._watch(resource.path(namespace), query, timeout_seconds + WATCH_MARGIN_SECONDS)

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        """See KubeClient."""
        return await self._request("POST", resource.path(_namespace(namespace, obj)), body=obj)

    async def replace(
        self, resource: Resource, obj: Object, namespace: str | None = None, *, subresource: str | None = None
    ) -> Object:
        """See KubeClient."""
        path = resource.path(_namespace(namespace, obj), obj["metadata"]["name"], subresource)
        return await self._request("PUT", path, body=obj)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Object:
        """See KubeClient."""
        path = resource.path(namespace, name, subresource)
        return await self._request("PATCH", path, body=patch, content_type=_MERGE_PATCH)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
        grace_period_seconds: int | None = None,
    ) -> None:
        """See KubeClient."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        wanted = {"uid": uid, "resourceVersion": resource_version}
        if preconditions := {key: value for key, value in wanted.items() if value}:
            options["preconditions"] = preconditions
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        await self._request("DELETE", resource.path(namespace, name), body=options)

    async def create_subresource(
        self, resource: Resource, name: str, subresource: str, body: Object, namespace: str | None = None
    ) -> Object:
        """See KubeClient."""
        return await self._request("POST", resource.path(namespace, name, subresource), body=body)

    async def get_subresource(
        self, resource: Resource, name: str, subresource: str, namespace: str | None = None
    ) -> Object:
        """See KubeClient."""
        return await self._request("GET", resource.path(namespace, name, subresource))

    async def server_version(self) -> Object:
        """See KubeClient."""
        return await self._request("GET", "/version")

    async def close(self) -> None:
        """See KubeClient."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
            self._follower = None
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Object | None = None,
        content_type: str = _JSON,
    ) -> Object:
        call = _Call(method, path, query, None if body is None else msgspec.json.encode(body), content_type)
        transport = self._current()
        try:
            return await _exchange(transport, call)
        except Unauthorized:
            if not self._renewed(transport):
                raise
        return await _exchange(self._current(), call)

    @asynccontextmanager
    async def _watch(
        self, path: str, query: Mapping[str, str], seconds: float
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        transport = self._current()
        try:
            response = await _open(transport, path, query, seconds)
        except Unauthorized:
            if not self._renewed(transport):
                raise
            transport = self._current()
            response = await _open(transport, path, query, seconds)
        with transport.streaming(response):
            async with aclosing(_events(transport, response, path)) as events:
                yield events

    def _current(self) -> Transport:
        if self._transport is None:
            self._transport = Transport(self._access, self._user_agent)
            self._follower = asyncio.create_task(self._follow(), name="credentials")
        return self._transport

    async def _follow(self) -> None:
        async with aclosing(filewatch.wakeups(lambda: self._access.files)) as wakeups:
            async for _ in wakeups:
                self._reload()

    def _renewed(self, refused: Transport) -> bool:
        """Tell whether there is a newer credential than the refused transport's."""
        return self._transport is not refused or self._reload()

    def _reload(self) -> bool:
        try:
            access = self._source.read()
            if access == self._access:
                return False
            transport = Transport(access, self._user_agent)
        except ConfigError as error:
            _log.warning("changed credentials cannot be used, the old ones stay", error=str(error))
            return False
        old, self._transport, self._access = self._transport, transport, access
        if old is not None:
            old.retire()
        _log.info("credentials changed", origin=access.origin)
        return True


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, ready to be sent, maybe twice."""

    method: str
    path: str
    query: Mapping[str, str] | None
    data: bytes | None
    content_type: str


async def _exchange(transport: Transport, call: _Call) -> Object:
    headers = {**transport.headers, **await transport.authorization()}
    if call.data is not None:
        headers["Content-Type"] = call.content_type
    with transport.use():
        try:
            async with transport.requests.request(
                call.method,
                _url(transport, call.path),
                params=call.query,
                # In chunks: a Secret of 1 MiB sent at once would hold the event loop.
                data=None if call.data is None else io.BytesIO(call.data),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
                allow_redirects=False,
                **transport.options,
            ) as response:
                body = await response.read()
        except _BROKEN as error:
            raise _unreachable(transport, call.method, call.path, error, REQUEST_SECONDS) from error
    if response.status >= 300:
        raise _refusal(response, body)
    try:
        return nesting.decode(_decode_object, body)
    except msgspec.MsgspecError as error:
        raise Unreachable(
            f"{call.method} {transport.access.server}{call.path}: the answer is no JSON object; "
            "check that the address is an API server's"
        ) from error


async def _open(transport: Transport, path: str, query: Mapping[str, str], seconds: float) -> aiohttp.ClientResponse:
    headers = {**transport.headers, **await transport.authorization()}
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            response = await transport.watches.get(
                _url(transport, path),
                params=query,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
                **transport.options,
            )
            if response.status == 200:
                return response
            async with response:
                body = await response.read()
    except _BROKEN as error:
        raise _unreachable(transport, "WATCH", path, error, REQUEST_SECONDS) from error
    raise _refusal(response, body)


async def _events(
    transport: Transport, response: aiohttp.ClientResponse, path: str
) -> AsyncGenerator[WatchEvent, None]:
    lines = LineSplitter()
    try:
        while chunk := await response.content.readany():
            for line in lines.feed(chunk):
                yield _event(line)
                if transport.retired:
                    return
    except _BROKEN as error:
        if transport.retired:
            return
        raise _unreachable(transport, "WATCH", path, error, None) from error
    if lines.unfinished and not transport.retired:
        raise Unreachable(f"WATCH {transport.access.server}{path}: the connection ended within an event")


class LineSplitter:
    """Cuts a stream of chunks into lines; each byte is copied at most twice, however long a line is."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    @property
    def unfinished(self) -> bool:
        """Whether the last line lacks its end."""
        return bool(self._parts)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that this chunk completes, without line ends and without empty ones."""
        first, *others = chunk.split(b"\n")
        if first:
            self._parts.append(first)
        if not others:
            return []
        lines = [b"".join(self._parts), *others[:-1]]
        self._parts = [others[-1]] if others[-1] else []
        return [line for line in lines if line.strip()]


def _event(line: bytes) -> WatchEvent:
    try:
        read = nesting.decode(_decode_line, line)
    except msgspec.MsgspecError as error:
        raise Unreachable(f"a watch sent a line that is no event: {line[:100]!r}") from error
    if read.type == "ERROR":
        raise _status_error(read.object, 500, None)
    return WatchEvent(cast("_EventType", read.type), read.object)


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    status: Object
    try:
        status = nesting.decode(_decode_object, body)
    except msgspec.MsgspecError:
        status = {}
    if status.get("kind") != "Status":
        text = body[:500].decode(errors="replace").strip() or response.reason or ""
        status = {"message": f"{response.method} {response.url.path}: {text}"}
    return _status_error(status, response.status, response.headers.get("Retry-After"))


def _status_error(status: Object, code: int, retry_after: str | None) -> ApiError:
    details = status.get("details") or {}
    wait = retry_after or details.get("retryAfterSeconds")
    seconds: float | None = None
    with contextlib.suppress(ValueError):
        seconds = float(wait) if wait else None
    return from_status(
        int(status.get("code") or code), status.get("reason") or "", status.get("message") or "", retry_after=seconds
    )


def _unreachable(transport: Transport, method: str, path: str, error: BaseException, limit: float | None) -> KubeError:
    where = f"{method} {transport.access.server}{path}"
    if isinstance(error, TimeoutError) and limit is not None:
        why = f"no answer within {limit:g} s"
    else:
        why = str(error) or type(error).__name__
    return Unreachable(f"{where}: {why}; check that the API server runs and can be reached ({transport.access.origin})")


def _url(transport: Transport, path: str) -> URL:
    return URL(transport.access.server + quote(path), encoded=True)


def _selectors(label_selector: str | None, field_selector: str | None) -> dict[str, str]:
    query = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: value for name, value in query.items() if value}


def _namespace(namespace: str | None, obj: Object) -> str | None:
    return namespace or obj["metadata"].get("namespace")
