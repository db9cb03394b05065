"""The contract of KubeClient on AioClient and the fake behind HTTP: AioClient without any program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.port import KubeClient
from kubelb_common.testing import apiserver, contract
from kubelb_common.testing.contract.support import reader_token
from kubelb_common.testing.fake_kube import FakeKube


@pytest.fixture
async def server() -> AsyncIterator[apiserver.Server]:
    async with apiserver.serve(FakeKube(namespaces=["space"], strict_kinds=True)) as server:
        yield server


@pytest.fixture
async def client(server: apiserver.Server, tmp_path: Path) -> AsyncIterator[KubeClient]:
    client = AioClient(kubeconfig.load(server.kubeconfig(tmp_path)))
    yield client
    await client.close()


@pytest.fixture
def space() -> str:
    return "space"


@pytest.fixture
async def reader(client: KubeClient, server: apiserver.Server, tmp_path: Path) -> AsyncIterator[KubeClient]:
    token = await reader_token(client, "space")
    reader = AioClient(kubeconfig.load(server.kubeconfig(tmp_path, token=token, name="reader")))
    yield reader
    await reader.close()


class TestObjects(contract.ObjectContract):
    pass


class TestLifecycle(contract.LifecycleContract):
    pass


class TestWatching(contract.WatchContract):
    pass


class TestServices(contract.ServiceContract):
    pass


class TestCustomKinds(contract.CustomContract):
    pass


class TestShippedCrds(contract.ShippedContract):
    pass
