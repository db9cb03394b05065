"""The lab's daemon: builds network and clusters, then keeps them and answers commands.

In which order: own /run with /run/netns -> sockets (commands are answered from the start) -> network ->
all clusters side by side: credentials, control plane, then nodes, DNS and, in the management cluster,
LoadBalancer addresses -> ready. Whoever asked to `follow` hears of each step.

The daemon ends on `down`, when the host's side closes its pipe, or when a step fails: then the reason
stands in `failed` beside the logs. With it ends everything in the lab (see `init`).

A process of a cluster that dies later is reported by `status`, not restarted: a scenario shall see it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from kubelb_common.telemetry import logs
from kubelb_e2e.clusters.local import dns, netns, network, wire
from kubelb_e2e.clusters.local.cluster import LocalCluster
from kubelb_e2e.clusters.local.model import LAB_ADDRESS, LabSpec
from kubelb_e2e.clusters.local.processes import Processes
from kubelb_e2e.clusters.local.progress import Progress
from kubelb_e2e.clusters.local.zone import LabZone
from kubelb_e2e.errors import LabError

STARTING, READY, FAILED = "starting", "ready", "failed"


class Daemon:
    """One lab's state and its answers to commands."""

    def __init__(self, lab: LabSpec) -> None:
        self._lab = lab
        self._progress = Progress()
        self._processes = Processes()
        self._phase = STARTING
        self._end = asyncio.Event()
        self._zone = LabZone(lab)
        self._clusters = [
            LocalCluster(lab, cluster, self._zone, processes=self._processes, progress=self._progress)
            for cluster in lab.clusters
        ]

    async def run(self) -> int:
        """Build the lab and serve until its end; return the exit code."""
        _private_run(self._lab.directory)
        await wire.serve(self._lab.control_socket, self._handle)
        await asyncio.start_unix_server(_dial, self._lab.directory / "dial.sock")
        await self._watch_host()
        build = asyncio.create_task(self._build())
        ended = asyncio.create_task(self._end.wait())
        await asyncio.wait((build, ended), return_when=asyncio.FIRST_COMPLETED)
        if self._phase == FAILED:
            return 1
        await ended
        return 0

    async def _build(self) -> None:
        reason = ""
        try:
            await asyncio.to_thread(network.create_lab, self._lab)
            await dns.serve(LAB_ADDRESS, (self._zone,))
            self._progress.say("network: bridge without a way out")
            async with asyncio.TaskGroup() as group:
                for cluster in self._clusters:
                    group.create_task(cluster.start())
        except* (LabError, netns.NetworkError, OSError) as errors:
            reason = "\n".join(str(error) for error in _leaves(errors))
        if reason:
            self._phase = FAILED
            (self._lab.directory / "failed").write_text(reason)
            await self._progress.fail(reason)
            return
        self._phase = READY
        self._progress.finish("lab is ready")

    async def _handle(self, message: wire.Message, send: wire.Send) -> None:
        operation = message["op"]
        if operation == "follow":
            await self._progress.follow(send)
        elif operation == "status":
            await send({"ok": True, **self._status()})
        elif operation == "down":
            await send({"ok": True})
            self._end.set()
        elif operation == "cluster":
            answer = await self._cluster(message["cluster"]).command(message)
            await send({"ok": True, **answer})
        else:
            raise LabError(f"unknown request {operation!r}")

    def _cluster(self, name: str) -> LocalCluster:
        for cluster in self._clusters:
            if cluster.spec.name == name:
                return cluster
        raise LabError(f"no cluster {name!r}; there are {', '.join(item.name for item in self._lab.clusters)}")

    def _status(self) -> wire.Message:
        return {
            "phase": self._phase,
            "seconds": round(time.monotonic() - self._progress.began, 1),
            "processes": [
                {
                    "name": process.name,
                    "pid": process.popen.pid,
                    "exit_code": process.exit_code,
                    "log": str(process.log),
                }
                for process in self._processes.all()
            ],
            "addresses": self._clusters[0].addresses_in_use(),
        }

    async def _watch_host(self) -> None:
        """End when the host's side closes its end of our standard input."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", buffering=0))

        async def until_closed() -> None:
            while await reader.read(1024):
                pass
            self._end.set()

        self._host_watch = asyncio.create_task(until_closed())
        loop.add_signal_handler(signal.SIGTERM, self._end.set)


def main(directory: Path) -> int:
    """Run the daemon for the lab in `directory`."""
    logs.configure("warning", json=False)
    try:
        return asyncio.run(Daemon(LabSpec.load(directory)).run())
    except (LabError, netns.NetworkError) as error:
        print(error, flush=True)
        return 1


def _private_run(directory: Path) -> None:
    """Mount an empty /run for ourselves (names of network namespaces), keep our folder if it is below it."""
    handle = os.open(directory, os.O_PATH)
    script = "mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/netns"
    if directory.is_relative_to("/run"):
        script += f' && mkdir -p "$0" && mount --no-canonicalize --bind /proc/self/fd/{handle} "$0"'
    resolver = directory / "resolv.conf"
    resolver.write_text(f"nameserver {LAB_ADDRESS}\n")
    script += ' && { target=$(readlink -f /etc/resolv.conf); [ ! -f "$target" ] || mount --bind "$1" "$target"; }'
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", script, str(directory), str(resolver)],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=(handle,),
        )
    finally:
        os.close(handle)
    if done.returncode:
        raise LabError(f"cannot mount the lab's own /run: {done.stderr.strip()}")


async def _dial(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect a forwarded connection to the target that its first line names."""
    host, _, port = (await reader.readline()).decode().strip().rpartition(":")
    try:
        target = await asyncio.open_connection(host, int(port))
    except (OSError, ValueError) as error:
        writer.write(f"{error}\n".encode())
        writer.close()
        return
    writer.write(b"ok\n")
    await wire.splice((reader, writer), target)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
