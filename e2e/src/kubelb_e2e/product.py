"""Deploys the product into a lab as an admin of real clusters would: CRDs, YAML files, Tenants, credentials.

In which order: CRDs -> manager and Config -> Tenants -> for each tenant side by side: the generated
kubeconfig appears in the management cluster, is carried to the tenant's Secret `kubelb-cluster`, the
agent is applied and becomes ready. Everything is applied, so doing it again changes nothing and
completes what was interrupted.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from kubelb_common import names
from kubelb_common.kube.errors import KubeError, NotFound
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import CRDS, DEPLOYMENTS, PODS, SECRETS
from kubelb_common.objects import view
from kubelb_e2e import quickyaml
from kubelb_e2e.clusters import client as door
from kubelb_e2e.clusters.base import MANAGEMENT, Lab, Say, project, tenant_name, tenants
from kubelb_e2e.errors import LabError, last_line

ENVOY_IMAGE = "kubelb/envoy:1.40.0"
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.1
_TENANT_CRDS = ("syncsecrets",)


def deploy(lab: Lab, without: Collection[str], *, say: Say) -> None:
    """Deploy CRDs and, but for the parts in `without`, manager and agents; raises LabError."""
    asyncio.run(_Deployment(lab, without, say).run())


def remove(lab: Lab, *, say: Say) -> None:
    """Take the product out of clusters that outlive the lab; raises LabError.

    Tenants first, while manager and agents run: they release what they hold. The manager and the CRDs stay
    where Tenants of others are.
    """
    lab.check()
    began = time.monotonic()

    def tell(text: str) -> None:
        say(text, time.monotonic() - began)

    def delete(cluster: str, documents: list[Object]) -> None:
        lab.call(cluster, "delete", "--ignore-not-found", limit, "--filename=-", text=_text(documents))

    kind, limit = f"tenants.{names.GROUP}", f"--timeout={_READY_SECONDS:.0f}s"
    is_known = bool(lab.call(MANAGEMENT, "get", "customresourcedefinitions", "--ignore-not-found", kind))
    if is_known:
        own = [tenant_name(cluster) for cluster in tenants(lab)]
        lab.call(MANAGEMENT, "delete", kind, *own, "--ignore-not-found", limit)
        tell("management: Tenants removed")
    crds = _crds()
    for cluster in tenants(lab):
        delete(
            cluster,
            [*_manifest("ccm", "secrets"), *_manifest("ccm"), *(crd for name, crd in crds if name in _TENANT_CRDS)],
        )
        tell(f"{cluster}: agent removed")
    others = lab.call(MANAGEMENT, "get", kind, "--output=name").split() if is_known else []
    if others:
        tell(f"management: the manager stays, there are others' Tenants: {', '.join(others)}")
        return
    delete(MANAGEMENT, [*_manifest("manager"), *(crd for _, crd in crds)])
    tell("management: manager and CRDs removed")


class _Deployment:
    def __init__(self, lab: Lab, without: Collection[str], say: Say) -> None:
        self._lab = lab
        self._without = without
        self._began = time.monotonic()
        self._tell = say

    async def run(self) -> None:
        crds = _crds()
        await self._apply(MANAGEMENT, [crd for _, crd in crds])
        async with self._client(MANAGEMENT) as client:
            await _established(client, [crd["metadata"]["name"] for _, crd in crds])
            self._say("management: CRDs established")
            if "manager" in self._without:
                return
            await self._apply(MANAGEMENT, self._manifest("manager"))
            await self._apply(MANAGEMENT, [self._config(), *map(_tenant, tenants(self._lab))])
            await _deployment_ready(client, names.MANAGER_NAMESPACE, "kubelb-manager", MANAGEMENT)
            self._say("management: manager ready")
            try:
                async with asyncio.TaskGroup() as group:
                    for tenant in tenants(self._lab):
                        group.create_task(self._tenant(client, tenant))
            except ExceptionGroup as failed:
                foreseen, others = failed.split((LabError, KubeError))
                if foreseen is None or others is not None:
                    raise
                raise foreseen.exceptions[0] from failed

    async def _tenant(self, management: KubeClient, cluster: str) -> None:
        kubeconfig = await _credential(management, tenant_name(cluster))
        self._lab.keep_credential(cluster, kubeconfig)
        self._say(f"{cluster}: Tenant {tenant_name(cluster)} has its credential")
        if "ccm" in self._without:
            return
        crds = [crd for name, crd in _crds() if name in _TENANT_CRDS]
        await self._apply(cluster, [*crds, *_agent_settings(cluster, kubeconfig)])
        await self._apply(cluster, [*self._manifest("ccm"), *_manifest("ccm", "secrets")])
        async with self._client(cluster) as client:
            await _deployment_ready(client, names.MANAGER_NAMESPACE, "kubelb-ccm", cluster)
        self._say(f"{cluster}: agent ready")

    def _manifest(self, part: str) -> list[Object]:
        documents = _manifest(part)
        for document in documents:
            for container in view.objects(document, "spec", "template", "spec", "containers"):
                container["image"] = self._lab.image(container["image"])
                for variable in view.objects(container, "env"):
                    if variable["name"].endswith("_IMAGE"):
                        variable["value"] = self._lab.image(variable["value"])
        return documents

    def _config(self) -> Object:
        return {
            "apiVersion": names.API_VERSION,
            "kind": "Config",
            "metadata": {"name": names.CONFIG_NAME, "namespace": names.MANAGER_NAMESPACE},
            # Two Envoys, each on a node of its own where there are two: what all must acknowledge is then
            # more than one, and a node's loss leaves one.
            "spec": {
                "envoyProxy": {"replicas": 2, "singlePodPerNode": True, "image": self._lab.image(ENVOY_IMAGE)},
            },
        }

    async def _apply(self, cluster: str, documents: list[Object]) -> None:
        await asyncio.to_thread(self._lab.call, cluster, "apply", "--filename=-", text=_text(documents))

    @asynccontextmanager
    async def _client(self, cluster: str) -> AsyncIterator[KubeClient]:
        client = door.connect(self._lab.kubeconfig(cluster))
        try:
            yield client
        except KubeError as error:
            raise LabError(f"{cluster}: {error}") from error
        finally:
            await client.close()

    def _say(self, text: str) -> None:
        self._tell(text, time.monotonic() - self._began)


def _text(documents: list[Object]) -> str:
    """Return what kubectl reads, an object a line; as JSON, for writing YAML takes seconds."""
    return "\n".join(json.dumps(document) for document in documents)


@functools.cache
def _crds() -> list[tuple[str, Object]]:
    folder = resources.files("kubelb_common.api") / "crds"
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".yaml")), key=lambda item: item.name)
    return [(item.name.removesuffix(".yaml"), quickyaml.load(item.read_text())) for item in files]


def _manifest(part: str, name: str | None = None) -> list[Object]:
    """Return the objects of a file in the package's `deploy` folder; its main one is named as the package."""
    root, path = project(), Path("packages") / part / "deploy" / f"{name or part}.yaml"
    if root is None:
        raise LabError(f"{path}: the testbed was installed without the source tree")
    return _documents(root / path)


