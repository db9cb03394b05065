"""The stream, the server and the real Envoy together: certificates, restarts, order, refusals."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from kubelb_manager.bootstrap.render import BootstrapOptions, TlsFiles, sds_files
from kubelb_manager.delivery import server as server_module
from kubelb_manager.delivery.cache import Cache
from kubelb_manager.delivery.messages import Response
from kubelb_manager.ir.model import Forward, L4Listener, Layer
from kubelb_manager.xds import clusters as xds_clusters
from kubelb_manager.xds.resources import CLUSTER, LISTENER, ROUTES

pytestmark = pytest.mark.real_envoy


@pytest.fixture
def sent(monkeypatch) -> list[Response]:
    """Every response that any server of this test puts on the wire."""
    out: list[Response] = []
    encode = server_module.wire.encode

    def noting(response: Response) -> bytes:
        out.append(response)
        return encode(response)

    monkeypatch.setattr(server_module.wire, "encode", noting)
    return out


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that lets connections hang: its queue is full and nobody accepts."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


async def tcp_answer(port: int) -> bytes:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return b""
    try:
        writer.write(b"GET /tcp HTTP/1.1\r\nHost: x\r\n\r\n")
        return await asyncio.wait_for(reader.read(500), 30)
    except OSError:
        return b""
    finally:
        writer.close()


async def test_mutual_tls_rotation_and_a_foreign_fleet(lab, certificates, tmp_path):
    up = await lab.upstream("a")
    cache = Cache()
    server, xds_port = await lab.xds(cache, tls=certificates.server)
    port = lab.free_port()
    generation = lab.publish(
        cache, lab.fleet(port, [lab.table("h.example.com", Forward("a"))], [lab.cluster("a", up.port)])
    )
    certificates.client_files(tmp_path / "good", "tenant-a", "shared")
    await lab.envoy(xds_port, tls=TlsFiles(directory=str(tmp_path / "good"), sds_directory=str(tmp_path / "sds")))
    await lab.routed(cache, generation)
    assert (await lab.request(port, "h.example.com")).body == "a /"

    certificates.client_files(tmp_path / "bad", "tenant-b", "shared")
    foreign = await lab.envoy(xds_port, tls=TlsFiles(directory=str(tmp_path / "bad")), pod="envoy-1")
    await lab.until(lambda: "needs a client certificate" in foreign.log.read_text(), "refusal in Envoy's log")
    assert [each.pod for each in cache.progress(lab.FLEET).streams] == [lab.POD]
    assert not await foreign.is_ready()

    # Both sides exchange their certificates under a new authority. The open stream goes on; the next one needs them.
    renewed = type(certificates).make()
    server.reload_tls(renewed.server)
    renewed.client_files(tmp_path / "next", "tenant-a", "shared")
    (tmp_path / "next" / "ca.crt").rename(tmp_path / "good" / "ca.crt")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / "next" / name).rename(tmp_path / "good" / name)
    assert [each.pod for each in cache.progress(lab.FLEET).streams] == [lab.POD]
    renewed.client_files(tmp_path / "third", "tenant-a", "shared")
    await lab.envoy(xds_port, tls=TlsFiles(directory=str(tmp_path / "third")), pod="envoy-2")
    pods = lambda: [each.pod for each in cache.progress(lab.FLEET).streams]  # noqa: E731
    await lab.until(lambda: pods() == [lab.POD, "envoy-2"], "new Envoy under the new authority")

    # A new connection of the first Envoy: it must have taken its new files from disk.
    await server.stop(0.1)
    await lab.until(lambda: not pods(), "streams closed")
    await lab.xds(cache, port=xds_port, tls=renewed.server)
    await lab.until(lambda: pods() == [lab.POD, "envoy-2"], "both reconnected")


async def test_a_certificate_is_exchanged_as_a_kubelet_does_it(lab, certificates, tmp_path):
    """All files of a mounted Secret change at once by a renamed link; requests flow, the old certificate is worth nothing.

    The pod's files are those that the manager puts into the Secret: certificate and SDS files in one directory.
    """
    mount = tmp_path / "xds"
    tls = TlsFiles(directory=str(mount), sds_directory=str(mount))
    texts = sds_files(BootstrapOptions(tls=tls))

    def write(version: str, authority: Any) -> None:
        """Write a new version of the Secret and let the link name it."""
        folder = mount / f"..{version}"
        authority.client_files(folder, "tenant-a", "shared")
        for name, text in texts.items():
            (folder / name).write_text(text)
        (mount / "..data_tmp").symlink_to(folder.name)
        (mount / "..data_tmp").rename(mount / "..data")

    mount.mkdir()
    write("one", certificates)
    for name in ("tls.crt", "tls.key", "ca.crt", *texts):
        (mount / name).symlink_to(f"..data/{name}")
    up = await lab.upstream("a")
    cache = Cache()
    server, xds_port = await lab.xds(cache, tls=certificates.server)
    port = lab.free_port()
    table = lab.table("h.example.com", Forward("a"))
    generation = lab.publish(cache, lab.fleet(port, [table], [lab.cluster("a", up.port)]))
    await lab.envoy(xds_port, tls=tls)
    await lab.routed(cache, generation)
    seen: Counter[int] = Counter()
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            seen[(await lab.request(port, "h.example.com")).status] += 1

    running = asyncio.create_task(load())
    renewed = type(certificates).make()
    write("two", renewed)
    await server.stop(0.1)
    await lab.until(lambda: not cache.progress(lab.FLEET).streams, "the stream is closed")
    # Only who has the new files can connect: the authority is another one.
    await lab.xds(cache, port=xds_port, tls=renewed.server)
    await lab.until(lambda: cache.progress(lab.FLEET).streams, "a new stream with the new certificate")
    generation = lab.publish(cache, lab.fleet(port, [table], [lab.cluster("a", up.port), lab.cluster("b", up.port)]))
    await lab.routed(cache, generation)
    stop.set()
    await running
    assert set(seen) == {200}, seen


async def test_a_restarted_manager_sends_nothing(lab, sent):
    up = await lab.upstream("a")
    cache = Cache()
    server, xds_port = await lab.xds(cache)
    port, tcp_port = lab.free_port(), lab.free_port()
    fleet = lab.fleet(
        port,
        [lab.table("h.example.com", Forward("a"))],
        [lab.cluster("a", up.port), lab.cluster("t", up.port, layer=Layer.L4)],
        l4=(L4Listener("tcp", tcp_port, "t"),),
    )
    generation = lab.publish(cache, fleet)
    await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    assert sum(len(each.resources) for each in sent) == 10

    statuses, done = [], asyncio.Event()

    async def load() -> None:
        while not done.is_set():
            statuses.append((await lab.request(port, "h.example.com")).status)

    async def some_more() -> None:
        enough = len(statuses) + 3
        await lab.until(lambda: len(statuses) >= enough, "some more requests")

    running = asyncio.ensure_future(load())
    await server.stop(0.1)
    await lab.until(lambda: not cache.progress(lab.FLEET).streams, "stream closed")
    await some_more()
    sent.clear()
    again = Cache()
    await lab.xds(again, port=xds_port)
    # The new manager is not synced yet: its Envoy is told nothing, not even that there is nothing.
    await lab.until(lambda: again.progress(lab.FLEET).streams, "reconnected")
    await some_more()
    generation = again.publish(lab.FLEET, type(lab.generator)().table(fleet))
    await lab.routed(again, generation)
    await some_more()
    done.set()
    await running
    assert sent == []
    assert set(statuses) == {200}, statuses
    assert b"a /tcp" in await tcp_answer(tcp_port)


async def test_leftovers_go_after_the_routes(lab, sent):
    """What the manager dropped while it was away is removed, and only after the routes that named it."""
    a, b = await lab.upstream("a"), await lab.upstream("b")
    cache = Cache()
    server, xds_port = await lab.xds(cache)
    port = lab.free_port()
    before = lab.fleet(port, [lab.table("h.example.com", Forward("a"))], [lab.cluster("a", a.port)])
    after = lab.fleet(port, [lab.table("h.example.com", Forward("b"))], [lab.cluster("b", b.port)])
    generation = lab.publish(cache, before)
    envoy = await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    await server.stop(0.1)
    sent.clear()
    again = Cache()
    generation = lab.publish(again, after)
    await lab.xds(again, port=xds_port)
    await lab.routed(again, generation)
    assert (await lab.request(port, "h.example.com")).body == "b /"
    urls = [each.type_url for each in sent]
    removal = next(i for i, each in enumerate(sent) if each.removed)
    assert sent[removal].type_url == CLUSTER
    assert sent[removal].removed == ("a",)
    assert urls.index(ROUTES) < removal
    assert not again.progress(lab.FLEET).streams[0].may_have_cluster("a")
    assert "a::" not in await envoy.admin("/clusters")


async def test_a_port_changes_hands_and_a_refusal_is_told(lab):
    a, b = await lab.upstream("a"), await lab.upstream("b")
    clusters = [lab.cluster(up.name, up.port, layer=Layer.L4) for up in (a, b)]
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port, other = lab.free_port(), lab.free_port()
    generation = lab.publish(cache, lab.fleet(0, [], clusters, l4=(L4Listener("first", port, "a"),)))
    await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    assert b"a /tcp" in await tcp_answer(port)

    # Two listeners on one port: a fault of ours. The second is refused, the first serves, others are not held up.
    both = (L4Listener("first", port, "a"), L4Listener("second", port, "b"), L4Listener("third", other, "b"))
    lab.publish(cache, lab.fleet(0, [], clusters, l4=both))
    view = lambda: cache.progress(lab.FLEET).streams[0]  # noqa: E731
    await lab.until(lambda: view().nacks and view().has(LISTENER, "third"), "refusal")
    assert [(each.type_url, each.names) for each in view().nacks] == [(LISTENER, ("second",))]
    assert "second" in view().nacks[0].message
    assert view().has(LISTENER, "third")
    assert not view().has(LISTENER, "second")
    assert b"a /tcp" in await tcp_answer(port)
    assert b"b /tcp" in await tcp_answer(other)

    # The first goes: the second is tried again, unchanged, and serves.
    generation = lab.publish(cache, lab.fleet(0, [], clusters, l4=both[1:]))
    await lab.routed(cache, generation)
    assert view().nacks == ()
    assert b"b /tcp" in await tcp_answer(port)

    # And a port changes hands in one step.
    generation = lab.publish(cache, lab.fleet(0, [], clusters, l4=(L4Listener("fourth", port, "a"),)))
    await lab.routed(cache, generation)
    assert b"a /tcp" in await tcp_answer(port)


async def test_changed_clusters_warm_at_once_and_new_ones_serve_when_acknowledged(lab):
    ups = [await lab.upstream(f"u{i}") for i in range(8)]
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port = lab.free_port()
    clusters = [lab.cluster(up.name, up.port) for up in ups]
    generation = lab.publish(cache, lab.fleet(port, [lab.table("h.example.com", Forward("u0"))], clusters[:1]))
    await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    view = lambda: cache.progress(lab.FLEET).streams[0]  # noqa: E731
    statuses = []
    for old, new in itertools.pairwise(clusters):
        lab.publish(cache, lab.fleet(port, [lab.table("h.example.com", Forward(old.name))], [old, new]))
        await lab.until(lambda name=new.name: view().has_endpoints(name), "endpoints acknowledged")
        generation = lab.publish(cache, lab.fleet(port, [lab.table("h.example.com", Forward(new.name))], [new]))
        await lab.until(lambda g=generation: view().acknowledged[ROUTES] >= g, "routes acknowledged")
        answer = await lab.request(port, "h.example.com")
        statuses.append((answer.status, answer.body))
    assert statuses == [(200, f"{each.name} /") for each in clusters[1:]]

    # A cluster whose own bytes change is warmed with endpoints that were sent again: no 15 s of waiting.
    last = clusters[-1]
    changed = type(last)(last.name, last.layer, last.endpoints, source_affinity=True)
    start = asyncio.get_running_loop().time()
    generation = lab.publish(cache, lab.fleet(port, [lab.table("h.example.com", Forward(last.name))], [changed]))
    await lab.routed(cache, generation)
    assert asyncio.get_running_loop().time() - start < 12
    assert (await lab.request(port, "h.example.com")).body == "u7 /"


async def test_layer_4_with_a_dead_node_holds_nobody_up(lab, silent_port, monkeypatch):
    monkeypatch.setattr(xds_clusters, "CHECK_TIMEOUT", 60)  # the silent cluster warms until its first check has failed
    up = await lab.upstream("a")
    dead = lab.free_port()
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port, tcp_port = lab.free_port(), lab.free_port()
    silent = lab.cluster("silent", silent_port, layer=Layer.L4)
    listeners = (L4Listener("tcp", tcp_port, "t"),)
    base = [lab.cluster("t", dead, up.port, layer=Layer.L4)]
    generation = lab.publish(cache, lab.fleet(0, [], base, l4=listeners))
    await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    assert [b"a /tcp" in await tcp_answer(tcp_port) for _ in range(5)] == [True] * 5

    view = lambda: cache.progress(lab.FLEET).streams[0]  # noqa: E731
    lab.publish(cache, lab.fleet(0, [], [*base, silent], l4=listeners))
    http = lab.cluster("http", up.port)
    generation = lab.publish(cache, lab.fleet(0, [], [*base, silent, http], l4=listeners))
    await lab.until(lambda: view().has_endpoints("http"), "endpoints of the other cluster")
    tables = [lab.table("h.example.com", Forward("http"))]
    generation = lab.publish(cache, lab.fleet(port, tables, [*base, silent, http], l4=listeners))
    await lab.until(lambda: view().acknowledged[ROUTES] >= generation, "routes acknowledged")
    assert view().acknowledged[CLUSTER] < generation, "the silent cluster should still be warming"
    assert (await lab.request(port, "h.example.com")).body == "a /"


async def test_every_line_of_the_access_log_is_json(lab):
    up = await lab.upstream("a")
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port = lab.free_port()
    generation = lab.publish(
        cache, lab.fleet(port, [lab.table("h.example.com", Forward("a"))], [lab.cluster("a", up.port)])
    )
    envoy = await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    await lab.request(port, "h.example.com", "/%START_TIME%x?q")
    lines = lambda: envoy.log.with_name("stdout.log").read_text().splitlines()  # noqa: E731
    await envoy.admin("/stats")
    await lab.until(lambda: any("h.example.com" in line for line in lines()), "access log")
    entry = next(json.loads(line) for line in lines() if "h.example.com" in line)
    assert entry["fleet"] == lab.FLEET
    assert entry["route"] == "Route/tenant-a/r"
    assert entry["cluster"] == "a"
    assert entry["status"] == 200
    assert entry["path"] == "/%START_TIME%x"
    stats = await lab.request(envoy.stats_port, "x", "/stats/prometheus")
    assert stats.status == 200
    assert 'envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="a"} 1' in stats.body
    assert (await lab.request(envoy.stats_port, "x", "/quitquitquit")).status == 404
    assert (await lab.request(envoy.ready_port, "x", "/stats")).status == 404
