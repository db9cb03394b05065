"""A FakeKube over HTTP on loopback, so that AioClient and whole processes can talk to it.

Speaks what KubeClient needs: JSON, lists in pages, watches as a line per event with bookmarks, merge
patches, DeleteOptions, Status bodies. Requests without a token act as administrator; a token from a
TokenRequest acts as its service account under the RBAC objects stored in the fake; any other token is
401. An `Unreachable` from the fake (stopped, broken watch, injected fault) cuts the connection.

    async with apiserver.serve(kube) as server:
        client = AioClient(kubeconfig.load(server.kubeconfig(folder)))
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import web

from kubelb_common.kube.errors import ApiError, KubeError, from_status
from kubelb_common.kube.port import Object, ObjectList, WatchEvent
from kubelb_common.testing.fake import errors, paths, subresources
from kubelb_common.testing.fake.paths import Target
from kubelb_common.testing.fake_kube import FakeKube

MERGE_PATCH = "application/merge-patch+json"


class Server:
    """The HTTP side of one FakeKube.

    Attributes:
        url: `http://127.0.0.1:<port>`.
    """

    def __init__(self, kube: FakeKube) -> None:
        self.url = ""
        self._kube = kube
        self._pages: dict[str, tuple[ObjectList, int]] = {}
        self._page_numbers = count(1)

    def kubeconfig(self, folder: Path, *, token: str | None = None, name: str = "kubeconfig") -> Path:
        """Write a kubeconfig for this server into `folder` and return its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": token} if token else {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "current-context": "fake",
        }
        path = folder / name
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._answer(request)
        except ApiError as error:
            headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:g}"}
            return web.json_response(_status(error), status=error.code, headers=headers)
        except KubeError:
            _cut(request)
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        kube = self._client(request)
        if request.path in {"/version", "/readyz", "/livez", "/healthz"}:
            return web.json_response(await kube.server_version())
        target = paths.parse(kube.store, request.path)
        verbs: dict[str, Callable[[web.Request, FakeKube, Target], Awaitable[web.StreamResponse]]] = {
            "GET": self._get,
            "POST": self._post,
            "PUT": self._put,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        if request.method not in verbs:
            raise from_status(405, "MethodNotAllowed", f"{request.method} is not supported")
        return await verbs[request.method](request, kube, target)

    def _client(self, request: web.Request) -> FakeKube:
        header = request.headers.get("Authorization", "")
        if not header:
            return self._kube
        user = subresources.token_user(self._kube.store, header.removeprefix("Bearer "))
        if user is None:
            raise from_status(401, "Unauthorized", "Unauthorized")
        return self._kube.as_user(user)

    async def _get(self, request: web.Request, kube: FakeKube, target: Target) -> web.StreamResponse:
        if target.name and target.subresource:
            found = await kube.get_subresource(target.resource, target.name, target.subresource, target.namespace)
            return web.json_response(found)
        if target.name:
            return web.json_response(await kube.get(target.resource, target.name, target.namespace))
        if request.query.get("watch") in {"true", "1"}:
            return await self._watch(request, kube, target)
        return web.json_response(await self._list(request.query, kube, target))

    async def _list(self, query: Mapping[str, str], kube: FakeKube, target: Target) -> Object:
        if token := query.get("continue"):
            if token not in self._pages:
                raise from_status(410, "Expired", "The provided continue parameter is too old")
            listed, start = self._pages.pop(token)
            kube.store.history.check(int(listed.resource_version))
        else:
            listed, start = await kube.list(target.resource, target.namespace, **_selectors(query)), 0
        limit = int(query.get("limit", 0)) or len(listed.items) or 1
        meta: Object = {"resourceVersion": listed.resource_version}
        if start + limit < len(listed.items):
            meta["continue"] = f"page-{next(self._page_numbers)}"
            meta["remainingItemCount"] = len(listed.items) - start - limit
            self._pages[meta["continue"]] = (listed, start + limit)
        items = [_without_type(item) for item in listed.items[start : start + limit]]
        kind = f"{target.resource.kind}List"
        return {"kind": kind, "apiVersion": target.resource.api_version, "metadata": meta, "items": items}

    async def _watch(self, request: web.Request, kube: FakeKube, target: Target) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        wants_bookmarks = request.query.get("allowWatchBookmarks") in {"true", "1"}
        seconds = int(request.query.get("timeoutSeconds", 1800))
        version = request.query.get("resourceVersion", "")
        watch = kube.watch(
            target.resource,
            target.namespace,
            resource_version=version,
            timeout_seconds=seconds,
            **_selectors(request.query),
        )
        try:
            async with watch as events:
                await response.prepare(request)
                async for event in events:
                    if event.type != "BOOKMARK" or wants_bookmarks:
                        await response.write(_line(event))
        except ApiError as error:
            if error.code != 410 and not response.prepared:
                raise
            if not response.prepared:
                await response.prepare(request)
            await response.write(_line(("ERROR", _status(error))))
        except ConnectionResetError:
            return response  # the watcher went away
        await response.write_eof()
        return response

    async def _post(self, request: web.Request, kube: FakeKube, target: Target) -> web.StreamResponse:
        body = await _body(request)
        resource, namespace, name, subresource = target
        if subresource:
            answer = await kube.create_subresource(resource, name, subresource, body, namespace)
        else:
            answer = await kube.create(resource, body, namespace)
        return web.json_response(answer, status=201)

    async def _put(self, request: web.Request, kube: FakeKube, target: Target) -> web.StreamResponse:
        body = await _body(request)
        if (body.get("metadata") or {}).get("name") != target.name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        answer = await kube.replace(target.resource, body, target.namespace, subresource=target.subresource)
        return web.json_response(answer)

    async def _patch(self, request: web.Request, kube: FakeKube, target: Target) -> web.StreamResponse:
        if request.content_type != MERGE_PATCH:
            raise from_status(415, "UnsupportedMediaType", f"only {MERGE_PATCH} is supported here")
        body = await _body(request)
        resource, namespace, name, subresource = target
        return web.json_response(await kube.patch(resource, name, body, namespace, subresource=subresource))

    async def _delete(self, request: web.Request, kube: FakeKube, target: Target) -> web.StreamResponse:
        if not target.name:
            raise from_status(405, "MethodNotAllowed", "collections cannot be deleted here")
        options = await _body(request) if request.can_read_body else {}
        conditions = options.get("preconditions") or {}
        await kube.delete(
            target.resource,
            target.name,
            target.namespace,
            uid=conditions.get("uid"),
            resource_version=conditions.get("resourceVersion"),
            propagation=options.get("propagationPolicy", "Background"),
        )
        return web.json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})


@asynccontextmanager
async def serve(kube: FakeKube, *, port: int = 0) -> AsyncIterator[Server]:
    """Serve `kube` on loopback until the context ends; open watches are cut then."""
    server = Server(kube)
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        kube.end_watches()
        await runner.cleanup()


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _body(request: web.Request) -> Object:
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise errors.bad_request(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise errors.bad_request("the body is no JSON object")
    return body


def _selectors(query: Mapping[str, str]) -> dict[str, Any]:
    return {"label_selector": query.get("labelSelector"), "field_selector": query.get("fieldSelector")}


def _without_type(item: Object) -> Object:
    """Items of a built-in kind's list carry no apiVersion and kind; clients must not rely on them."""
    return {key: value for key, value in item.items() if key not in {"apiVersion", "kind"}}


def _line(event: WatchEvent | tuple[str, Object]) -> bytes:
    return json.dumps({"type": event[0], "object": event[1]}).encode() + b"\n"


def _status(error: ApiError) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": error.code,
    }
