"""The client against a small real HTTP server: what an API server rarely does, and networks often do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kubelb_common.kube import aio, kubeconfig
from kubelb_common.kube.errors import Forbidden, Gone, KubeError, TooManyRequests, Unauthorized, Unreachable
from kubelb_common.kube.port import Object, WatchEvent
from kubelb_common.kube.resources import CONFIG_MAPS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers with whatever handler a test sets; remembers requests."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[web.Request] = []
        self.handler: Handler = self.refuse
        self.token = "first"
        self.check_token = False
        self.url = ""
        self.kubeconfig = folder / "config"
        self._server: asyncio.Server | None = None

    async def refuse(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        self.requests.append(request)  # type: ignore[arg-type]
        if self.check_token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status", "code": 401, "reason": "Unauthorized"}, status=401)
        return await self.handler(request)  # type: ignore[arg-type]

    async def start(self) -> None:
        self._web = web.Server(self.handle)
        self._server = await asyncio.get_running_loop().create_server(self._web, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.write_kubeconfig("first")

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._web.shutdown(1)

    def write_kubeconfig(self, token: str) -> None:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        fresh = self.kubeconfig.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(config))
        fresh.rename(self.kubeconfig)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    running = Server(tmp_path)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[aio.AioClient]:
    made = aio.AioClient(kubeconfig.load(server.kubeconfig), user_agent="kubelb-test")
    yield made
    await made.close()


def answers(body: Any, status: int = 200, **headers: str) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers={key.replace("_", "-"): v for key, v in headers.items()})

    return handler


def event(name: str, *, kind: str = "ADDED", **fields: Any) -> bytes:
    return json.dumps({"type": kind, "object": {"metadata": {"name": name}, **fields}}).encode() + b"\n"


def streams(*chunks: bytes, then: str = "end") -> Handler:
    """Send chunks, each on its own, then end, cut, or hang."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.005)
        if then == "cut":
            assert request.transport is not None
            request.transport.abort()
        elif then == "hang":
            await asyncio.sleep(3600)
        return response

    return handler


async def watched(client: aio.AioClient, seconds: int = 60) -> tuple[list[str], KubeError | None]:
    names: list[str] = []
    try:
        async with client.watch(CONFIG_MAPS, "ns", resource_version="7", timeout_seconds=seconds) as events:
            async for event in events:
                names.append(event.object["metadata"]["name"])  # noqa: PERF401  # kept when an error follows
    except KubeError as error:
        return names, error
    return names, None


async def test_requests_say_who_and_what(server: Server, client: aio.AioClient) -> None:
    server.handler = answers({"kind": "ConfigMap"})
    await client.patch(CONFIG_MAPS, "x", {"data": {"ä": "ö"}}, "ns", subresource="status")
    (request,) = server.requests
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/ns/configmaps/x/status")
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    assert request.headers["Authorization"] == "Bearer first"
    assert request.headers["User-Agent"] == "kubelb-test"


async def test_lists_are_read_in_pages_and_items_get_their_kind(server: Server, client: aio.AioClient) -> None:
    async def pages(request: web.Request) -> web.StreamResponse:
        assert request.query["limit"] == "500"
        assert request.query["labelSelector"] == "a=b,c in (d,e)"
        if "continue" not in request.query:
            return web.json_response(
                {"metadata": {"continue": "p/2=+", "resourceVersion": "9"}, "items": [{"metadata": {"name": "a"}}]}
            )
        assert request.query["continue"] == "p/2=+"
        return web.json_response({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "b"}}]})

    server.handler = pages
    listed = await client.list(CONFIG_MAPS, label_selector="a=b,c in (d,e)")
    assert [item["metadata"]["name"] for item in listed.items] == ["a", "b"]
    assert {(item["apiVersion"], item["kind"]) for item in listed.items} == {("v1", "ConfigMap")}
    assert listed.resource_version == "9"


