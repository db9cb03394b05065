"""The program `kubelb` on a fake management cluster behind HTTP, with the rights that a tenant has there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from kubelb_ccm.kubelb.cli import main
from kubelb_common.api.crd_schema import crds
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.testing import apiserver
from kubelb_common.testing.fake_kube import FakeKube

TENANT_NS = "tenant-a"
#: As `desired.tenant.role` of the manager makes it (ruling 32).
RULES = [
    {
        "apiGroups": ["kubelb.k8c.io"],
        "resources": ["loadbalancers", "routes", "addresses", "syncsecrets"],
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
    },
    {"apiGroups": ["kubelb.k8c.io"], "resources": ["tenantstates"], "verbs": ["get", "list", "watch"]},
]


def invoke(*args: str, input_: str | None = None, **env: str) -> Result:
    """Run the program, with nothing of this machine's environment."""
    clean: dict[str, Any] = {"KUBECONFIG": None, "TENANT_NAME": None, "KUBERNETES_SERVICE_HOST": None}
    return CliRunner().invoke(main, list(args), env=clean | env, input=input_, prog_name="kubelb")


@dataclass
class Hub:
    """The management cluster, and the tenant's way into it."""

    kube: FakeKube
    kubeconfig: Path

    async def run(self, *args: str, input_: str | None = None) -> Result:
        """Run the program while this cluster goes on."""
        flags = ("--kubeconfig", str(self.kubeconfig), "-t", "a")
        return await asyncio.to_thread(invoke, *flags, *args, input_=input_)

    async def good(self, *args: str, input_: str | None = None) -> Result:
        result = await self.run(*args, input_=input_)
        assert result.exit_code == 0, result.output
        return result

    def load_balancers(self) -> dict[str, Object]:
        return {obj["metadata"]["name"]: obj for obj in self.kube.objects(resources.LOAD_BALANCERS, TENANT_NS)}

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - any state of the fake
                await asyncio.sleep(0.01)

    def judge(self, name: str, *conditions: tuple[str, str, str, str], **status: Any) -> None:
        """Write a status as the manager does."""
        obj = self.load_balancers()[name]
        told = [
            {
                "type": kind,
                "status": state,
                "reason": reason,
                "message": message,
                "observedGeneration": obj["metadata"]["generation"],
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            for kind, state, reason, message in conditions
        ]
        body = {**obj, "status": {"conditions": told, **status}}
        self.kube.store.replace(resources.LOAD_BALANCERS, body, TENANT_NS, subresource="status")


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Hub]:
    """Serve a management cluster with the tenant `a`."""
    kube = FakeKube(namespaces=[TENANT_NS, "tenant-b"], crds=crds())
    account = {"kind": "ServiceAccount", "name": "kubelb-ccm", "namespace": TENANT_NS}
    kube.put(resources.SERVICE_ACCOUNTS, {"metadata": {"name": "kubelb-ccm", "namespace": TENANT_NS}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "kubelb-ccm"}
    kube.put(resources.ROLES, {"metadata": {"name": "kubelb-ccm", "namespace": TENANT_NS}, "rules": RULES})
    kube.put(
        resources.ROLE_BINDINGS,
        {"metadata": {"name": "kubelb-ccm", "namespace": TENANT_NS}, "roleRef": role, "subjects": [account]},
    )
    answer = await kube.create_subresource(resources.SERVICE_ACCOUNTS, "kubelb-ccm", "token", {}, TENANT_NS)
    async with apiserver.serve(kube) as server:
        yield Hub(kube, server.kubeconfig(folder, token=answer["status"]["token"]))
