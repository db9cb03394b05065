"""LoadBalancer addresses of a kind lab: a process on the host that lives as long as the lab.

It gives Services of the management cluster addresses of the Docker network and puts them on nodes by
`docker exec NODE ip address`, so it needs nothing that is not on every node. Run as
`python -m kubelb_e2e.clusters.kind.addresses FOLDER`.

An address that moves is announced from a container that shares the node's network: nodes have no program
that could, and whoever has the former node's MAC address would keep it for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from kubelb_common.kube.resources import ENDPOINT_SLICES, NODES, SERVICES
from kubelb_common.runtime.informer import Informer
from kubelb_common.telemetry import logs
from kubelb_e2e import docker
from kubelb_e2e.clusters import arp, detached, state
from kubelb_e2e.clusters import client as door
from kubelb_e2e.clusters.addresses import AddressController, Pool
from kubelb_e2e.clusters.base import MANAGEMENT
from kubelb_e2e.clusters.kind import docker_net
from kubelb_e2e.clusters.kind.plan import LabPlan, pool
from kubelb_e2e.clusters.slices import BY_SERVICE, service_of_slice
from kubelb_e2e.errors import LabError, last_line

PART = "address controller"
TOOLS_IMAGE = "kubelb/tools:0.1.0"
_INTERFACE = "eth0"
#: How often the process looks whether its lab is still there.
_LOOK_SECONDS = 3.0
_START_SECONDS = 20.0
_PID = "addresses.json"
#: There when it watches.
_WATCHES = "addresses.watches"


class Nodes:
    """Puts addresses on nodes and takes them off."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def placed(self, names: tuple[str, ...], addresses: set[str]) -> dict[str, str]:
        """Return which of `addresses` are on which of the nodes: address -> node."""
        found = {}
        for name in names:
            shown = json.loads(docker.docker("exec", name, "ip", "-json", "address", "show", "dev", _INTERFACE))
            for item in shown[0].get("addr_info", ()):
                if item.get("local") in addresses:
                    found[item["local"]] = name
        self._known |= set(found)
        return found

    def put(self, node: str, address: str) -> None:
        """Put an address on a node; harmless if it is there. Raises LabError."""
        docker.docker("exec", node, "ip", "address", "replace", f"{address}/32", "dev", _INTERFACE)
        if address in self._known:
            announce = ["run", "--rm", f"--network=container:{node}", "--cap-drop=ALL", "--cap-add=NET_RAW", "--user=0"]
            program = ["-c", Path(arp.__file__).read_text(), _INTERFACE, address]
            docker.docker(*announce, "--entrypoint=python3", TOOLS_IMAGE, *program)
        self._known.add(address)

    def take(self, node: str, address: str) -> None:
        """Take an address from a node; harmless if node or address are gone."""
        with contextlib.suppress(docker.DockerError):
            docker.docker("exec", node, "ip", "address", "del", f"{address}/32", "dev", _INTERFACE)


def running(directory: Path) -> state.ProcessId | None:
    """Return the lab's process, None if it does not run or does not watch yet."""
    return state.ProcessId.read(directory / _PID) if (directory / _WATCHES).exists() else None


def log_file(directory: Path) -> Path:
    """Return where the process logs."""
    return directory / "addresses.log"


def start(directory: Path) -> None:
    """Start the process unless it runs; returns when it watches. Raises LabError."""
    if running(directory) is not None:
        return
    stop(directory)
    started = detached.start([sys.executable, "-m", __name__, str(directory)], log_file(directory))
    if started is not None:
        started.write(directory / _PID)
    deadline = time.monotonic() + _START_SECONDS
    while running(directory) is None:
        ended = started is None or not started.alive
        if ended or time.monotonic() > deadline:
            stop(directory)
            how = "ended" if ended else f"does not watch after {_START_SECONDS:.0f} s"
            raise LabError(f"the {PART} {how}: {last_line(log_file(directory).read_text(errors='replace'))}")
        time.sleep(0.05)


def stop(directory: Path) -> None:
    """End the process, whether it watches or not; harmless if it does not run."""
    if (found := state.ProcessId.read(directory / _PID)) is not None:
        found.end()
    for name in (_PID, _WATCHES):
        (directory / name).unlink(missing_ok=True)


async def run(directory: Path) -> int:
    """Serve until SIGTERM; return the exit code."""
    lab = LabPlan.load(directory)
    own = state.ProcessId.of(os.getpid())
    if lab is None or own is None:
        return 1
    addresses = list(pool(await asyncio.to_thread(docker_net.subnet, lab.name)))
    names = lab.clusters[0].node_names
    nodes = Nodes()
    placed = await asyncio.to_thread(nodes.placed, names, set(addresses))
    client = door.connect(lab.kubeconfig(MANAGEMENT))
    services, slices, node_informer = (Informer(client, kind) for kind in (SERVICES, ENDPOINT_SLICES, NODES))
    slices.store.add_index(BY_SERVICE, service_of_slice)
    # Those in use come last, so that no new Service takes one before its owner is seen.
    controller = AddressController(
        names,
        client,
        {"IPv4": Pool([item for item in addresses if item not in placed] + list(placed))},
        services=services,
        slices=slices,
        nodes=node_informer,
        put=nodes.put,
        take=nodes.take,
        placed=placed,
    ).controller
    tasks = [asyncio.create_task(informer.run()) for informer in (services, slices, node_informer)]
    for informer in (services, slices, node_informer):
        await informer.wait_synced()
    tasks.append(asyncio.create_task(controller.run()))
    # Until now a signal ends the process by itself.
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    (directory / _WATCHES).touch()
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await ended.wait()
        # A lab that was removed while this process started, or by hand, has no use for it.
        if running(directory) != own:
            break
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()
    return 0


def main() -> int:
    """Run as a program."""
    logs.configure("info")
    return asyncio.run(run(Path(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