def forgetful(times: int) -> Handler:
    left = times

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal left
        if "continue" not in request.query:
            return web.json_response({"metadata": {"continue": "p2"}, "items": [{"metadata": {"name": "a"}}]})
        if left:
            left -= 1
            return web.json_response({"kind": "Status", "code": 410, "reason": "Expired"}, status=410)
        return web.json_response({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "b"}}]})

    return handler


async def test_a_list_starts_over_once(server: Server, client: aio.AioClient) -> None:
    server.handler = forgetful(1)
    listed = await client.list(CONFIG_MAPS)
    assert [item["metadata"]["name"] for item in listed.items] == ["a", "b"]
    server.handler = forgetful(2)
    with pytest.raises(Gone):
        await client.list(CONFIG_MAPS)


@pytest.mark.parametrize(
    ("handler", "kind", "text"),
    [
        (answers({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "quota"}, 403), Forbidden, "quota"),
        (answers({"kind": "Status", "code": 429}, 429, Retry_After="7"), TooManyRequests, "429"),
        (answers(["no", "object"]), Unreachable, "no JSON object"),
        (answers("teapot", 503), KubeError, "teapot"),
    ],
)
async def test_answers_become_errors(
    server: Server, client: aio.AioClient, handler: Handler, kind: type[KubeError], text: str
) -> None:
    server.handler = handler
    with pytest.raises(kind, match=text) as caught:
        await client.get(CONFIG_MAPS, "x", "ns")
    if isinstance(caught.value, TooManyRequests):
        assert caught.value.retry_after == 7


async def test_no_server_is_unreachable_with_its_cause(server: Server, client: aio.AioClient) -> None:
    await server.stop()
    with pytest.raises(Unreachable, match=f"GET {server.url}/version: .*check that the API server runs") as caught:
        await client.server_version()
    assert caught.value.__cause__ is not None


async def test_a_request_that_is_never_answered_times_out(
    server: Server, client: aio.AioClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "REQUEST_SECONDS", 0.2)
    server.handler = streams(then="hang")
    with pytest.raises(Unreachable, match=r"no answer within 0.2 s"):
        await client.get(CONFIG_MAPS, "x", "ns")


async def test_events_may_be_cut_anywhere(server: Server, client: aio.AioClient) -> None:
    whole = event("a") + b"\n" + event("ü" * 10) + event("c")
    server.handler = streams(*(whole[i : i + 7] for i in range(0, len(whole), 7)))
    assert await watched(client) == (["a", "ü" * 10, "c"], None)
    assert dict(server.requests[0].query) == {
        "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "7", "timeoutSeconds": "60",
    }  # fmt: skip


async def test_an_event_of_megabytes_arrives(server: Server, client: aio.AioClient) -> None:
    server.handler = streams(event("big", data={"x": "y" * 5_000_000}), event("next"))
    assert await watched(client) == (["big", "next"], None)


async def test_a_cut_connection_is_unreachable_after_the_events_before_it(
    server: Server, client: aio.AioClient
) -> None:
    server.handler = streams(event("a"), b'{"type": "ADD', then="cut")
    names, error = await watched(client)
    assert names == ["a"]
    assert isinstance(error, Unreachable)


async def test_a_clean_end_within_an_event_is_unreachable(server: Server, client: aio.AioClient) -> None:
    server.handler = streams(event("a"), b'{"type": "ADD')
    names, error = await watched(client)
    assert names == ["a"]
    assert isinstance(error, Unreachable)
    assert "within an event" in str(error)


async def test_error_events_become_errors(server: Server, client: aio.AioClient) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    line = json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n"
    server.handler = streams(event("a"), line)
    names, error = await watched(client)
    assert (names, type(error)) == (["a"], Gone)
    server.handler = answers(gone, 410)
    assert isinstance((await watched(client))[1], Gone)


async def test_garbage_in_a_watch_is_unreachable(server: Server, client: aio.AioClient) -> None:
    server.handler = streams(b"<html>proxy</html>\n")
    assert isinstance((await watched(client))[1], Unreachable)


