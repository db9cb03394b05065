"""The contract of KubeClient on AioClient and a real API server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.resources import NAMESPACES
from kubelb_common.testing import contract
from kubelb_common.testing.contract.support import reader_token
from kubelb_common.testing.envtest import RealApi


@pytest.fixture
async def client(real_api: RealApi) -> AsyncIterator[AioClient]:
    client = AioClient(kubeconfig.load(real_api.kubeconfig))
    yield client
    await client.close()


@pytest.fixture
async def space(client: AioClient) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    return name


@pytest.fixture
async def reader(client: AioClient, real_api: RealApi, space: str) -> AsyncIterator[AioClient]:
    token = await reader_token(client, space)
    reader = AioClient(kubeconfig.load(real_api.with_token(f"reader-{space}", token)))
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
