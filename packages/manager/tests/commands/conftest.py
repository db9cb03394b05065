"""The program beside a management cluster, with a manager in it or without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from feature_world import World, running
from manager_program import Hub, serving

from kubelb_common.api.crd_schema import crds
from kubelb_common.testing.fake_kube import FakeKube


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    """A management cluster without a manager."""
    async with serving(tmp_path) as hub:
        yield hub


@pytest.fixture
async def managed(tmp_path: Path) -> AsyncIterator[tuple[Hub, World]]:
    """A management cluster and its manager."""
    kube = FakeKube(namespaces=["kubelb"], crds=crds(), garbage_collection=True)
    async with serving(tmp_path, kube) as hub, running(kube) as world:
        yield hub, world
