"""A pod's volumes on disk: created before its containers, kept in step while it lives, and bound into containers.

Tokens are asked for again at 80 % of their life; ConfigMaps and Secrets are written again when they change.
A volume that once could be written stays as it is when its source goes away, as with a kubelet.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import SERVICE_ACCOUNTS
from kubelb_common.objects import view
from kubelb_e2e.clusters.local.agent import atomic, fields, volumes
from kubelb_e2e.clusters.local.agent.cluster import NamespaceSources, Shared
from kubelb_e2e.clusters.local.agent.env import MissingReference, expand, hostname
from kubelb_e2e.clusters.local.agent.rootfs import Mount
from kubelb_e2e.clusters.local.agent.volumes import TokenRequest

_REFRESH_SHARE = 0.8


@dataclass(slots=True)
class _Token:
    text: str
    refresh_at: float  # monotonic


@dataclass(slots=True)
class PodVolumes:
    """The volumes of one pod below `folder`."""

    shared: Shared
    folder: Path
    _tokens: dict[TokenRequest, _Token] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Return the folder of the volume `name`."""
        return self.folder / "volumes" / name

    async def write(self, pod: Object, facts: fields.Facts, *, keep: bool = False) -> None:
        """Bring all volumes in step; raises MissingReference (not with `keep`) and KubeError (no token).

        With `keep` a volume whose source is missing stays as it is.
        """
        await self._fetch_tokens(pod)
        sources = NamespaceSources(self.shared, view.namespace(pod))
        context = volumes.VolumeContext(pod, facts, sources, lambda request: self._tokens[request].text)
        for volume in view.objects(pod, "spec", "volumes"):
            kind = volumes.kind_of(volume)
            try:
                self._write_one(volume, kind, context)
            except MissingReference:
                if not keep:
                    raise

    def _write_one(self, volume: Object, kind: str, context: volumes.VolumeContext) -> None:
        path = self.path(volume["name"])
        if kind == "emptyDir":
            path.mkdir(parents=True, exist_ok=True)
        elif kind == "hostPath":
            self._host_path(volume["hostPath"], path)
        elif kind:
            atomic.write(path, volumes.project(volume, context))
        else:
            found = ", ".join(key for key in volume if key != "name")
            raise MissingReference(f"volume {volume['name']}: {found} is not supported by this testbed")

    def _host_path(self, source: Object, path: Path) -> None:
        """Stand in for the node's disk: a folder of the node's own, never the machine's."""
        real = self.shared.spec.directory / "disk" / str(source["path"]).lstrip("/")
        real.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_symlink():
            path.symlink_to(real)

    def refresh_seconds(self) -> float | None:
        """Return the seconds until a token has to be renewed, None without tokens."""
        if not self._tokens:
            return None
        return max(0.0, min(token.refresh_at for token in self._tokens.values()) - time.monotonic())

    async def _fetch_tokens(self, pod: Object) -> None:
        account = view.text(pod, "spec", "serviceAccountName") or "default"
        for volume in view.objects(pod, "spec", "volumes"):
            for request in volumes.token_requests(volume):
                known = self._tokens.get(request)
                if known is None or time.monotonic() >= known.refresh_at:
                    self._tokens[request] = await self._fetch(pod, account, request)

    async def _fetch(self, pod: Object, account: str, request: TokenRequest) -> _Token:
        spec: Object = {
            "expirationSeconds": request.seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": view.name(pod), "uid": view.uid(pod)},
        }
        if request.audience:
            spec["audiences"] = [request.audience]
        body: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self.shared.client.create_subresource(
            SERVICE_ACCOUNTS, account, "token", body, view.namespace(pod)
        )
        return _Token(answer["status"]["token"], time.monotonic() + _REFRESH_SHARE * request.seconds)

    def mounts(self, container: Object, env: dict[str, str]) -> list[Mount]:
        """Return the binds of a container's volume mounts; raises MissingReference for an unusable subPath."""
        found = []
        for item in view.objects(container, "volumeMounts"):
            source = self.path(item["name"])
            sub = item.get("subPath") or (expand(item["subPathExpr"], env) if item.get("subPathExpr") else "")
            if sub:
                if ".." in PurePosixPath(sub).parts or sub.startswith("/"):
                    raise MissingReference(f"subPath {sub!r} of {item['mountPath']} leads out of the volume")
                if not (source / sub).exists():
                    (source / sub).mkdir(parents=True)
            target = "/" + str(item["mountPath"]).strip("/")
            found.append(Mount(str((source / sub).resolve()), target, read_only=bool(item.get("readOnly"))))
        return found

    def own_files(self, pod: Object, facts: fields.Facts, cluster_dns: str) -> list[Mount]:
        """Write the pod's /etc/hosts, /etc/hostname and /etc/resolv.conf and return their binds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        texts = {
            "hosts": hosts(pod, facts.pod_ips),
            "hostname": hostname(pod) + "\n",
            "resolv.conf": resolv_conf(pod, cluster_dns),
        }
        for name, text in texts.items():
            (self.folder / name).write_text(text)
        return [Mount(str(self.folder / name), f"/etc/{name}", read_only=False) for name in texts]


def hosts(pod: Object, pod_ips: Iterable[str]) -> str:
    """Return the pod's /etc/hosts."""
    names = hostname(pod)
    if subdomain := view.text(pod, "spec", "subdomain"):
        names = f"{names}.{subdomain}.{view.namespace(pod)}.svc.cluster.local {names}"
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{ip} {names}" for ip in pod_ips]
    aliases = view.objects(pod, "spec", "hostAliases")
    lines += [f"{alias['ip']} {' '.join(alias.get('hostnames') or [])}" for alias in aliases]
    return "\n".join(lines) + "\n"


def resolv_conf(pod: Object, cluster_dns: str) -> str:
    """Return the pod's /etc/resolv.conf by its dnsPolicy and dnsConfig; every policy asks the cluster's DNS."""
    config = view.get(pod, "spec", "dnsConfig", default={})
    own = view.text(pod, "spec", "dnsPolicy") == "None"
    servers = ([] if own else [cluster_dns]) + list(config.get("nameservers") or [])
    namespace = view.namespace(pod)
    search = [] if own else [f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local"]
    search += config.get("searches") or []
    options = {} if own else {"ndots": "5"}
    options |= {item["name"]: item.get("value", "") for item in view.objects(config, "options")}
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(search)}"] if search else []
    words = [f"{key}:{value}" if value else key for key, value in options.items()]
    return "\n".join([*lines, *([f"options {' '.join(words)}"] if words else [])]) + "\n"
