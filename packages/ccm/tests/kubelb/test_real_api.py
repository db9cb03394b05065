"""`kubelb` against a real API server, with the rights of a tenant."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from kubelb_program import RULES, invoke

from kubelb_common.api.crd_schema import crds
from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import KubeError
from kubelb_common.testing import builders

HOME = "tenant-people"
RBAC = "rbac.authorization.k8s.io"


async def prepare(admin):
    for crd in crds():
        with suppress(KubeError):
            await admin.create(resources.CRDS, crd)
    await admin.create(resources.NAMESPACES, builders.namespace(HOME).build())
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "kubelb-ccm"}, "rules": RULES}
    await admin.create(resources.ROLES, role, HOME)
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "kubelb-ccm"},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "kubelb-ccm"},
        "subjects": [{"kind": "User", "name": "people", "apiGroup": RBAC}],
    }
    await admin.create(resources.ROLE_BINDINGS, binding, HOME)
    async with asyncio.timeout(20):
        while True:
            with suppress(KubeError):
                await admin.list(resources.LOAD_BALANCERS, HOME)
                return
            await asyncio.sleep(0.05)


async def test_a_load_balancer_of_a_person_lives_and_dies(real_api):
    admin = AioClient(kubeconfig.load(real_api.kubeconfig))
    flags = ("--kubeconfig", str(real_api.user("people")), "-t", "people")

    async def run(*args):
        return await asyncio.to_thread(invoke, *flags, *args)

    try:
        await prepare(admin)
        creating = asyncio.create_task(
            run(
                "lb",
                "create",
                "web",
                "--type",
                "LoadBalancer",
                "--endpoints",
                "[2001:db8::7]:30080",
                "--protocol",
                "tcp",
            )
        )
        async with asyncio.timeout(20):
            while not (found := (await admin.list(resources.LOAD_BALANCERS, HOME)).items):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert found[0]["spec"]["endpoints"][0]["addresses"] == [{"ip": "2001:db8::7"}]
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}
        await admin.patch(resources.LOAD_BALANCERS, "web", {"status": status}, HOME, subresource="status")
        result = await creating
        assert result.exit_code == 0, result.output
        assert "192.0.2.10" in result.stdout
        listed = await run("lb", "list", "-o", "json")
        assert "managedFields" not in json.loads(listed.stdout)["items"][0]["metadata"]
        assert (await run("status")).exit_code == 0
        elsewhere = await asyncio.to_thread(invoke, *flags, "lb", "list", "-t", "other")
        assert elsewhere.exit_code == 1
        gone = await run("lb", "delete", "web", "--force")
        assert gone.exit_code == 0, gone.output
        assert (await admin.list(resources.LOAD_BALANCERS, HOME)).items == []
    finally:
        await admin.close()