def _documents(path: Path) -> list[Object]:
    try:
        return quickyaml.load_all(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"{path}: {error}") from error


def _tenant(cluster: str) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Tenant",
        "metadata": {"name": tenant_name(cluster)},
        "spec": {},
    }


def _agent_settings(cluster: str, kubeconfig: str) -> list[Object]:
    metadata = {"namespace": names.MANAGER_NAMESPACE}
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": names.MANAGER_NAMESPACE, "labels": {names.LABEL_APP_NAME: "kubelb"}},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {**metadata, "name": names.CCM_CLUSTER_SECRET},
            "stringData": {names.CCM_KUBECONFIG_KEY: kubeconfig},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**metadata, "name": "kubelb-ccm"},
            "data": {
                "KUBELB_CCM_CLUSTER_NAME": tenant_name(cluster),
                "KUBELB_CCM_NODE_ADDRESS_TYPE": "InternalIP",
                "KUBELB_CCM_ENABLE_SECRET_SYNCHRONIZER": "true",
            },
        },
    ]


async def _established(client: KubeClient, crds: list[str]) -> None:
    async def missing() -> str:
        for name in crds:
            try:
                conditions = (await client.get(CRDS, name)).get("status", {}).get("conditions", [])
            except NotFound:
                return f"{name} is not there"
            if not _has_condition(conditions, "Established"):
                return f"{name} is not established: {conditions}"
        return ""

    await _until(missing, "CRDs")


async def _credential(client: KubeClient, tenant: str) -> str:
    """Return the text of the kubeconfig that the manager generated for `tenant`."""
    found: dict[str, Any] = {}
    namespace = names.tenant_namespace(tenant)

    async def missing() -> str:
        try:
            secret = await client.get(SECRETS, names.CCM_KUBECONFIG_SECRET, namespace)
        except NotFound as error:
            return str(error)
        found.update(secret.get("data") or {})
        return "" if names.CCM_KUBECONFIG_KEY in found else f"it has no key {names.CCM_KUBECONFIG_KEY}"

    await _until(missing, f"Secret {namespace}/{names.CCM_KUBECONFIG_SECRET}")
    return base64.b64decode(found[names.CCM_KUBECONFIG_KEY]).decode()


async def _deployment_ready(client: KubeClient, namespace: str, name: str, cluster: str) -> None:
    async def missing() -> str:
        deployment = await client.get(DEPLOYMENTS, name, namespace)
        status = deployment.get("status", {})
        wanted = deployment["spec"].get("replicas", 1)
        current = status.get("observedGeneration") == deployment["metadata"]["generation"]
        if current and status.get("updatedReplicas") == wanted == status.get("readyReplicas") == status.get("replicas"):
            return ""
        pods = (await client.list(PODS, namespace)).items
        return "; ".join(_pod_trouble(pod) for pod in pods if pod["metadata"]["name"].startswith(name)) or "no pods"

    await _until(missing, f"{cluster}: Deployment {namespace}/{name}")


async def _until(missing: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while difference := await missing():
        if time.monotonic() > deadline:
            raise LabError(f"{what} not ready after {_READY_SECONDS:.0f} s: {difference}")
        await asyncio.sleep(_POLL_SECONDS)


def _pod_trouble(pod: Object) -> str:
    status = pod.get("status", {})
    states = [
        f"{item['name']}: {item.get('state')}, restarted {item.get('restartCount', 0)} times{_last_end(item)}"
        for item in status.get("containerStatuses") or ()
        if not item.get("ready")
    ]
    text = f"pod {pod['metadata']['name']} is {status.get('phase')}"
    return f"{text} ({'; '.join(states)}); kubelb-e2e logs {pod['metadata']['name']}" if states else text


def _last_end(container: Object) -> str:
    """Return why a container's run before this one ended, as far as it is known."""
    ended = view.get(container, "lastState", "terminated", default={})
    if not ended:
        return ""
    said = f": {last_line(ended['message'])}" if ended.get("message") else ""
    return f", the last one ended with {ended.get('exitCode')}{said}"


def _has_condition(conditions: list[Object], kind: str) -> bool:
    return any(item["type"] == kind and item["status"] == "True" for item in conditions)
