"""One kind cluster, by pytest-kind.

In which order: kind creates the nodes -> nodes Ready and `serviceaccount/default` there -> images are loaded.
pytest-kind's own `create` prints what kind says and lets kind throw the nodes of a failed start away; here
the nodes stay until their logs are exported, and what kind says becomes one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
import time
from pathlib import Path

import yaml
from pytest_kind import KindCluster

from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import KubeError, NotFound
from kubelb_common.kube.resources import NODES, SERVICE_ACCOUNTS
from kubelb_common.objects import conditions, view
from kubelb_e2e import docker
from kubelb_e2e.clusters import client as door
from kubelb_e2e.clusters.kind import faults
from kubelb_e2e.clusters.kind.plan import ClusterPlan, LabPlan
from kubelb_e2e.errors import LabError, last_line

#: On which network kind puts its nodes. "Experimental" for as long as kind has existed, and without a rival.
NETWORK = "KIND_EXPERIMENTAL_DOCKER_NETWORK"
_CREATE_SECONDS = 600.0
_READY_SECONDS = 240.0
_DELETE_SECONDS = 120.0
_LOAD_SECONDS = 300.0
_POLL_SECONDS = 0.2
_IN_FOLDER = threading.Lock()


class Cluster(KindCluster):  # type: ignore[misc]  # pytest-kind has no types
    """A cluster of a lab; all methods but the constructor may take long and run in threads side by side."""

    def __init__(self, lab: LabPlan, plan: ClusterPlan) -> None:
        """Prepare; nothing is created."""
        self.plan = plan
        self._lab = lab
        kubeconfig = lab.kubeconfig(plan.name)
        kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        with _IN_FOLDER:
            try:
                super().__init__(
                    plan.kind_name, kubeconfig, image=lab.node_image, kind_path=lab.kind, kubectl_path=lab.kubectl
                )
            except OSError as error:
                raise LabError(f"pytest-kind cannot work here: {error}; go to a folder that can be written") from error
            # It makes a folder where we stand, for the files whose places it has just been told.
            for folder in (self.path, self.path.parent):
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def create(self) -> None:
        """Create the cluster and wait until it takes pods; raises LabError, and then its nodes may be there."""
        name = self.plan.kind_name
        command = ["create", "cluster", f"--name={name}", f"--kubeconfig={self.kubeconfig_path}", "--retain"]
        command += [f"--image={self._lab.node_image}", "--config=-"]
        text = yaml.safe_dump(self.plan.configuration(), sort_keys=False)
        done = self._kind(command, timeout=_CREATE_SECONDS, text=text)
        if done.returncode:
            raise LabError(faults.explain(done.stdout, cluster=name, image=self._lab.node_image))
        try:
            super().create()  # finds it, and connects
        except subprocess.CalledProcessError as error:
            said = self._kind(["get", "clusters"], timeout=_DELETE_SECONDS).stdout
            raise LabError(faults.explain(said, cluster=name, image=self._lab.node_image)) from error
        self.wait_usable()

    def wait_usable(self) -> None:
        """Wait until nodes are Ready and the default ServiceAccount exists; raises LabError."""
        asyncio.run(self._usable())

    def load(self, image: str) -> None:
        """Bring an image of this machine's Docker onto the nodes; raises LabError."""
        command = ["load", "docker-image", f"--name={self.plan.kind_name}", image]
        done = self._kind(command, timeout=_LOAD_SECONDS)
        if done.returncode:
            raise LabError(f"{self.plan.kind_name}: kind load {image}: {last_line(done.stdout)}")

    def export_logs(self, folder: Path) -> None:
        """Write what the nodes logged into `folder`; raises LabError."""
        folder.mkdir(parents=True, exist_ok=True)
        done = self._kind(["export", "logs", f"--name={self.plan.kind_name}", str(folder)], timeout=_LOAD_SECONDS)
        if done.returncode:
            raise LabError(f"{self.plan.kind_name}: kind export logs: {last_line(done.stdout)}")

    def delete(self) -> None:
        """Remove the cluster, whatever state it is in; raises LabError."""
        command = ["delete", "cluster", f"--name={self.plan.kind_name}", f"--kubeconfig={self.kubeconfig_path}"]
        done = self._kind(command, timeout=_DELETE_SECONDS)
        if done.returncode:
            raise LabError(f"{self.plan.kind_name}: kind could not delete it: {last_line(done.stdout)}")

    async def _usable(self) -> None:
        client = door.connect(self.kubeconfig_path)
        deadline = time.monotonic() + _READY_SECONDS
        missing = "an answer"
        try:
            while True:
                # An API server that restarts while its node settles is no failure yet.
                with contextlib.suppress(KubeError):
                    missing = await self._missing(client)
                    if not missing:
                        return
                if time.monotonic() > deadline:
                    raise LabError(await asyncio.to_thread(self._why, missing))
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            await client.close()

    async def _missing(self, client: AioClient) -> str:
        try:
            await client.get(SERVICE_ACCOUNTS, "default", "default")
        except NotFound:
            return "ServiceAccount default/default"
        nodes = (await client.list(NODES)).items
        ready = {
            view.name(node) for node in nodes if conditions.is_true(view.objects(node, "status", "conditions"), "Ready")
        }
        return ", ".join(f"node {name} is not Ready" for name in self.plan.node_names if name not in ready)

    def _why(self, missing: str) -> str:
        text = f"{self.plan.kind_name}: after {_READY_SECONDS:.0f} s still missing: {missing}"
        for node in self.plan.node_names:
            with contextlib.suppress(docker.DockerError):
                logged = docker.docker("exec", node, "journalctl", "--no-pager", "--lines=2000")
                if faults.starved_of_inotify(logged):
                    return f"{text}; {faults.INOTIFY_CURE}"
        return f"{text}; the exported logs say more"

    def _kind(
        self, arguments: list[str], *, timeout: float, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kind; both its outputs are in `stdout`."""
        command = [str(self._lab.kind), *arguments]
        environment = {**os.environ, NETWORK: self._lab.network}
        try:
            return subprocess.run(
                command,
                input=text or "",
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=timeout,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            said = (error.output or b"").decode(errors="replace")  # bytes, whatever was asked for
            return subprocess.CompletedProcess(command, 124, f"{said}\nERROR: no end after {timeout:.0f} s", "")
        except OSError as error:
            return subprocess.CompletedProcess(command, 127, f"ERROR: {self._lab.kind}: {error.strerror}", "")
