"""A rotation goes on from wherever it was interrupted, and the kubeconfig always carries a token that works."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from kubelb_common import names
from kubelb_common.api import crd_schema
from kubelb_common.kube import resources
from kubelb_common.kube.errors import KubeError, ServerError
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.testing.fake_kube import FakeKube
from kubelb_manager.controllers import credential
from kubelb_manager.controllers.hub import Hub
from kubelb_manager.gather.stores import Informers

HOME = "tenant-a"
MINUTE = timedelta(minutes=1)


class Time:
    """A clock that stands until it is put forward."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class World:
    """A tenant's namespace, a token controller, and what works as a credential."""

    def __init__(self) -> None:
        self.clock = Time()
        self.kube = FakeKube(namespaces=[HOME], crds=crd_schema.crds(), now=self.clock.now)
        api = {
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.1"]}],
            "ports": [{"name": "https", "port": 6443}],
        }
        self.kube.put(resources.ENDPOINT_SLICES, api)
        self.hub = Hub(self.kube, Informers.of(self.kube, namespace="kubelb", clock=self.clock), self.clock)
        self.tenant: Object = {
            "apiVersion": names.API_VERSION,
            "kind": "Tenant",
            "metadata": {"name": "a", "uid": "uid-a", "annotations": {}},
        }

    def ask(self, generation: str, overlap: str = "10m") -> None:
        self.tenant["metadata"]["annotations"] = {
            names.ANNOTATION_TOKEN_GENERATION: generation,
            names.ANNOTATION_TOKEN_OVERLAP: overlap,
        }

    def issue(self) -> None:
        """The token controller's work."""
        for secret in self.secrets():
            if not view.get(secret, "data", "token"):
                token = base64.b64encode(f"token-of-{view.uid(secret)}".encode()).decode()
                data = {"token": token, "ca.crt": base64.b64encode(b"ca").decode()}
                self.kube.store.patch(resources.SECRETS, view.name(secret), {"data": data}, HOME, subresource=None)

    async def step(self) -> credential.Issued | None:
        self.issue()
        return await credential.ensure(self.hub, self.tenant, self.clock)

    async def settled(self) -> credential.Issued:
        while (issued := await self.step()) is None:
            pass
        return issued

    def secrets(self) -> list[Object]:
        found = self.kube.objects(resources.SECRETS, HOME)
        return [secret for secret in found if secret.get("type") == "kubernetes.io/service-account-token"]

    def names(self) -> list[str]:
        return sorted(view.name(secret) for secret in self.secrets())

    def in_use(self) -> str:
        """Return the Secret whose token the kubeconfig carries; it must exist once there is a kubeconfig."""
        kubeconfig = self.kube.peek(resources.SECRETS, names.CCM_KUBECONFIG_SECRET, HOME)
        if kubeconfig is None:
            return ""
        config = json.loads(base64.b64decode(kubeconfig["data"][names.CCM_KUBECONFIG_KEY]))
        token = base64.b64encode(config["users"][0]["user"]["token"].encode()).decode()
        carried = [view.name(secret) for secret in self.secrets() if view.get(secret, "data", "token") == token]
        assert carried, "the kubeconfig's token is of no Secret: the tenant has no credential"
        return carried[0]


@pytest.fixture
def world() -> World:
    return World()


async def test_first_token_is_named_as_the_originals(world: World) -> None:
    issued = await world.settled()
    assert world.names() == ["kubelb-ccm"]
    assert issued.status == {"generation": 1, "secret": "kubelb-ccm", "issuedAt": "2026-01-01T00:00:00Z"}
    assert issued.again is None


async def test_old_and_new_overlap_then_the_old_one_goes(world: World) -> None:
    await world.settled()
    world.ask("2", "4m")
    issued = await world.settled()
    assert world.in_use() == "kubelb-ccm-2"
    assert world.names() == ["kubelb-ccm", "kubelb-ccm-2"]
    assert issued.again == 240
    assert issued.status["previousUntil"] == "2026-01-01T00:04:00Z"
    world.clock.time += 4 * MINUTE - timedelta(seconds=1)
    await world.settled()
    assert world.names() == ["kubelb-ccm", "kubelb-ccm-2"], "the overlap is kept to its end"
    world.clock.time += timedelta(seconds=1)
    issued = await world.settled()
    assert world.names() == ["kubelb-ccm-2"]
    assert "previousUntil" not in issued.status
    assert issued.again is None


