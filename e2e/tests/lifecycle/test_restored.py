"""Whatever we made and somebody edited, unlabelled or deleted by hand is as before within 10 s; others are untouched."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import view
from kubelb_e2e.scenario import Environment, Tenant

UNLABEL: Object = {"metadata": {"labels": {names.LABEL_MANAGED_BY: None, names.LABEL_FLEET: None}}}
DISOWN: Object = {"metadata": {"ownerReferences": None}}
NOWHERE: Object = {"spec": {"selector": {"other": "pods"}}}
#: What an API server or its controllers fill in, and what differs in every life of an object.
_GIVEN_METADATA = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields")
_GIVEN_ANNOTATIONS = ("deployment.kubernetes.io/revision",)
_GIVEN_SPEC = ("clusterIP", "clusterIPs", "healthCheckNodePort")
#: Deleted, they mean another credential, which a person has to carry over.
_CREDENTIAL = {(resources.SERVICE_ACCOUNTS, names.CCM_ACCOUNT), (resources.SECRETS, names.CCM_TOKEN_SECRET)}
#: Those that the agent keeps, and how somebody spoils them.
_EXPORTED: dict[Resource, Object] = {
    resources.ROUTES: {"spec": {"source": {"kubernetes": {"services": None}}}},
    resources.LOAD_BALANCERS: {"spec": {"ports": [{"name": "x", "port": 1, "protocol": "TCP"}]}},
    resources.ADDRESSES: {"spec": {"addresses": [{"ip": "192.0.2.1"}]}},
    resources.SYNC_SECRETS: {"data": {"a": "ZXZpbA=="}},
}
_GENERATED: dict[Resource, Object] = {
    resources.SERVICES: NOWHERE,
    resources.INGRESSES: {"spec": {"rules": None, "defaultBackend": {"service": {"name": "x", "port": {"number": 1}}}}},
    resources.DEPLOYMENTS: {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
    resources.SERVICE_ACCOUNTS: DISOWN,
    resources.ROLES: {"rules": []},
    resources.ROLE_BINDINGS: {"subjects": []},
    resources.SECRETS: {"data": {"a": "ZXZpbA=="}},
    resources.TENANT_STATES: DISOWN,
}


@dataclass(frozen=True, slots=True)
class Made:
    """An object of ours, as it should be."""

    client: AioClient
    resource: Resource
    before: Object

    @property
    def name(self) -> str:
        return view.name(self.before)

    @property
    def place(self) -> str:
        return f"{self.resource.kind} {view.namespace(self.before)}/{self.name}"

    async def patch(self, patch: Object) -> str:
        """Change it and return its resourceVersion."""
        changed = await self.client.patch(self.resource, self.name, patch, view.namespace(self.before))
        return view.resource_version(changed)

    async def delete(self) -> None:
        await self.client.delete(self.resource, self.name, view.namespace(self.before))

    async def is_as_before(self, spoiled: str) -> None:
        """Check that somebody put it right after `spoiled`, its resourceVersion then."""
        try:
            now = await self.client.get(self.resource, self.name, view.namespace(self.before))
        except NotFound:
            raise AssertionError(f"{self.place} is not there") from None
        assert view.resource_version(now) != spoiled, f"{self.place} was not touched yet"
        assert not view.deleting(now), f"{self.place} is on its way out"
        assert told(now) == told(self.before), f"{self.place} differs: {different(told(self.before), told(now))}"


def told(obj: Object) -> Object:
    """Return what an object says, without what is given to it."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _GIVEN_METADATA}
    notes = {key: value for key, value in view.annotations(obj).items() if key not in _GIVEN_ANNOTATIONS}
    out = {**view.content(obj), "metadata": {**metadata, "annotations": notes}}
    if view.kind(obj) == "Service":
        ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in obj["spec"]["ports"]]
        out["spec"] = {**{key: value for key, value in obj["spec"].items() if key not in _GIVEN_SPEC}, "ports": ports}
    if view.name(obj).endswith("-xds"):
        out["data"] = sorted(out["data"])  # another certificate is as good
    return out


