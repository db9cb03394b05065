"""The contract of KubeClient on AioClient and a real API server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import NAMESPACES, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS
from kubelb_common.testing import contract
from kubelb_common.testing.envtest import RealApi

RBAC = "rbac.authorization.k8s.io"


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
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "reader"}}, space)
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    await client.create(ROLES, {"metadata": {"name": "reader"}, "rules": rules}, space)
    binding: Object = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": space}],
    }
    await client.create(ROLE_BINDINGS, binding, space)
    answer = await client.create_subresource(SERVICE_ACCOUNTS, "reader", "token", {"spec": {}}, space)
    reader = AioClient(kubeconfig.load(real_api.with_token(f"reader-{space}", answer["status"]["token"])))
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
