"""The program `kubelb-manager` on a fake management cluster behind HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from kubelb_common.api.crd_schema import crds
from kubelb_common.testing import apiserver
from kubelb_common.testing.fake_kube import FakeKube
from kubelb_manager.cli import main


def invoke(*args: str, input_: str | None = None, **env: str) -> Result:
    """Run the program, with nothing of this machine's environment."""
    clean: dict[str, Any] = {"KUBECONFIG": None, "KUBERNETES_SERVICE_HOST": None, "HOME": "/nonexistent"}
    return CliRunner().invoke(main, list(args), env=clean | env, input=input_, prog_name="kubelb-manager")


@dataclass
class Hub:
    """The management cluster, and the admin's way into it."""

    kube: FakeKube
    kubeconfig: Path

    async def run(self, *args: str, input_: str | None = None) -> Result:
        """Run the program while this cluster goes on."""
        return await asyncio.to_thread(invoke, *args, "--kubeconfig", str(self.kubeconfig), input_=input_)

    async def good(self, *args: str, input_: str | None = None) -> Result:
        result = await self.run(*args, input_=input_)
        assert result.exit_code == 0, result.output
        return result


@asynccontextmanager
async def serving(folder: Path, kube: FakeKube | None = None) -> AsyncIterator[Hub]:
    """Serve a management cluster."""
    kube = kube or FakeKube(namespaces=["kubelb"], crds=crds(), garbage_collection=True)
    async with apiserver.serve(kube) as server:
        yield Hub(kube, server.kubeconfig(folder))
