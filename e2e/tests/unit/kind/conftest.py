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

from kubelb_common.kube.resources import PODS
from kubelb_common.testing import binaries, builders
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

    def run_pods(self, cluster: str) -> None:
        """Have a pod `web-1` of which a container restarted once, and one that never began."""
        api = self.api(cluster)
        for name, restarts in {"web-1": {"app": 1, "side": 0}, "web-2": {}}.items():
            statuses = [{"name": container, "restartCount": count} for container, count in restarts.items()]
            containers = [{"name": container, "image": "example.com/app:1"} for container in restarts or ("app",)]
            pod = builders.pod(name).spec(containers=containers).build()
            self.stage.do(api.kube.create(PODS, pod, "default"))
            status = {"status": {"containerStatuses": statuses}}
            self.stage.do(api.kube.patch(PODS, name, status, "default", subresource="status"))
        api.logs["default/web-1", "app", True] = "first run\n"
        api.logs["default/web-1", "app", False] = "second run\n"

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
        """Whether nothing is left: no container, network, folder, claim, process, or file where we stand."""
        root = state.state_root()
        left = [path.name for path in root.iterdir() if not path.name.endswith(".lock")] if root.exists() else []
        objects = [*self.engine.containers, *self.engine.networks]
        return [*objects, *left, *self.here.iterdir(), *self._processes()] == []

    def _processes(self) -> list[str]:
        """Return the processes of labs."""
        marks, found = (str(state.state_root()), str(self.stage.bin / balancer.CLOUD)), []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found += [line] if any(mark in line for mark in marks) else []
        return found

    def _say(self, text: str, seconds: float) -> None:
        assert seconds >= 0
        self.said.append(text)


@contextlib.contextmanager
def prepared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Have a machine; its labs' processes end with it."""
    here = folder / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    command.settle(folder, monkeypatch.setattr)
    # The path of a lab's folder has a limit, and a test's own folder may be long.
    with stage(folder / "bin") as found, tempfile.TemporaryDirectory() as labs:
        found.engine.add_image(IMAGE, *catalogue.load())
        monkeypatch.setenv("PATH", f"{found.bin}{os.pathsep}{os.environ['PATH']}")
        # Our API servers speak plain HTTP; reading the system's authorities for each client takes its time.
        monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        monkeypatch.setenv("KUBELB_LAB_DIR", labs)
        monkeypatch.setenv("KUBELB_ARTIFACTS", str(folder / "artifacts"))
        yield Machine(found, here, monkeypatch.setattr)
        for file in Path(labs).glob("*/*.json"):
            if (process := state.ProcessId.read(file)) is not None:
                process.kill()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine of the test's own."""
    with prepared(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture(scope="module")
def used_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which a lab with one tenant runs, for the tests of a module that break nothing."""
    with pytest.MonkeyPatch.context() as monkeypatch, prepared(tmp_path_factory.mktemp("used"), monkeypatch) as found:
        found.up()
        yield found
