"""A machine with Docker, kind and room for clusters, of which nothing is real but the processes of the lab."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from standins import command
from standins.apis import Api
from standins.stage import Stage, stage, until

from kubelb_common.testing import binaries
from kubelb_e2e import catalogue
from kubelb_e2e.clusters import state
from kubelb_e2e.clusters.base import Wish
from kubelb_e2e.clusters.kind import addresses, balancer
from kubelb_e2e.clusters.kind.lab import KindLab
from kubelb_e2e.clusters.kind.provider import KindProvider

IMAGE = "kindest/node:v1.36.4"


class Machine:
    """What tests do with it: labs are called `shop`.

    Attributes:
        stage: Docker and kind.
        here: the folder that commands are called from.
        said: what the provider told.
    """

    def __init__(self, stage: Stage, here: Path, set_: command.Set) -> None:
        self.stage = stage
        self.engine, self.kind = stage.engine, stage.kind
        self.here = here
        self._set = set_
        self.kubectl = binaries.require(("kubectl",)) / "kubectl"
        self.said: list[str] = []

    def give_addresses_by(self, what: str) -> None:
        """Choose who gives addresses, which otherwise is what costs least."""
        command.settle(self.here.parent, self._set, addresses=what)

    def wish(self, **wishes: object) -> Wish:
        return Wish(
            **{"tenants": 1, "node_image": IMAGE, "kind": self.stage.bin / "kind", "kubectl": self.kubectl, **wishes}
        )

    def up(self, name: str = "shop", **wishes: object) -> KindLab:
        return KindProvider().up(name, self.wish(**wishes), say=self._say)

    def down(self, name: str = "shop") -> bool:
        return KindProvider().down(name, say=self._say)

    def api(self, cluster: str) -> Api:
        return self.stage.api(cluster)

    @contextlib.contextmanager
    def meanwhile(self, work: Callable[[], None]) -> Iterator[None]:
        """Do something in a thread beside the body; what it raises is raised at the end."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            done = pool.submit(work)
            yield
            done.result()

    def created(self, cluster: str) -> None:
        """Wait until a cluster is made and its kubeconfig is written."""
        file = self.directory / "clusters" / f"{cluster.removeprefix('kubelb-shop-')}.kubeconfig"
        until(lambda: cluster in self.kind.apis and file.exists() and file.stat().st_size, f"{cluster} is not made")

    def process(self) -> state.ProcessId | None:
        """Return the lab's process that gives addresses."""
        return addresses.running(self.directory) or state.ProcessId.read(self.directory / f"{balancer.CLOUD}.json")

    @property
    def directory(self) -> Path:
        return state.lab_directory("shop")

    def nodes(self) -> list[str]:
        return sorted(self.engine.containers)

    def is_clean(self) -> bool:
        """Whether nothing is left: no container, network, folder, process, claim, or file where we stand."""
        root = state.state_root()
        left = [path.name for path in root.iterdir() if not path.name.endswith(".lock")] if root.exists() else []
        return (self.engine.containers, self.engine.networks, left, list(self.here.iterdir())) == ({}, {}, [], [])

    def _say(self, text: str, seconds: float) -> None:
        assert seconds >= 0
        self.said.append(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """The machine; its lab's processes end with the test."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    command.settle(tmp_path, monkeypatch.setattr)
    # The path of a lab's folder has a limit, and a test's own folder may be long.
    with stage(tmp_path / "bin") as found, tempfile.TemporaryDirectory() as labs:
        found.engine.add_image(IMAGE, *catalogue.load())
        monkeypatch.setenv("PATH", f"{found.bin}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        monkeypatch.setenv("KUBELB_LAB_DIR", labs)
        monkeypatch.setenv("KUBELB_ARTIFACTS", str(tmp_path / "artifacts"))
        yield Machine(found, here, monkeypatch.setattr)
        for file in Path(labs).glob("*/*.json"):
            if (process := state.ProcessId.read(file)) is not None:
                process.kill()
