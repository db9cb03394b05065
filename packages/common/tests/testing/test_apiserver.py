"""The fake behind HTTP: what a connection shows when the server fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubelb_common.kube import errors, kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.resources import CONFIG_MAPS
from kubelb_common.testing import apiserver
from kubelb_common.testing.fake_kube import FakeKube


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
async def server(kube: FakeKube) -> AsyncIterator[apiserver.Server]:
    async with apiserver.serve(kube) as server:
        yield server


@pytest.fixture
async def client(server: apiserver.Server, tmp_path: Path) -> AsyncIterator[AioClient]:
    client = AioClient(kubeconfig.load(server.kubeconfig(tmp_path)))
    yield client
    await client.close()


async def test_stopped_server_cuts_requests(kube: FakeKube, client: AioClient) -> None:
    kube.stop()
    with pytest.raises(errors.Unreachable):
        await client.list(CONFIG_MAPS)
    kube.start()
    assert (await client.list(CONFIG_MAPS)).items == []


async def test_broken_watch(kube: FakeKube, client: AioClient) -> None:
    version = (await client.list(CONFIG_MAPS)).resource_version
    async with client.watch(CONFIG_MAPS, resource_version=version) as events:
        kube.break_watches()
        with pytest.raises(errors.Unreachable):
            await anext(events)


async def test_retry_after_arrives(kube: FakeKube, client: AioClient) -> None:
    busy = errors.TooManyRequests(429, "TooManyRequests", "slow down", retry_after=7)
    kube.fail_next("list", CONFIG_MAPS, busy)
    with pytest.raises(errors.TooManyRequests) as caught:
        await client.list(CONFIG_MAPS)
    assert caught.value.retry_after == 7


async def test_unknown_token(server: apiserver.Server, tmp_path: Path) -> None:
    client = AioClient(kubeconfig.load(server.kubeconfig(tmp_path, token="stolen", name="other")))
    with pytest.raises(errors.Unauthorized):
        await client.list(CONFIG_MAPS)
    await client.close()
