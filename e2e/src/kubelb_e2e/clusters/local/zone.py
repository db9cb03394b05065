"""What names mean in a cluster: Services by the cluster's own objects, and the lab's zone. Pure.

    <service>.<namespace>.svc[.cluster.local]             ClusterIP, or ready endpoints of a headless one
    <hostname>.<service>.<namespace>.svc[.cluster.local]  one endpoint of a headless Service
    <cluster>.lab.test, <node>.lab.test                   API servers and nodes
    <service>.<namespace>.lab.test                        LoadBalancer address in the management cluster

Everything else does not exist: there is no outside to ask.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from kubelb_common.kube.port import Object
from kubelb_common.runtime.store import Store
from kubelb_e2e.clusters.local.model import LAB_ZONE, LabSpec
from kubelb_e2e.clusters.slices import BY_SERVICE

_CLUSTER_ZONE = ("cluster", "local")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name stands for: addresses of either family, or another name."""

    addresses: tuple[str, ...] = ()
    alias: str | None = None

    def of_family(self, version: int) -> list[str]:
        """Return the IPv4 (4) or IPv6 (6) addresses."""
        return [item for item in self.addresses if ipaddress.ip_address(item).version == version]


class Zone(Protocol):
    """A set of names."""

    def lookup(self, labels: Sequence[str]) -> Answer | None:
        """Return what the name stands for (labels in lower case, without the root), None if it does not exist."""


class ServiceZone:
    """Names of Services; `slices` needs the index BY_SERVICE."""

    def __init__(self, services: Store, slices: Store) -> None:
        self._services = services
        self._slices = slices

    def lookup(self, labels: Sequence[str]) -> Answer | None:
        """See Zone."""
        name = tuple(labels)
        if name[-2:] == _CLUSTER_ZONE:
            name = name[:-2]
        if len(name) not in (3, 4) or name[-1] != "svc":
            return None
        service = self._services.get(name[-2], name[-3])
        if service is None:
            return None
        if len(name) == 4:
            addresses = tuple(sorted(self._endpoints(name[-2], name[-3], hostname=name[0])))
            return Answer(addresses) if addresses else None
        return self._service(service)

    def _service(self, service: Object) -> Answer:
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return Answer(alias=spec["externalName"].rstrip("."))
        if spec.get("clusterIP") == "None":
            metadata = service["metadata"]
            return Answer(tuple(sorted(set(self._endpoints(metadata["namespace"], metadata["name"])))))
        return Answer(tuple(spec.get("clusterIPs") or ()))

    def _endpoints(self, namespace: str, name: str, hostname: str | None = None) -> Iterator[str]:
        for item in self._slices.by_index(BY_SERVICE, f"{namespace}/{name}"):
            for endpoint in item.get("endpoints") or ():
                ready = endpoint.get("conditions", {}).get("ready") is not False
                if ready and hostname in (None, endpoint.get("hostname")):
                    yield from endpoint["addresses"]


class LabZone:
    """Names in `lab.test`; `services` is the store of the management cluster, once there is one."""

    def __init__(self, lab: LabSpec) -> None:
        self.services: Store | None = None
        self._fixed = {cluster.name: cluster.api_address for cluster in lab.clusters}
        self._fixed.update({node.name: node.address for cluster in lab.clusters for node in cluster.nodes})

    def lookup(self, labels: Sequence[str]) -> Answer | None:
        """See Zone."""
        suffix = LAB_ZONE.split(".")
        if list(labels[-len(suffix) :]) != suffix:
            return None
        name = labels[: -len(suffix)]
        if len(name) == 1 and name[0] in self._fixed:
            return Answer((self._fixed[name[0]],))
        if len(name) == 2 and self.services is not None:
            service = self.services.get(name[1], name[0])
            ingress = (service or {}).get("status", {}).get("loadBalancer", {}).get("ingress") or ()
            addresses = tuple(item["ip"] for item in ingress if item.get("ip"))
            return Answer(addresses) if addresses else None
        return None
