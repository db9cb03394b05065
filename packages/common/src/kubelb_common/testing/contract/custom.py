"""Custom kinds: pruning, defaults, validation; and our own CRDs."""

# ruff: noqa: D102 - a test says what it tests by its name

from __future__ import annotations

import base64
from typing import Any

import pytest

from kubelb_common.api.crd_schema import crds
from kubelb_common.kube import errors
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.kube.resources import CRDS, LOAD_BALANCERS, ROUTES, SYNC_SECRETS
from kubelb_common.testing.contract.support import WIDGET_CRD, WIDGETS, install, widget


class CustomContract:
    """What a CRD's schema does to an object."""

    @pytest.fixture(autouse=True)
    async def _widgets(self, client: KubeClient) -> None:
        await install(client, WIDGET_CRD)

    @pytest.mark.parametrize("field", ["apiVersion", "kind"])
    async def test_body_must_say_its_kind(self, client: KubeClient, space: str, field: str) -> None:
        """Built-in kinds may leave both out."""
        body = widget("one")
        del body[field]
        with pytest.raises(errors.ApiError) as caught:
            await client.create(WIDGETS, body, space)
        assert caught.value.code == 400

    async def test_unknown_fields_are_pruned(self, client: KubeClient, space: str) -> None:
        body = widget("one", unknown=1, labels={"any": "thing"}, free={"any": {"thing": 1}})
        body["top"] = "level"
        made = await client.create(WIDGETS, body, space)
        assert "top" not in made
        assert made["spec"] == {
            "size": 1, "mode": "slow", "labels": {"any": "thing"}, "free": {"any": {"thing": 1}},
        }  # fmt: skip

    async def test_embedded_objects_are_kept(self, client: KubeClient, space: str) -> None:
        embedded = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"port": 1}]}}
        made = await client.create(WIDGETS, widget("one", template=embedded), space)
        assert made["spec"]["template"] == embedded

    async def test_defaults(self, client: KubeClient, space: str) -> None:
        made = await client.create(WIDGETS, widget("one", ports=[{"port": 1}, {"port": 2, "protocol": "UDP"}]), space)
        assert made["spec"]["mode"] == "slow"
        assert [port["protocol"] for port in made["spec"]["ports"]] == ["TCP", "UDP"]

    async def test_null_of_a_defaulted_field(self, client: KubeClient, space: str) -> None:
        made = await client.create(WIDGETS, widget("one", mode=None, note=None), space)
        assert made["spec"] == {"size": 1, "mode": "slow", "note": None}

    @pytest.mark.parametrize("percent", [5, "5%"])
    async def test_int_or_string(self, client: KubeClient, space: str, percent: Any) -> None:
        made = await client.create(WIDGETS, widget("one", percent=percent), space)
        assert made["spec"]["percent"] == percent

    @pytest.mark.parametrize(
        "spec",
        [
            {"size": None},
            {"size": "1"},
            {"size": 1.5},
            {"mode": "other"},
            {"ports": []},
            {"ports": [{"port": number} for number in range(1, 5)]},
            {"ports": [{"port": 0}]},
            {"ports": [{}]},
            {"ports": [{"port": 1}, {"port": 1, "protocol": "UDP"}]},
            {"labels": {"a": 1}},
            {"percent": True},
            {"free": "text"},
            {"template": {"kind": "Service"}},
        ],
    )
    async def test_invalid(self, client: KubeClient, space: str, spec: Object) -> None:
        with pytest.raises(errors.Invalid):
            await client.create(WIDGETS, widget("one", **spec), space)
        await client.create(WIDGETS, widget("one"), space)
        with pytest.raises(errors.Invalid):
            await client.replace(
                WIDGETS, {**await client.get(WIDGETS, "one", space), "spec": {"size": 1, **spec}}, space
            )

    async def test_replace_needs_a_version(self, client: KubeClient, space: str) -> None:
        await client.create(WIDGETS, widget("one"), space)
        with pytest.raises(errors.Invalid, match="resourceVersion"):
            await client.replace(WIDGETS, widget("one", mode="fast"), space)

    async def test_field_selectors_know_the_name_only(self, client: KubeClient, space: str) -> None:
        await client.create(WIDGETS, widget("one"), space)
        listed = await client.list(WIDGETS, space, field_selector="metadata.name=one")
        assert len(listed.items) == 1
        with pytest.raises(errors.ApiError) as caught:
            await client.list(WIDGETS, space, field_selector="spec.size=1")
        assert caught.value.code == 400


