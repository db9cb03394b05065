"""The server over real gRPC: who is refused and how, and how a stream ends."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from kubelb_manager.delivery.cache import Cache
from kubelb_manager.delivery.identity import plaintext
from kubelb_manager.delivery.server import SERVICE, XdsServer
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import CLUSTER

FLEET = "tenant-a/shared"
SECONDS = 30.0  # a wait ends when its condition holds; a busy machine takes long


@pytest.fixture
async def served():
    cache = Cache()
    server = XdsServer(cache, host="127.0.0.1", port=0, tls=None, authorize=plaintext)
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield cache, server, channel
    await server.stop(0.1)


def call(channel, method: str = "DeltaAggregatedResources"):
    return channel.stream_stream(f"/{SERVICE}/{method}")()


def first(node: str, **fields) -> bytes:
    message = pb.DeltaDiscoveryRequest(type_url=CLUSTER, **fields)
    message.node.id = node
    return message.SerializeToString()


async def read(stream):
    data = await asyncio.wait_for(stream.read(), SECONDS)
    return data if data is grpc.aio.EOF else pb.DeltaDiscoveryResponse.FromString(data)


async def refused(stream) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(stream)
    return caught.value.code(), caught.value.details()


async def test_a_stream_and_its_end(served, tools):
    cache, server, channel = served
    stream = call(channel)
    await stream.write(first("tenant-a/shared/pod"))
    generation = cache.publish(FLEET, tools.table(c="a"))
    response = await read(stream)
    assert [each.name for each in response.resources] == ["a"]
    acknowledged = asyncio.Event()
    cache.on_progress(lambda key: acknowledged.set())
    await stream.write(pb.DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=response.nonce).SerializeToString())
    await asyncio.wait_for(acknowledged.wait(), SECONDS)
    (progress,) = cache.progress(FLEET).streams
    assert (progress.pod, progress.acknowledged[CLUSTER]) == ("pod", generation)
    await server.stop(1)
    assert await read(stream) is grpc.aio.EOF
    assert cache.progress(FLEET).streams == ()


async def test_a_client_that_leaves_is_forgotten(served):
    cache, _, channel = served
    told: asyncio.Queue[str] = asyncio.Queue()
    cache.on_progress(told.put_nowait)
    stream = call(channel)
    await stream.write(first("tenant-a/shared/pod"))
    await asyncio.wait_for(told.get(), SECONDS)
    stream.cancel()
    while cache.progress(FLEET).streams:
        await asyncio.wait_for(told.get(), SECONDS)


async def test_a_removed_fleet(served, tools):
    cache, _, channel = served
    cache.publish(FLEET, tools.table(c="a"))
    stream = call(channel)
    await stream.write(first("tenant-a/shared/pod"))
    await read(stream)
    cache.remove(FLEET)
    assert await read(stream) is grpc.aio.EOF


async def test_refusals_speak(served):
    _, _, channel = served
    stream = call(channel)
    await stream.write(first("pod"))
    code, text = await refused(stream)
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert text == "node id 'pod' is not <tenant namespace>/<fleet>/<pod>"

    stream = call(channel)
    await stream.write(b"\xff\xff")
    assert (await refused(stream))[0] is grpc.StatusCode.INVALID_ARGUMENT

    stream = call(channel, "StreamAggregatedResources")
    await stream.write(b"")
    code, text = await refused(stream)
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert "DELTA_GRPC" in text


async def test_many_names_at_once(served, tools):
    """More than gRPC's own limit of 4 MiB."""
    cache, _, channel = served
    versions = {f"cluster-{i:06d}-{'x' * 100}": "1" for i in range(40_000)}
    cache.publish(FLEET, tools.table(c="a"))
    stream = call(channel)
    await stream.write(first("tenant-a/shared/pod", initial_resource_versions=versions))
    assert [each.name for each in (await read(stream)).resources] == ["a"]


async def test_a_foreign_address_is_an_error():
    with pytest.raises(OSError, match="cannot bind"):
        await XdsServer(Cache(), host="203.0.113.7", port=1, tls=None, authorize=plaintext).start()