async def test_a_token_that_is_not_issued_yet_changes_nothing(world: World) -> None:
    await world.settled()
    world.ask("2", "1s")
    assert await credential.ensure(world.hub, world.tenant, world.clock) is None
    world.clock.time += MINUTE
    assert await credential.ensure(world.hub, world.tenant, world.clock) is None
    assert world.in_use() == "kubelb-ccm"
    assert world.names() == ["kubelb-ccm", "kubelb-ccm-2"]


async def test_a_shorter_overlap_ends_sooner_and_a_longer_one_no_later(world: World) -> None:
    await world.settled()
    world.ask("2", "10m")
    assert (await world.settled()).again == 600
    world.ask("2", "1h")
    assert (await world.settled()).again == 600
    world.ask("2", "1m")
    assert (await world.settled()).again == 60
    world.ask("2", "0s")
    await world.settled()
    assert world.names() == ["kubelb-ccm-2"]


async def test_two_rotations_in_one_overlap(world: World) -> None:
    await world.settled()
    world.ask("2", "10m")
    await world.settled()
    world.clock.time += MINUTE
    world.ask("3", "10m")
    issued = await world.settled()
    assert world.in_use() == "kubelb-ccm-3"
    assert (issued.again, issued.status["previousUntil"]) == (540, "2026-01-01T00:11:00Z")


async def test_going_back_revives_a_generation_for_good(world: World) -> None:
    await world.settled()
    world.ask("2")
    await world.settled()
    world.ask("1")
    await world.settled()
    world.clock.time += 60 * MINUTE
    await world.settled()
    assert world.in_use() == "kubelb-ccm"
    assert world.names() == ["kubelb-ccm"]


@pytest.mark.parametrize("wish", [None, "", "0", "-1", "two", "²", "9" * 30])
async def test_without_a_usable_wish_the_newest_stays(world: World, wish: str | None) -> None:
    await world.settled()
    world.ask("2", "1m")
    await world.settled()
    world.clock.time += 2 * MINUTE
    await world.settled()
    world.tenant["metadata"]["annotations"] = {} if wish is None else {names.ANNOTATION_TOKEN_GENERATION: wish}
    issued = await world.settled()
    assert issued.status["generation"] == 2
    assert world.names() == ["kubelb-ccm-2"]


async def test_secrets_of_others_are_left_alone(world: World) -> None:
    theirs = {
        "metadata": {
            "name": "kubelb-ccm-7",
            "namespace": HOME,
            "annotations": {"kubernetes.io/service-account.name": "kubelb-ccm"},
        },
        "type": "kubernetes.io/service-account-token",
    }
    world.kube.put(resources.SECRETS, theirs)
    world.ask("2", "0s")
    await world.settled()
    assert world.names() == ["kubelb-ccm-2", "kubelb-ccm-7"]


async def test_a_settled_credential_is_not_written_again(world: World) -> None:
    await world.settled()
    world.ask("2", "10m")
    await world.settled()
    world.kube.forget_requests()
    world.clock.time += 5 * MINUTE
    await world.settled()
    assert world.kube.writes() == []


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer-lost"])
@pytest.mark.parametrize("number", range(1, 6))
async def test_a_crash_at_any_write_is_gone_on_from(world: World, number: int, lost: bool) -> None:
    """The manager dies at the n-th write of a rotation; the next one ends it, with a credential at each moment."""
    await world.settled()
    world.ask("2", "1m")
    writes = 0

    def count(verb: str, resource: str, _namespace: str | None, _name: str) -> bool:
        nonlocal writes
        writes += verb in ("create", "update", "patch", "delete")
        if writes == number and verb not in ("get", "list"):
            world.kube.fail_next(verb, resource, ServerError(500, "", "crash"), after=lost)
        return True

    admin, world.kube = world.kube, world.kube.as_client(count)
    crashes = 0
    for _ in range(8):
        world.hub = Hub(world.kube, world.hub.informers, world.clock)  # a new manager remembers nothing
        try:
            await world.step()
        except KubeError:
            crashes += 1
        world.in_use()
        world.clock.time += timedelta(seconds=20)
    assert crashes == (number <= 4), "a rotation is four writes: new Secret, kubeconfig, end of the old, deletion"
    world.kube = admin
    assert world.in_use() == "kubelb-ccm-2"
    assert world.names() == ["kubelb-ccm-2"]
