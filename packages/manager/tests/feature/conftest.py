"""One manager over one fake cluster for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from feature_world import World, running

from kubelb_common.api import crd_schema
from kubelb_common.testing.fake_kube import FakeKube


@pytest.fixture
async def world() -> AsyncIterator[World]:
    kube = FakeKube(namespaces=["kubelb"], crds=crd_schema.crds(), garbage_collection=True)
    async with running(kube) as world:
        yield world
