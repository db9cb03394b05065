"""The stand-in for a third-party Ingress controller (`kubelb_e2e.apps.standin`) in the management cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from kubelb_common.kube import resources
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import view
from kubelb_e2e.scenario import Environment

IMAGE = "kubelb/standin:0.1.0"
CLASS = "standin"
_RBAC = "rbac.authorization.k8s.io"
_CLUSTER_ROLES = Resource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
_CLUSTER_ROLE_BINDINGS = Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)


@asynccontextmanager
async def controller(env: Environment) -> AsyncIterator[str]:
    """Run the controller for class `standin`; give its address."""
    client, name = env.management, f"standin-{env.tenant.namespace}"
    objects = _objects(name, env.tenant.image(IMAGE))
    try:
        for resource, obj in objects:
            await client.create(resource, obj, view.namespace(obj) or None)

        async def address() -> str:
            found = await client.get(resources.SERVICES, name, name)
            ip = view.text(found, "status", "loadBalancer", "ingress", 0, "ip")
            assert ip, "the controller's Service has no address yet"
            return ip

        yield await env.wait.eventually("served", address)
    finally:
        for resource, obj in reversed(objects):
            with suppress(NotFound):
                await client.delete(resource, view.name(obj), view.namespace(obj) or None)


def _objects(name: str, image: str) -> list[tuple[Resource, Object]]:
    labels = {"app": name}
    rules = [
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["list"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["list"]},
    ]
    container = {
        "name": "standin",
        "image": image,
        "env": [{"name": "INGRESS_CLASS", "value": CLASS}, {"name": "SERVICE", "value": f"{name}/{name}"}],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    place = {"name": name, "namespace": name}
    return [
        (resources.NAMESPACES, {"metadata": {"name": name}}),
        (resources.SERVICE_ACCOUNTS, {"metadata": place}),
        (_CLUSTER_ROLES, {"metadata": {"name": name}, "rules": rules}),
        (
            _CLUSTER_ROLE_BINDINGS,
            {
                "metadata": {"name": name},
                "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "ServiceAccount", **place}],
            },
        ),
        (
            resources.DEPLOYMENTS,
            {
                "metadata": place,
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {
                            "serviceAccountName": name,
                            "containers": [container],
                            "terminationGracePeriodSeconds": 1,
                        },
                    },
                },
            },
        ),
        (
            resources.SERVICES,
            {
                "metadata": place,
                "spec": {"type": "LoadBalancer", "selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
            },
        ),
    ]
