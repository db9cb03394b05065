"""Objects and small waits that the contract's tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from kubelb_common.kube.errors import AlreadyExists, NotFound
from kubelb_common.kube.port import KubeClient, Object, Resource, WatchEvent
from kubelb_common.kube.resources import CRDS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS

WIDGETS = Resource("test.kubelb.k8c.io", "v1", "widgets", "Widget")
PATIENCE = 20.0  # seconds for anything that a server does by itself

_PORT = {"type": "object", "required": ["port"], "properties": {
    "name": {"type": "string"},
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "protocol": {"type": "string", "enum": ["TCP", "UDP"], "default": "TCP"},
}}  # fmt: skip
_SPEC = {"type": "object", "required": ["size"], "properties": {
    "size": {"type": "integer"},
    "mode": {"type": "string", "enum": ["fast", "slow"], "default": "slow"},
    "ports": {"type": "array", "minItems": 1, "maxItems": 3, "items": _PORT,
              "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"]},
    "percent": {"x-kubernetes-int-or-string": True},
    "note": {"type": "string", "nullable": True},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "template": {"type": "object", "x-kubernetes-embedded-resource": True,
                 "x-kubernetes-preserve-unknown-fields": True},
}}  # fmt: skip
WIDGET_CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.test.kubelb.k8c.io"},
    "spec": {
        "group": "test.kubelb.k8c.io",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": _SPEC,
                            "data": {"type": "object", "additionalProperties": {"type": "string"}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def config_map(name: str, *, labels: dict[str, str] | None = None, **data: str) -> Object:
    """Return a ConfigMap."""
    return {"metadata": {"name": name, "labels": labels or {}}, "data": data}


def widget(name: str, **spec: Any) -> Object:
    """Return a valid Widget."""
    body = {"apiVersion": WIDGETS.api_version, "kind": WIDGETS.kind, "metadata": {"name": name}}
    return {**body, "spec": {"size": 1, **spec}}


def service(name: str, *ports: Object, **spec: Any) -> Object:
    """Return a Service; without ports it has port 80."""
    return {"metadata": {"name": name}, "spec": {"ports": list(ports) or [{"port": 80}], **spec}}


async def install(client: KubeClient, crd: Object) -> None:
    """Create a CRD unless it is there, and return when its kind is served."""
    spec = crd["spec"]
    resource = Resource(spec["group"], spec["versions"][0]["name"], spec["names"]["plural"], spec["names"]["kind"])
    with suppress(AlreadyExists):
        await client.create(CRDS, crd)
    async with asyncio.timeout(PATIENCE):
        while not await _served(client, resource):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)


async def _served(client: KubeClient, resource: Resource) -> bool:
    try:
        await client.list(resource)
    except NotFound:
        return False
    return True


async def take(events: AsyncIterator[WatchEvent], count: int) -> list[tuple[str, str]]:
    """Return (type, object name) of the next events, bookmarks left out."""
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            event = await anext(events)
            if event.type != "BOOKMARK":
                found.append((event.type, event.object["metadata"]["name"]))
    return found


async def reader_token(client: KubeClient, space: str) -> str:
    """Return the token of a new service account that may only read ConfigMaps in `space`."""
    rbac = "rbac.authorization.k8s.io"
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "reader"}}, space)
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    await client.create(ROLES, {"metadata": {"name": "reader"}, "rules": rules}, space)
    binding: Object = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": space}],
    }
    await client.create(ROLE_BINDINGS, binding, space)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await client.create_subresource(SERVICE_ACCOUNTS, "reader", "token", body, space)
    token: str = answer["status"]["token"]
    return token
