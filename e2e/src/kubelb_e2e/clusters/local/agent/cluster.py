"""What every pod of a node shares: the client, caches of ConfigMaps and Secrets, the catalogue, events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubelb_common.kube.errors import KubeError
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import EVENTS
from kubelb_common.objects import view
from kubelb_common.runtime.store import Store
from kubelb_common.telemetry import logs
from kubelb_e2e.catalogue import Image
from kubelb_e2e.clusters.local.agent.rootfs import Mount
from kubelb_e2e.clusters.local.model import NodeSpec

_log = logs.get(__name__)


def now() -> datetime:
    """Return the wall clock's time; Kubernetes keeps whole seconds."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Shared:
    """The node agent's common parts; `network` is held while addresses and namespaces change, one pod at a time."""

    spec: NodeSpec
    client: KubeClient
    secrets: Store
    config_maps: Store
    catalogue: Mapping[str, Image]
    system: tuple[Mount, ...]
    service_env: Mapping[str, str]
    network: asyncio.Lock = field(default_factory=asyncio.Lock)
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    def pod_folder(self, uid: str) -> Path:
        """Return the folder of a pod's volumes and generated files."""
        return self.spec.directory / "pods" / uid

    def event(self, pod: Object, reason: str, message: str, *, warning: bool = True) -> None:
        """Report something that happened to a pod; a failure to do so is only logged."""
        _log.info("pod event", pod=f"{view.namespace(pod)}/{view.name(pod)}", reason=reason, message=message)
        task = asyncio.create_task(self._send(pod, reason, message, "Warning" if warning else "Normal"))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _send(self, pod: Object, reason: str, message: str, kind: str) -> None:
        stamp = view.format_time(now())
        body: dict[str, Any] = {
            "metadata": {"generateName": f"{view.name(pod)[:50]}.", "namespace": view.namespace(pod)},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": view.name(pod),
                "namespace": view.namespace(pod),
                "uid": view.uid(pod),
            },
            "reason": reason,
            "message": message[:1000],
            "type": kind,
            "source": {"component": "kubelet", "host": self.spec.name},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        try:
            await self.client.create(EVENTS, body, view.namespace(pod))
        except KubeError as error:
            _log.debug("event not written", reason=reason, error=str(error))


@dataclass(frozen=True, slots=True)
class NamespaceSources:
    """ConfigMaps and Secrets of one namespace, from the caches."""

    shared: Shared
    namespace: str

    def config_map(self, name: str) -> Object | None:
        """See env.Sources."""
        return self.shared.config_maps.get(self.namespace, name)

    def secret(self, name: str) -> Object | None:
        """See env.Sources."""
        return self.shared.secrets.get(self.namespace, name)
