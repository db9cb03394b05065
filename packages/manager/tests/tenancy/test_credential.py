"""The generated credential on a real API server, made by a manager with its own real rights."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from token_controller import issuing

from kubelb_common import names
from kubelb_common.api.crd_schema import crds
from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import ApiError, Forbidden, Invalid, KubeError, NotFound, Unauthorized
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.objects import view
from kubelb_common.runtime.clock import SystemClock
from kubelb_common.testing.envtest import RealApi
from kubelb_manager.app import Manager
from kubelb_manager.controllers.xds_identity import XdsIdentity
from kubelb_manager.desired import tenant as desired
from kubelb_manager.options import Bind, Options

MANIFEST = Path(__file__).parents[2] / "deploy" / "manager.yaml"
ACCOUNT = "system:serviceaccount:kubelb:kubelb-manager"
HOME = "tenant-a"
REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False)
PLACES = {
    "ClusterRole": resources.CLUSTER_ROLES,
    "ClusterRoleBinding": resources.CLUSTER_ROLE_BINDINGS,
    "Role": resources.ROLES,
    "RoleBinding": resources.ROLE_BINDINGS,
    "ServiceAccount": resources.SERVICE_ACCOUNTS,
    "Namespace": resources.NAMESPACES,
}
OWN = (resources.ROUTES, resources.LOAD_BALANCERS, resources.ADDRESSES, resources.SYNC_SECRETS)
OTHERS = tuple(
    resource
    for resource in vars(resources).values()
    if isinstance(resource, Resource) and resource not in (*OWN, resources.TENANT_STATES)
)
SECONDS = 30.0


async def until(what: Callable[[], Awaitable[Any]], text: str, seconds: float = SECONDS) -> Any:
    """Wait for a named condition; errors of the API server count as not yet."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                with suppress(KubeError):
                    if found := await what():
                        return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {text}") from None


@dataclass
class World:
    """A management cluster with a manager and a token controller, and one tenant."""

    api: RealApi
    admin: AioClient
    agent: AioClient
    kubeconfig: Path

    async def tenant(self) -> Object:
        return await self.admin.get(resources.TENANTS, "a")

    async def carry(self) -> None:
        """Bring the generated kubeconfig to the tenant, as its admin does."""
        secret = await self.admin.get(resources.SECRETS, names.CCM_KUBECONFIG_SECRET, HOME)
        fresh = self.kubeconfig.with_suffix(".new")
        fresh.write_bytes(base64.b64decode(secret["data"][names.CCM_KUBECONFIG_KEY]))
        fresh.replace(self.kubeconfig)


async def prepare(admin: AioClient, api: RealApi) -> None:
    for crd in crds():
        await admin.create(resources.CRDS, crd)
    for obj in yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")):
        if obj["kind"] in PLACES:
            await admin.create(PLACES[obj["kind"]], obj, obj["metadata"].get("namespace"))
    here = urlsplit(api.url)
    piece = {
        "metadata": {"name": "kubernetes"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [{"name": "https", "port": here.port}],
    }
    await admin.create(resources.ENDPOINT_SLICES, piece, "default")
    info = {"clusters": [{"name": "", "cluster": {"server": api.url}}]}
    cluster_info = {"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": json.dumps(info)}}
    await admin.create(resources.CONFIG_MAPS, cluster_info, "kube-public")
    await until(lambda: admin.list(resources.TENANTS), "the CRDs are served")


@asynccontextmanager
async def managing(api: RealApi) -> AsyncIterator[None]:
    client = AioClient(kubeconfig.load(api.user(ACCOUNT)))
    identity = XdsIdentity(client, namespace="kubelb", clock=SystemClock())
    await identity.load()
    manager = Manager(client, Options(xds=Bind("127.0.0.1", 0)), identity, SystemClock())
    task = asyncio.create_task(manager.supervisor.run())
    try:
        yield
    finally:
        manager.supervisor.stop()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


