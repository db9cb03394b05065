"""The contract of KubeClient on AioClient and a real API server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest

from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import Resource
from kubelb_common.kube.resources import CRDS, NAMESPACES
from kubelb_common.testing import contract
from kubelb_common.testing.contract.support import reader_token
from kubelb_common.testing.envtest import RealApi

#: More than any stack here holds, and less than an API server refuses.
LEVELS = 5000


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


async def test_one_object_nested_without_end_hides_no_other(real_api: RealApi, client: AioClient, space: str) -> None:
    """A kind with free-form fields takes thousands of levels from whoever may write one object of it."""
    kind = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "nests.test.example.com"},
        "spec": {
            "group": "test.example.com",
            "scope": "Namespaced",
            "names": {"kind": "Nest", "plural": "nests", "singular": "nest", "listKind": "NestList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": kind}}],
        },
    }
    nests = Resource("test.example.com", "v1", "nests", "Nest")
    await client.create(CRDS, crd)
    async with asyncio.timeout(30):
        while True:
            try:
                start = await client.list(nests, space)
                break
            except NotFound:
                await asyncio.sleep(0.1)
    plain = {"apiVersion": "test.example.com/v1", "kind": "Nest", "metadata": {"name": "plain"}}
    # As it stands: no encoder would follow that deep either.
    nest = msgspec.Raw(b'{"a":' * LEVELS + b"1" + b"}" * LEVELS)
    async with client.watch(nests, space, resource_version=start.resource_version) as events:
        await client.create(nests, {**plain, "metadata": {"name": "deep"}, "spec": nest}, space)
        await client.create(nests, plain, space)
        seen = [(await anext(events)).object["metadata"]["name"] for _ in range(2)]
    assert seen == ["deep", "plain"]
    assert [item["metadata"]["name"] for item in (await client.list(nests, space)).items] == ["deep", "plain"]
    await client.delete(nests, "deep", space)
