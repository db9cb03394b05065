"""The contract of KubeClient on the fake."""

from __future__ import annotations

import pytest

from kubelb_common.kube.port import KubeClient
from kubelb_common.testing import contract
from kubelb_common.testing.fake_kube import FakeKube

pytestmark = pytest.mark.looptime  # a watch's timeout costs no time


@pytest.fixture
def client() -> FakeKube:
    return FakeKube(namespaces=["space"], strict_kinds=True)


@pytest.fixture
def space() -> str:
    return "space"


@pytest.fixture
def reader(client: FakeKube) -> KubeClient:
    def allowed(verb: str, resource: str, namespace: str | None, name: str) -> bool:
        return verb in {"get", "list", "watch"} and (resource, namespace) == ("configmaps", "space")

    return client.as_client(allowed)


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
