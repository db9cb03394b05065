"""The API server of one cluster: a FakeKube over HTTP, what kubectl asks beside it, and what controllers would do.

kubectl asks for what is served (aggregated discovery) and, before it applies, whether the server checks fields
(OpenAPI v3); both answers come from the fake's kinds. It patches built-in kinds by strategic merge, which for what
the harness applies is the same as a merge patch. Deployments are ready at once, and a Tenant has its namespace and
its credential, as if manager, agents and nodes were there.
"""

from __future__ import annotations

import base64
import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

from aiohttp import hdrs, web

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import AlreadyExists
from kubelb_common.kube.port import Resource
from kubelb_common.kube.resources import DEPLOYMENTS, NAMESPACES, NODES, SECRETS, SERVICE_ACCOUNTS
from kubelb_common.testing import apiserver, builders
from kubelb_common.testing.fake_kube import FakeKube

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
_MANAGED = "https://10.0.0.1:6443"


class Api:
    """One running API server.

    Attributes:
        kube: the cluster's objects.
        is_up: whether it answers.
        url: where it answers.
        requests: (method, path) of every request, in order.
        logs: (namespace/pod, container, whether of the run before) -> text.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.kube = FakeKube(strict_kinds=True)
        for item in self.kube.store.stored(NAMESPACES):
            # Every fake gives the same; but a cluster is known by them.
            item["metadata"]["uid"] = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}/{item['metadata']['name']}"))
        self.is_up = False
        self.requests: list[tuple[str, str]] = []
        self.logs: dict[tuple[str, str, bool], str] = {}
        self._server = apiserver.Server(self.kube)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)

    async def start(self) -> None:
        """Begin to answer, with a default ServiceAccount and no node."""
        self.is_up = True
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._server.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        await self.kube.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")

    async def stop(self) -> None:
        """End it; open watches are cut."""
        self.is_up = False
        self.kube.end_watches()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return self._server.url

    async def join(self, node: str, address: str, *, ready: bool = True) -> None:
        """Have a node."""
        built = builders.node(node).address(address).ready("True" if ready else "False")
        await self.kube.create(NODES, built.build())

    async def apply(self, documents: list[dict[str, Any]]) -> None:
        """Create objects, or leave those that are there."""
        for document in documents:
            for resource in self._served():
                if (resource.api_version, resource.kind) == (document["apiVersion"], document["kind"]):
                    with contextlib.suppress(AlreadyExists):
                        namespace = document["metadata"].get("namespace")
                        await self._controllers(await self.kube.create(resource, document, namespace))
                    break

    def kubeconfig(self) -> str:
        """Return the admin's kubeconfig, as kind names things."""
        name = f"kind-{self.name}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
        return json.dumps(config)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        path = request.path
        if path in ("/api", "/apis"):
            return web.Response(
                body=json.dumps(self._discovery(core=path == "/api")), headers={"Content-Type": _DISCOVERY}
            )
        if path == "/openapi/v3" or path.startswith("/openapi/v3/"):
            return web.json_response(self._openapi(path.removeprefix("/openapi/v3").strip("/")))
        if path.endswith("/log"):
            return self._log(request)
        if request.content_type == "application/strategic-merge-patch+json":
            request = request.clone(headers={**request.headers, hdrs.CONTENT_TYPE: apiserver.MERGE_PATCH})
        answer = await self._server.handle(request)
        if request.method in ("POST", "PATCH") and isinstance(answer, web.Response) and answer.status < 300:
            await self._controllers(json.loads(answer.text or "{}"))
        return answer

    def _served(self) -> Iterator[Resource]:
        for value in vars(resources).values():
            if isinstance(value, Resource) and value.group != names.GROUP and value != resources.POD_MONITORS:
                yield value
        for kinds in self.kube.store.custom.values():
            yield from (kind.resource for kind in kinds)

    def _discovery(self, *, core: bool) -> dict[str, Any]:
        groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for item in self._served():
            if (item.group == "") == core:
                groups.setdefault(item.group, {}).setdefault(item.version, []).append(
                    {
                        "resource": item.plural,
                        "responseKind": {"group": item.group, "version": item.version, "kind": item.kind},
                        "scope": "Namespaced" if item.namespaced else "Cluster",
                        "singularResource": item.kind.lower(),
                        "verbs": _VERBS,
                    }
                )
        items = [
            {
                "metadata": {"name": group},
                "versions": [{"version": name, "resources": found} for name, found in versions.items()],
            }
            for group, versions in groups.items()
        ]
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}

    def _openapi(self, part: str) -> dict[str, Any]:
        served = list(self._served())
        if not part:
            parts = {_part(item) for item in served}
            return {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash=1"} for name in sorted(parts)}}
        checked = [{"name": "fieldValidation", "in": "query"}]
        paths = {
            f"/{part}/{item.plural}/{{name}}": {
                "patch": {
                    "parameters": checked,
                    "x-kubernetes-group-version-kind": {
                        "group": item.group,
                        "version": item.version,
                        "kind": item.kind,
                    },
                }
            }
            for item in served
            if _part(item) == part
        }
        return {"openapi": "3.0.0", "info": {"title": "stand-in", "version": "1"}, "paths": paths}

    def _log(self, request: web.Request) -> web.Response:
        _, _, _, _, namespace, _, pod, _ = request.path.split("/")
        before = request.query.get("previous") == "true"
        found = self.logs.get((f"{namespace}/{pod}", request.query.get("container", ""), before))
        if found is None:
            message = f"previous terminated container of {pod} not found"
            return web.json_response(
                {"kind": "Status", "status": "Failure", "message": message, "code": 400}, status=400
            )
        return web.Response(text=found)

    async def _controllers(self, written: dict[str, Any]) -> None:
        name = written.get("metadata", {}).get("name", "")
        if written.get("kind") == DEPLOYMENTS.kind:
            count = written["spec"].get("replicas", 1)
            status = {"observedGeneration": written["metadata"]["generation"], "replicas": count}
            status |= {"updatedReplicas": count, "readyReplicas": count}
            await self.kube.patch(
                DEPLOYMENTS, name, {"status": status}, written["metadata"]["namespace"], subresource="status"
            )
        elif written.get("kind") == resources.TENANTS.kind:
            namespace = names.tenant_namespace(name)
            found = [item["metadata"]["name"] for item in (await self.kube.list(NAMESPACES)).items]
            if namespace not in found:
                await self.kube.create(NAMESPACES, {"metadata": {"name": namespace}})
                data = {names.CCM_KUBECONFIG_KEY: base64.b64encode(credential(name).encode()).decode()}
                secret = {"metadata": {"name": names.CCM_KUBECONFIG_SECRET}, "data": data}
                await self.kube.create(SECRETS, secret, namespace)


def credential(tenant: str) -> str:
    """Return the kubeconfig that the manager would make, by an address that only clusters know."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "hub", "cluster": {"server": _MANAGED}}],
        "users": [{"name": tenant, "user": {"token": f"of {tenant}"}}],
        "contexts": [{"name": "hub", "context": {"cluster": "hub", "user": tenant}}],
        "current-context": "hub",
    }
    return json.dumps(config)


def _part(item: Resource) -> str:
    return f"apis/{item.group}/{item.version}" if item.group else f"api/{item.version}"
