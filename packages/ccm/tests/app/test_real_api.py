"""The agent with its real rights against a real API server, which stands for both clusters at once."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import yaml

from kubelb_ccm.app import App, ManagementClient
from kubelb_ccm.options import Options
from kubelb_common.api.crd_schema import crds
from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import KubeError, NotFound
from kubelb_common.kube.port import Resource
from kubelb_common.testing import builders

MANIFEST = Path(__file__).parents[2] / "deploy" / "ccm.yaml"
ACCOUNT = "system:serviceaccount:kubelb:kubelb-ccm"
PLACES = {
    "Namespace": resources.NAMESPACES,
    "ServiceAccount": resources.SERVICE_ACCOUNTS,
    "ClusterRole": resources.CLUSTER_ROLES,
    "ClusterRoleBinding": resources.CLUSTER_ROLE_BINDINGS,
    "Role": resources.ROLES,
    "RoleBinding": resources.ROLE_BINDINGS,
    "IngressClass": resources.INGRESS_CLASSES,
    "Deployment": resources.DEPLOYMENTS,
}


async def until(what, seconds=20.0):
    async with asyncio.timeout(seconds):
        while True:
            with suppress(KubeError):
                if found := await what():
                    return found
            await asyncio.sleep(0.02)


async def gone(client, resource: Resource, name: str, namespace: str | None):
    try:
        await client.get(resource, name, namespace)
    except NotFound:
        return True
    return False


async def prepare(admin):
    for crd in crds():
        with suppress(KubeError):
            await admin.create(resources.CRDS, crd)
    for obj in yaml.safe_load_all(MANIFEST.read_text()):
        await admin.create(PLACES[obj["kind"]], obj, obj["metadata"].get("namespace"))
    for name in ("tenant-ccm", "ccm-shop"):
        await admin.create(resources.NAMESPACES, builders.namespace(name).build())
    await until(lambda: admin.list(resources.ROUTES, "tenant-ccm"))


async def test_an_ingress_lives_and_dies(own_real_api):
    admin = AioClient(kubeconfig.load(own_real_api.kubeconfig))
    tenant = AioClient(kubeconfig.load(own_real_api.user(ACCOUNT)))
    hub = ManagementClient(kubeconfig.load(own_real_api.kubeconfig))
    await prepare(admin)
    app = App(Options("ccm", metrics=None, health=None), tenant, hub)
    agent = asyncio.create_task(app.run())
    try:
        await walk(admin)
    finally:
        agent.cancel()
        with suppress(asyncio.CancelledError):
            await agent
        for client in (hub, tenant, admin):
            await client.close()


async def walk(admin):
    shop = builders.service("web", "ccm-shop").port(80, name="http").build()
    await admin.create(resources.SERVICES, shop, "ccm-shop")
    ingress = builders.ingress("web", "ccm-shop").rule("a.example.com", "/", "web", 80).build()
    uid = (await admin.create(resources.INGRESSES, ingress, "ccm-shop"))["metadata"]["uid"]
    began = time.monotonic()
    route = await until(lambda: admin.get(resources.ROUTES, uid, "tenant-ccm"))
    twin = await admin.get(resources.SERVICES, "web-nodeport", "ccm-shop")
    (exported,) = route["spec"]["source"]["kubernetes"]["services"]
    assert exported["spec"]["ports"][0]["nodePort"] == twin["spec"]["ports"][0]["nodePort"]
    assert time.monotonic() - began < 10

    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    made = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "generatedName": "copy", "status": status}
    problem = {"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound", "message": "no"}
    when = {"observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    patch = {"status": {"resources": {"route": made}, "conditions": [{**problem, **when}]}}
    await admin.patch(resources.ROUTES, uid, patch, "tenant-ccm", subresource="status")

    async def told():
        live = await admin.get(resources.INGRESSES, "web", "ccm-shop")
        return live["status"]["loadBalancer"].get("ingress") and "annotations" in live["metadata"]

    await until(told)
    (event,) = (await admin.list(resources.EVENTS, "ccm-shop")).items
    assert event["reason"] == "BackendNotFound"
    before = [
        (await admin.list(kind, None)).items for kind in (resources.SERVICES, resources.INGRESSES, resources.ROUTES)
    ]
    await asyncio.sleep(1.0)  # idle: real time is what is measured here
    after = [
        (await admin.list(kind, None)).items for kind in (resources.SERVICES, resources.INGRESSES, resources.ROUTES)
    ]
    assert before == after

    await admin.delete(resources.INGRESSES, "web", "ccm-shop")
    await until(lambda: is_deleting(admin, uid))
    await admin.patch(resources.ROUTES, uid, {"metadata": {"finalizers": None}}, "tenant-ccm")
    await until(lambda: gone(admin, resources.INGRESSES, "web", "ccm-shop"))
    await until(lambda: gone(admin, resources.SERVICES, "web-nodeport", "ccm-shop"))


async def is_deleting(admin, uid):
    return "deletionTimestamp" in (await admin.get(resources.ROUTES, uid, "tenant-ccm"))["metadata"]