class ShippedContract:
    """Our own CRDs are accepted, served, and refuse what they say they refuse."""

    @pytest.mark.parametrize("crd", crds(), ids=lambda crd: crd["spec"]["names"]["kind"])
    async def test_installs(self, client: KubeClient, crd: Object) -> None:
        await install(client, crd)
        conditions = (await client.get(CRDS, crd["metadata"]["name"]))["status"]["conditions"]
        held = {condition["type"] for condition in conditions if condition["status"] == "True"}
        assert held == {"NamesAccepted", "Established"}

    async def test_route_keeps_any_source_object(self, client: KubeClient, space: str) -> None:
        await _install_all(client)
        source = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "a", "namespace": "b", "labels": {"c": "d"}},
            "spec": {"rules": [{"host": "a.test", "unknown": {"deep": [1, None]}}]},
        }
        spec = {"endpoints": [{"name": "default"}], "source": {"kubernetes": {"resource": source}}}
        made = await client.create(ROUTES, _typed(ROUTES, spec), space)
        assert made["spec"]["source"]["kubernetes"]["resource"] == source

    @pytest.mark.parametrize(
        "spec",
        [
            {},
            {"endpoints": []},
            {"endpoints": [{"ports": [{"name": "a"}]}]},
            {"endpoints": [{"ports": [{"port": 1, "protocol": "HTTP"}]}]},
            {"endpoints": [{"addresses": []}]},
        ],
    )
    async def test_load_balancer_refuses(self, client: KubeClient, space: str, spec: Object) -> None:
        await _install_all(client)
        with pytest.raises(errors.Invalid):
            await client.create(LOAD_BALANCERS, _typed(LOAD_BALANCERS, spec), space)

    @pytest.mark.parametrize("value", ["", "no base64!", "MQ", "MQ==\n"])
    async def test_sync_secret_refuses(self, client: KubeClient, space: str, value: str) -> None:
        await _install_all(client)
        body = {key: part for key, part in _typed(SYNC_SECRETS, {}).items() if key != "spec"}
        with pytest.raises(errors.Invalid):
            await client.create(SYNC_SECRETS, {**body, "data": {"a": value}}, space)
        made = await client.create(SYNC_SECRETS, {**body, "data": {"a": "MQ=="}, "stringData": {"b": ""}}, space)
        assert (made["data"], made["stringData"]) == ({"a": "MQ=="}, {"b": ""})

    async def test_sync_secret_of_the_largest_size(self, client: KubeClient, space: str) -> None:
        """A Secret of 1 MiB fits in, and is seen by a watch whole."""
        await _install_all(client)
        body = {key: part for key, part in _typed(SYNC_SECRETS, {}).items() if key != "spec"}
        value = base64.b64encode(b"x" * 1024 * 1024).decode()
        listed = await client.list(SYNC_SECRETS, space)
        await client.create(SYNC_SECRETS, {**body, "data": {"a": value}}, space)
        async with client.watch(SYNC_SECRETS, space, resource_version=listed.resource_version) as events:
            event = await anext(events)
        assert event.object["data"] == {"a": value}

    async def test_load_balancer_defaults(self, client: KubeClient, space: str) -> None:
        await _install_all(client)
        body = _typed(LOAD_BALANCERS, {"endpoints": [{"ports": [{"port": 30000}]}]})
        made = await client.create(LOAD_BALANCERS, body, space)
        assert made["spec"]["type"] == "ClusterIP"


def _typed(resource: Resource, spec: Object) -> Object:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "one"}}
    return {**body, "spec": spec}


async def _install_all(client: KubeClient) -> None:
    for crd in crds():
        await install(client, crd)