def different(one: Any, other: Any, path: str = "") -> str:
    """Return the paths at which two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return " ".join(filter(None, (different(one.get(key), other.get(key), f"{path}.{key}") for key in keys)))
    return "" if one == other else path


async def made_in_hub(
    env: Environment, tenant: Tenant, kinds: dict[Resource, Object]
) -> AsyncIterator[tuple[Made, Object]]:
    """Yield everything of these kinds that we made in a tenant's namespace, and how it is spoiled."""
    selector = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
    for resource, edit in kinds.items():
        found = (await env.management.list(resource, tenant.hub_namespace, label_selector=selector)).items
        assert found, f"there is no {resource.kind} of ours in {tenant.hub_namespace}"
        for obj in found:
            own = (resource, view.name(obj)) == (resources.SECRETS, names.CCM_TOKEN_SECRET)
            yield Made(env.management, resource, obj), DISOWN if own else edit


async def serve(env: Environment, tenant: Tenant, head: str) -> tuple[str, str]:
    """Have one of everything that makes us generate objects; return host and address."""
    host = env.host(head)
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    await tenant.load_balancer("db", app="echo")
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
    secret = {"metadata": {"name": "tls", "labels": labels}, "data": {"a": base64.b64encode(b"1").decode()}}
    await tenant.apply(resources.SECRETS, secret)
    address = await env.served(tenant, "web", host)
    await env.wait.eventually("served", lambda: tenant.address(resources.SERVICES, "db"))

    async def synced() -> None:
        found = await tenant.get(resources.SYNC_SECRETS, "tls")
        assert view.text(found, "status", "phase") == "Synced"

    await env.wait.eventually("synced", synced)
    return host, address


async def test_edited_in_the_management_cluster(env: Environment) -> None:
    """Every object that we keep in a tenant's namespace of the hub is edited, then unlabelled; the other tenant is served."""
    one, two = env.tenants[:2]
    await serve(env, one, "one")
    host, address = await serve(env, two, "two")
    untouched = [made async for made, _ in made_in_hub(env, two, _GENERATED)]
    async with env.traffic.load(address, host) as tally:
        for kinds in (_GENERATED, _EXPORTED):
            async for made, edit in made_in_hub(env, one, kinds):
                for patch in (edit, UNLABEL):
                    spoiled = await made.patch(patch)
                    await env.wait.eventually("synced", lambda: made.is_as_before(spoiled))  # noqa: B023
    assert tally.failures == 0, str(tally)
    for made in untouched:
        now = await made.client.get(made.resource, made.name, view.namespace(made.before))
        assert (
            view.resource_version(now) == view.resource_version(made.before) or made.resource == resources.DEPLOYMENTS
        ), made.place
        assert told(now) == told(made.before), made.place


async def test_deleted_in_the_management_cluster(env: Environment) -> None:
    """Every object that we keep in a tenant's namespace of the hub is deleted; the other tenant is served."""
    one, two = env.tenants[:2]
    host, _ = await serve(env, one, "one")
    other, address = await serve(env, two, "two")
    async with env.traffic.load(address, other) as tally:
        async for made, _ in made_in_hub(env, one, _GENERATED):
            if (made.resource, made.name) not in _CREDENTIAL:
                await made.delete()
                await env.wait.eventually("synced", lambda: made.is_as_before(""))  # noqa: B023
        async for made, _ in made_in_hub(env, one, {resources.ADDRESSES: {}}):
            await made.delete()
            await env.wait.eventually("synced", lambda: made.is_as_before(""))  # noqa: B023
    assert tally.failures == 0, str(tally)
    await env.served(one, "web", host)


async def test_edited_and_deleted_in_the_tenant(env: Environment) -> None:
    """A twin is edited and unlabelled, and is as before with the same node port; the application's own Service stays."""
    tenant = env.tenant
    host, address = await serve(env, tenant, "one")
    twin = Made(tenant.client, resources.SERVICES, await tenant.get(resources.SERVICES, "echo-nodeport"))
    own = await tenant.get(resources.SERVICES, "echo")
    for patch in (NOWHERE, UNLABEL, DISOWN, {"metadata": {"finalizers": None}}):
        spoiled = await twin.patch(patch)
        await env.wait.eventually("synced", lambda: twin.is_as_before(spoiled))  # noqa: B023
        now = await tenant.get(resources.SERVICES, "echo-nodeport")
        assert now["spec"]["ports"][0]["nodePort"] == twin.before["spec"]["ports"][0]["nodePort"]
    assert view.resource_version(await tenant.get(resources.SERVICES, "echo")) == view.resource_version(own)
    assert (await env.traffic.get(address, host)).status == 200