async def test_a_watch_that_outlives_its_time_is_given_up(
    server: Server, client: aio.AioClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio, "WATCH_MARGIN_SECONDS", 1.0)
    server.handler = streams(event("a"), then="hang")
    names, error = await asyncio.wait_for(watched(client, seconds=0), 30)
    assert names == ["a"]
    assert isinstance(error, Unreachable)


async def test_many_watches_do_not_starve_requests(server: Server, client: aio.AioClient) -> None:
    hang, get = streams(event("a"), then="hang"), answers({"kind": "ConfigMap"})

    async def handler(request: web.Request) -> web.StreamResponse:
        return await (hang if "watch" in request.query else get)(request)

    server.handler = handler
    watches = [asyncio.create_task(watched(client)) for _ in range(150)]
    while len(server.requests) < 150:  # noqa: ASYNC110  # a condition on real sockets
        await asyncio.sleep(0.01)
    await asyncio.wait_for(asyncio.gather(*(client.get(CONFIG_MAPS, "x", "ns") for _ in range(50))), 30)
    for task in watches:
        task.cancel()
    await asyncio.gather(*watches, return_exceptions=True)


async def test_401_reads_the_credential_again_and_tries_once_more(server: Server, client: aio.AioClient) -> None:
    server.check_token = True
    server.handler = answers({"kind": "ConfigMap"})
    await client.get(CONFIG_MAPS, "x", "ns")
    server.token = "second"
    with pytest.raises(Unauthorized):
        await client.get(CONFIG_MAPS, "x", "ns")
    assert len(server.requests) == 2
    server.write_kubeconfig("second")
    await client.get(CONFIG_MAPS, "x", "ns")


async def test_a_swapped_file_ends_watches_and_they_come_back_with_the_new_token(
    server: Server, client: aio.AioClient
) -> None:
    server.check_token = True
    server.handler = streams(event("a"), then="hang")
    task = asyncio.create_task(watched(client))
    while not server.requests:  # noqa: ASYNC110  # a condition on real sockets
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)  # real files and a real watcher thread: it must be looking before the file changes
    server.kubeconfig.write_text("half: [wri")
    await asyncio.sleep(0.5)
    assert not task.done()
    server.token = "second"
    server.write_kubeconfig("second")
    assert await asyncio.wait_for(task, 30) == (["a"], None)
    server.handler = streams(event("b"))
    assert await watched(client) == (["b"], None)
    assert server.requests[-1].headers["Authorization"] == "Bearer second"
    assert len(server.requests) == 2


async def test_a_mounted_secret_is_swapped_by_its_symlink(server: Server, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    for version in ("1", "2"):
        (volume / f"..{version}").mkdir(parents=True)
    server.write_kubeconfig("first")
    (volume / "..1" / "config").write_text(server.kubeconfig.read_text())
    (volume / "..data").symlink_to("..1")
    (volume / "config").symlink_to("..data/config")
    client = aio.AioClient(kubeconfig.load(volume / "config"))
    server.handler = answers({"kind": "ConfigMap"})
    await client.get(CONFIG_MAPS, "x", "ns")
    await asyncio.sleep(0.5)
    server.write_kubeconfig("second")
    (volume / "..2" / "config").write_text(server.kubeconfig.read_text())
    (volume / "..next").symlink_to("..2")
    (volume / "..next").rename(volume / "..data")
    async with asyncio.timeout(30):
        while server.requests[-1].headers["Authorization"] != "Bearer second":
            await asyncio.sleep(0.05)
            await client.get(CONFIG_MAPS, "x", "ns")
    await client.close()


@given(st.lists(st.binary(max_size=20)))
def test_the_splitter_finds_the_same_lines_as_the_whole(chunks: list[bytes]) -> None:
    splitter = aio.LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    *whole, rest = b"".join(chunks).split(b"\n")
    assert lines == [line for line in whole if line.strip()]
    assert splitter.unfinished == bool(rest)


def test_shapes() -> None:
    assert WatchEvent("ADDED", Object()) == ("ADDED", {})