@pytest.fixture
async def world(own_real_api: RealApi, tmp_path: Path) -> AsyncIterator[World]:
    api = own_real_api
    admin = AioClient(kubeconfig.load(api.kubeconfig))
    await prepare(admin, api)
    async with managing(api), issuing(admin, api.folder):
        body = {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": {"name": "a"}, "spec": {}}
        await admin.create(resources.TENANTS, body)

        async def ready() -> bool:
            return view.text(await admin.get(resources.TENANTS, "a"), "status", "phase") == "Ready"

        await until(ready, "the tenant is ready")
        world = World(api, admin, admin, tmp_path / "kubelb")
        await world.carry()
        world.agent = AioClient(kubeconfig.load(world.kubeconfig))
        yield world
        await world.agent.close()
    await admin.close()


# Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tenant-b", "b" * 57, "b.c"])
async def test_the_api_server_refuses_names_that_cannot_be(world: World, name: str) -> None:
    body: Object = {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": {"name": name}, "spec": {}}
    with pytest.raises(Invalid, match="a Tenant's name is a DNS label of at most 56 characters"):
        await world.admin.create(resources.TENANTS, body)
    longest = {**body, "metadata": {"name": "b" * 56}}
    await world.admin.create(resources.TENANTS, longest)
    await until(lambda: world.admin.get(resources.NAMESPACES, "tenant-" + "b" * 56), "the longest name has a namespace")


# Rights -------------------------------------------------------------------------------------------


async def granted(agent: KubeClient, namespace: str) -> set[tuple[str, str]]:
    """Return (verb, `plural.group`) of every rule that the API server knows for the credential."""
    review = await agent.create(REVIEWS, {**_typed(REVIEWS), "metadata": {}, "spec": {"namespace": namespace}})
    status = review["status"]
    assert not status.get("incomplete"), status
    found = set()
    for rule in status["resourceRules"]:
        assert not rule.get("resourceNames")
        for group in rule["apiGroups"]:
            found |= {(verb, f"{name}.{group}") for name in rule["resources"] for verb in rule["verbs"]}
    for rule in status["nonResourceRules"]:
        assert set(rule["verbs"]) <= {"get"}, f"every account may read versions and health: {rule}"
    return found


def of_role(**form: bool) -> set[tuple[str, str]]:
    rules = desired.role({"metadata": {"name": "a", "uid": "u"}}, **form)["rules"]
    return {
        (verb, f"{resource}.{names.GROUP}")
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


#: What Kubernetes gives to every account: to ask what it may do.
EVERYBODY = {
    ("create", "selfsubjectaccessreviews.authorization.k8s.io"),
    ("create", "selfsubjectrulesreviews.authorization.k8s.io"),
    ("create", "selfsubjectreviews.authentication.k8s.io"),
}


def _typed(resource: Resource) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind}


async def allowed(agent: KubeClient, resource: Resource, namespace: str | None, sub: str | None = None) -> set[str]:
    """Try every verb for real; what is refused otherwise than by 403 was allowed."""
    body = {**_typed(resource), "metadata": {"name": "probe"}}
    where = namespace if resource.namespaced else None

    async def watch() -> None:
        async with agent.watch(resource, where, resource_version="0", timeout_seconds=1):
            return

    asked: dict[str, Callable[[], Awaitable[Any]]] = {
        "patch": lambda: agent.patch(resource, "probe", {"metadata": {"labels": {"a": "b"}}}, where, subresource=sub),
        "update": lambda: agent.replace(resource, body, where, subresource=sub),
    }
    if sub:
        asked["get"] = lambda: agent.get_subresource(resource, "probe", sub, where)
    else:
        asked |= {
            "get": lambda: agent.get(resource, "probe", where),
            "list": lambda: agent.list(resource, where),
            "watch": watch,
            "create": lambda: agent.create(resource, body, where),
            "delete": lambda: agent.delete(resource, "probe", where),
        }
    found = set()
    for verb, ask in asked.items():
        try:
            await ask()
        except Forbidden:
            continue
        except ApiError as error:
            if error.code in {401, 429} or error.code >= 500:
                raise
        found.add(verb)
    return found


ALL = {"get", "list", "watch", "create", "patch", "update", "delete"}
READ = {"get", "list", "watch"}


async def matrix(world: World, own: set[str], status: set[str]) -> None:
    for resource in OWN:
        assert await allowed(world.agent, resource, HOME) == own, resource
        assert await allowed(world.agent, resource, HOME, "status") == status, resource
        assert await allowed(world.agent, resource, "default") == set(), resource
        assert await allowed(world.agent, resource, None) <= {"create"} - own, "all namespaces at once"
    assert await allowed(world.agent, resources.TENANT_STATES, HOME) == READ
    assert await allowed(world.agent, resources.TENANT_STATES, HOME, "status") == {"get"}
    for resource in OTHERS:
        for namespace in (HOME, "default", "kubelb"):
            assert await allowed(world.agent, resource, namespace) == set(), f"{resource} in {namespace}"


async def test_exactly_these_rights_and_no_others(world: World) -> None:
    assert await granted(world.agent, HOME) == of_role() | EVERYBODY
    for namespace in ("default", "kubelb", "kube-system"):
        assert await granted(world.agent, namespace) == EVERYBODY
    await matrix(world, ALL, {"get"})


async def test_an_agent_of_the_original_writes_status_while_the_switch_is_on(world: World) -> None:
    await world.admin.patch(resources.TENANTS, "a", {"spec": {"legacyAgent": True}})

    async def is_granted() -> bool:
        return await granted(world.agent, HOME) == of_role(legacy_agent=True) | EVERYBODY

    await until(is_granted, "the original's rights")
    assert await allowed(world.agent, resources.ROUTES, HOME, "status") == {"get", "patch", "update"}


async def test_while_it_is_removed_it_may_only_let_go(world: World) -> None:
    await world.admin.delete(resources.TENANTS, "a")

    async def is_reduced() -> bool:
        return await granted(world.agent, HOME) == of_role(terminating=True) | EVERYBODY

    await until(is_reduced, "the rights are reduced")
    state = await world.agent.get(resources.TENANT_STATES, names.TENANT_STATE_NAME, HOME)
    assert state["status"]["phase"] == "Terminating"
    await matrix(world, READ | {"patch", "update"}, {"get"})


# Rotation -----------------------------------------------------------------------------------------


async def test_rotation_fails_no_request_and_really_ends_the_old_token(world: World) -> None:
    """An agent asks without a pause while its token is rotated and its kubeconfig replaced under it."""
    old = AioClient(kubeconfig.load(_copy(world.kubeconfig)))
    failures: list[str] = []
    requests = 0
    over = asyncio.Event()

    async def ask() -> None:
        nonlocal requests
        while not over.is_set():
            try:
                await world.agent.list(resources.ROUTES, HOME)
                requests += 1
            except KubeError as error:
                failures.append(str(error))
            await asyncio.sleep(0.005)

    asking = asyncio.create_task(ask())
    notes = {names.ANNOTATION_TOKEN_GENERATION: "2", names.ANNOTATION_TOKEN_OVERLAP: "8s"}
    await world.admin.patch(resources.TENANTS, "a", {"metadata": {"annotations": notes}})

    async def rotated() -> bool:
        credential = view.get(await world.tenant(), "status", "credential", default={})
        return bool(credential["generation"] == 2 and credential["previousUntil"])

    await until(rotated, "the kubeconfig carries the new token")
    await old.list(resources.ROUTES, HOME)  # both are accepted
    await world.carry()

    async def is_refused() -> bool:
        try:
            await old.list(resources.ROUTES, HOME)
        except Unauthorized:
            return True
        return False

    await until(is_refused, "the old token is refused", seconds=60)
    over.set()
    await asking
    assert (failures, requests > 100) == ([], True), f"{requests} requests"
    with pytest.raises(NotFound):
        await world.admin.get(resources.SECRETS, "kubelb-ccm", HOME)
    assert "previousUntil" not in (await world.tenant())["status"]["credential"]
    await old.close()


def _copy(path: Path) -> Path:
    copy = path.with_suffix(".old")
    copy.write_bytes(path.read_bytes())
    return copy
