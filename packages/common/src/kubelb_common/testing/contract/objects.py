"""Create, read, replace, patch and list, as every kind has them."""

# ruff: noqa: D102 - a test says what it tests by its name

from __future__ import annotations

import asyncio
import base64
from datetime import datetime
from typing import Any

import pytest

from kubelb_common.kube import errors
from kubelb_common.kube.port import KubeClient, Resource
from kubelb_common.kube.resources import CONFIG_MAPS, EVENTS, INGRESSES, LEASES, SECRETS, SERVICE_ACCOUNTS
from kubelb_common.testing.contract.support import config_map


class ObjectContract:
    """One object at a time, and lists."""

    async def test_server_version(self, client: KubeClient) -> None:
        assert (await client.server_version())["major"] == "1"

    async def test_create_fills_metadata(self, client: KubeClient, space: str) -> None:
        made = await client.create(CONFIG_MAPS, config_map("one", a="1"), space)
        meta = made["metadata"]
        assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")
        assert (meta["name"], meta["namespace"]) == ("one", space)
        assert len(meta["uid"]) == 36
        assert int(meta["resourceVersion"]) > 0
        assert datetime.fromisoformat(meta["creationTimestamp"]).tzinfo
        assert await client.get(CONFIG_MAPS, "one", space) == made

    async def test_uid_of_a_recreated_object_differs(self, client: KubeClient, space: str) -> None:
        first = await client.create(CONFIG_MAPS, config_map("one"), space)
        await client.delete(CONFIG_MAPS, "one", space)
        second = await client.create(CONFIG_MAPS, config_map("one"), space)
        assert first["metadata"]["uid"] != second["metadata"]["uid"]
        assert int(first["metadata"]["resourceVersion"]) < int(second["metadata"]["resourceVersion"])

    async def test_create_twice(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, config_map("one"), space)
        with pytest.raises(errors.AlreadyExists) as caught:
            await client.create(CONFIG_MAPS, config_map("one"), space)
        assert (caught.value.code, caught.value.reason) == (409, "AlreadyExists")

    async def test_generate_name(self, client: KubeClient, space: str) -> None:
        body = {"metadata": {"generateName": "many-"}}
        names = {(await client.create(CONFIG_MAPS, body, space))["metadata"]["name"] for _ in range(3)}
        assert len(names) == 3
        assert all(name.startswith("many-") and len(name) == 10 for name in names)

    async def test_create_without_a_name(self, client: KubeClient, space: str) -> None:
        with pytest.raises(errors.Invalid):
            await client.create(CONFIG_MAPS, {"metadata": {}}, space)

    async def test_create_in_a_missing_namespace(self, client: KubeClient) -> None:
        with pytest.raises(errors.NotFound, match="namespaces"):
            await client.create(CONFIG_MAPS, config_map("one"), "nowhere")

    async def test_create_with_a_resource_version(self, client: KubeClient, space: str) -> None:
        body = config_map("one")
        body["metadata"]["resourceVersion"] = "7"
        with pytest.raises(errors.ApiError):
            await client.create(CONFIG_MAPS, body, space)

    async def test_body_of_another_kind(self, client: KubeClient, space: str) -> None:
        body = {**config_map("one"), "apiVersion": "v1", "kind": "Secret"}
        with pytest.raises(errors.ApiError) as caught:
            await client.create(CONFIG_MAPS, body, space)
        assert caught.value.code == 400

    async def test_body_of_another_namespace(self, client: KubeClient, space: str) -> None:
        body = config_map("one")
        body["metadata"]["namespace"] = "default"
        with pytest.raises(errors.ApiError) as caught:
            await client.create(CONFIG_MAPS, body, space)
        assert caught.value.code == 400

    async def test_get_missing(self, client: KubeClient, space: str) -> None:
        with pytest.raises(errors.NotFound) as caught:
            await client.get(CONFIG_MAPS, "none", space)
        assert caught.value.reason == "NotFound"
        assert '"none"' in caught.value.message

    async def test_missing_kind(self, client: KubeClient, space: str) -> None:
        gadgets = Resource("none.kubelb.k8c.io", "v1", "gadgets", "Gadget")
        with pytest.raises(errors.NotFound):
            await client.list(gadgets)
        with pytest.raises(errors.NotFound):
            await client.create(gadgets, {"metadata": {"name": "one"}}, space)

    @pytest.mark.parametrize("name", ["Upper", "under_score", "-dash", "x" * 254])
    async def test_bad_names(self, client: KubeClient, space: str, name: str) -> None:
        with pytest.raises(errors.Invalid):
            await client.create(CONFIG_MAPS, config_map(name), space)

    @pytest.mark.parametrize("labels", [{"a": "x" * 64}, {"a": "b c"}, {"-a": "b"}, {"x" * 64: "b"}])
    async def test_bad_labels(self, client: KubeClient, space: str, labels: dict[str, str]) -> None:
        with pytest.raises(errors.Invalid):
            await client.create(CONFIG_MAPS, config_map("one", labels=labels), space)

    async def test_replace(self, client: KubeClient, space: str) -> None:
        made = await client.create(CONFIG_MAPS, config_map("one", a="1", b="2"), space)
        made["data"] = {"a": "3"}
        stored = await client.replace(CONFIG_MAPS, made, space)
        assert stored["data"] == {"a": "3"}
        assert stored["metadata"]["uid"] == made["metadata"]["uid"]
        assert int(stored["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])

    async def test_replace_stale(self, client: KubeClient, space: str) -> None:
        made = await client.create(CONFIG_MAPS, config_map("one", a="1"), space)
        await client.replace(CONFIG_MAPS, {**made, "data": {"a": "2"}}, space)
        with pytest.raises(errors.Conflict) as caught:
            await client.replace(CONFIG_MAPS, {**made, "data": {"a": "3"}}, space)
        assert not isinstance(caught.value, errors.AlreadyExists)
        assert (await client.get(CONFIG_MAPS, "one", space))["data"] == {"a": "2"}

    async def test_replace_that_changes_nothing_is_no_write(self, client: KubeClient, space: str) -> None:
        made = await client.create(CONFIG_MAPS, config_map("one", a="1"), space)
        assert await client.replace(CONFIG_MAPS, made, space) == made
        patched = await client.patch(CONFIG_MAPS, "one", {"data": {"a": "1"}}, space)
        assert patched["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    async def test_replace_missing(self, client: KubeClient, space: str) -> None:
        with pytest.raises(errors.NotFound):
            await client.replace(CONFIG_MAPS, config_map("none"), space)

    async def test_replace_without_version(self, client: KubeClient, space: str) -> None:
        made = await client.create(CONFIG_MAPS, config_map("one", a="1"), space)
        stored = await client.replace(CONFIG_MAPS, config_map("one", a="2"), space)
        for field in ("uid", "creationTimestamp"):
            assert stored["metadata"][field] == made["metadata"][field]

    async def test_replace_of_a_lease_needs_a_version(self, client: KubeClient, space: str) -> None:
        await client.create(LEASES, {"metadata": {"name": "one"}, "spec": {"holderIdentity": "a"}}, space)
        with pytest.raises(errors.Invalid):
            await client.replace(LEASES, {"metadata": {"name": "one"}, "spec": {"holderIdentity": "b"}}, space)

    async def test_replace_of_another_uid(self, client: KubeClient, space: str) -> None:
        made = await client.create(CONFIG_MAPS, config_map("one"), space)
        body = config_map("one", a="1")
        body["metadata"]["uid"] = made["metadata"]["uid"][::-1]
        with pytest.raises(errors.Conflict):
            await client.replace(CONFIG_MAPS, body, space)

    async def test_merge_patch(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, config_map("one", labels={"x": "1", "y": "2"}, a="1", b="2"), space)
        patch: dict[str, Any] = {"metadata": {"labels": {"x": None, "z": "3"}}, "data": {"a": None, "c": "3"}}
        stored = await client.patch(CONFIG_MAPS, "one", patch, space)
        assert stored["data"] == {"b": "2", "c": "3"}
        assert stored["metadata"]["labels"] == {"y": "2", "z": "3"}

    async def test_merge_patch_replaces_lists(self, client: KubeClient, space: str) -> None:
        rule = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": _backend("a")}]}}
        body = {
            "metadata": {"name": "one"},
            "spec": {"rules": [{"host": "a.test", **rule}, {"host": "b.test", **rule}]},
        }
        await client.create(INGRESSES, body, space)
        stored = await client.patch(INGRESSES, "one", {"spec": {"rules": [{"host": "c.test", **rule}]}}, space)
        assert [rule["host"] for rule in stored["spec"]["rules"]] == ["c.test"]

    async def test_merge_patch_with_a_version(self, client: KubeClient, space: str) -> None:
        made = await client.create(CONFIG_MAPS, config_map("one", a="1"), space)
        version = {"resourceVersion": made["metadata"]["resourceVersion"]}
        await client.patch(CONFIG_MAPS, "one", {"metadata": version, "data": {"a": "2"}}, space)
        with pytest.raises(errors.Conflict):
            await client.patch(CONFIG_MAPS, "one", {"metadata": version, "data": {"a": "3"}}, space)
        await client.patch(CONFIG_MAPS, "one", {"data": {"a": "4"}}, space)

    async def test_merge_patch_missing(self, client: KubeClient, space: str) -> None:
        with pytest.raises(errors.NotFound):
            await client.patch(CONFIG_MAPS, "none", {"data": {}}, space)

    async def test_answers_are_copies(self, client: KubeClient, space: str) -> None:
        body = config_map("one", a="1")
        made = await client.create(CONFIG_MAPS, body, space)
        body["data"]["a"] = made["data"]["a"] = "corrupt"
        (await client.list(CONFIG_MAPS, space)).items[0]["data"]["a"] = "corrupt"
        assert (await client.get(CONFIG_MAPS, "one", space))["data"] == {"a": "1"}

    async def test_list(self, client: KubeClient, space: str) -> None:
        empty = await client.list(CONFIG_MAPS, space)
        assert empty.items == []
        for name in ("b", "a", "c"):
            await client.create(CONFIG_MAPS, config_map(name), space)
        listed = await client.list(CONFIG_MAPS, space)
        assert [obj["metadata"]["name"] for obj in listed.items] == ["a", "b", "c"]
        assert {(obj["apiVersion"], obj["kind"]) for obj in listed.items} == {("v1", "ConfigMap")}
        assert int(listed.resource_version) > int(empty.resource_version)
        everywhere = await client.list(CONFIG_MAPS)
        found = [obj["metadata"]["name"] for obj in everywhere.items if obj["metadata"]["namespace"] == space]
        assert found == ["a", "b", "c"]

    async def test_list_of_many_pages(self, client: KubeClient, space: str) -> None:
        names = [f"item-{number:04}" for number in range(1010)]
        for start in range(0, len(names), 50):
            chunk = names[start : start + 50]
            await asyncio.gather(*(client.create(CONFIG_MAPS, config_map(name), space) for name in chunk))
        listed = await client.list(CONFIG_MAPS, space)
        assert [obj["metadata"]["name"] for obj in listed.items] == names
        newest = max(int(obj["metadata"]["resourceVersion"]) for obj in listed.items)
        assert int(listed.resource_version) >= newest

    @pytest.mark.parametrize(
        ("selector", "expected"),
        [
            ("tier=web", ["a"]),
            ("tier==web", ["a"]),
            ("tier!=web", ["b", "c"]),
            ("tier", ["a", "b"]),
            ("!tier", ["c"]),
            ("tier in (web,db)", ["a", "b"]),
            ("tier notin (web)", ["b", "c"]),
            ("tier,zone=1", ["b"]),
            ("tier in (web, db),zone", ["b"]),
        ],
    )
    async def test_label_selectors(self, client: KubeClient, space: str, selector: str, expected: list[str]) -> None:
        for name, labels in (("a", {"tier": "web"}), ("b", {"tier": "db", "zone": "1"}), ("c", {"other": "x"})):
            await client.create(CONFIG_MAPS, config_map(name, labels=labels), space)
        listed = await client.list(CONFIG_MAPS, space, label_selector=selector)
        assert [obj["metadata"]["name"] for obj in listed.items] == expected

    async def test_field_selectors(self, client: KubeClient, space: str) -> None:
        for name in ("a", "b"):
            await client.create(CONFIG_MAPS, config_map(name), space)
        one = await client.list(CONFIG_MAPS, space, field_selector="metadata.name=b")
        assert [obj["metadata"]["name"] for obj in one.items] == ["b"]
        other = await client.list(CONFIG_MAPS, field_selector=f"metadata.namespace={space},metadata.name!=b")
        assert [obj["metadata"]["name"] for obj in other.items] == ["a"]
        with pytest.raises(errors.ApiError) as caught:
            await client.list(CONFIG_MAPS, space, field_selector="data.x=1")
        assert caught.value.code == 400

    async def test_secrets(self, client: KubeClient, space: str) -> None:
        body = {"metadata": {"name": "one"}, "stringData": {"a": "text"}}
        made = await client.create(SECRETS, body, space)
        assert (made["data"], made["type"]) == ({"a": "dGV4dA=="}, "Opaque")
        assert "stringData" not in made
        with pytest.raises(errors.Invalid):
            await client.replace(SECRETS, {**made, "type": "kubernetes.io/basic-auth"}, space)
        listed = await client.list(SECRETS, space, field_selector="type=Opaque")
        assert len(listed.items) == 1
        with pytest.raises(errors.Invalid):
            await client.create(SECRETS, {"metadata": {"name": "two"}, "type": "kubernetes.io/tls"}, space)

    async def test_immutable_secrets(self, client: KubeClient, space: str) -> None:
        body = {"metadata": {"name": "one"}, "data": {"a": "MQ=="}, "immutable": True}
        made = await client.create(SECRETS, body, space)
        for change in ({"data": {"a": "Mg=="}}, {"immutable": False}, {"immutable": None}):
            with pytest.raises(errors.Invalid):
                await client.patch(SECRETS, "one", change, space)
        labelled = await client.patch(SECRETS, "one", {"metadata": {"labels": {"a": "b"}}}, space)
        assert labelled["data"] == made["data"]

    @pytest.mark.parametrize(
        "content",
        [
            {"data": {"a b": ""}},
            {"data": {"..": ""}},
            {"type": "kubernetes.io/basic-auth"},
            {"stringData": {"a": "x" * (1024 * 1024 + 1)}},
        ],
        ids=["key", "dots", "basic-auth", "large"],
    )
    async def test_bad_secrets(self, client: KubeClient, space: str, content: dict[str, Any]) -> None:
        with pytest.raises(errors.Invalid):
            await client.create(SECRETS, {"metadata": {"name": "one"}, **content}, space)

    async def test_a_secret_of_the_largest_size(self, client: KubeClient, space: str) -> None:
        text = "x" * (1024 * 1024)
        made = await client.create(SECRETS, {"metadata": {"name": "one"}, "stringData": {"a": text}}, space)
        assert len(base64.b64decode(made["data"]["a"])) == len(text)
        lines = "eHg=\n"  # as `base64` writes it
        await client.create(SECRETS, {"metadata": {"name": "two"}, "data": {"a": lines}}, space)
        assert (await client.get(SECRETS, "two", space))["data"] == {"a": "eHg="}

    async def test_events(self, client: KubeClient, space: str) -> None:
        involved = {"apiVersion": "v1", "kind": "ConfigMap", "name": "one", "namespace": space}
        body = {
            "metadata": {"generateName": "one."},
            "involvedObject": involved,
            "reason": "Tested",
            "message": "a text",
            "type": "Normal",
            "source": {"component": "test"},
            "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:00:00Z",
            "count": 1,
        }
        await client.create(EVENTS, body, space)
        listed = await client.list(EVENTS, space, field_selector="involvedObject.name=one,reason=Tested")
        assert [event["message"] for event in listed.items] == ["a text"]

    async def test_token_request(self, client: KubeClient, space: str) -> None:
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "agent"}}, space)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        answer = await client.create_subresource(SERVICE_ACCOUNTS, "agent", "token", body, space)
        assert answer["status"]["token"]
        assert datetime.fromisoformat(answer["status"]["expirationTimestamp"]).tzinfo
        reviews = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
        review = await client.create(reviews, {"metadata": {}, "spec": {"token": answer["status"]["token"]}})
        assert review["status"]["user"]["username"] == f"system:serviceaccount:{space}:agent"
        with pytest.raises(errors.NotFound):
            await client.create_subresource(SERVICE_ACCOUNTS, "none", "token", body, space)

    async def test_forbidden_for_another_user(self, client: KubeClient, reader: KubeClient, space: str) -> None:
        """`reader` may get, list and watch ConfigMaps in `space`, nothing else."""
        await client.create(CONFIG_MAPS, config_map("one", a="1"), space)
        assert (await reader.get(CONFIG_MAPS, "one", space))["data"] == {"a": "1"}
        assert len((await reader.list(CONFIG_MAPS, space)).items) == 1
        for refused in (
            reader.list(CONFIG_MAPS),
            reader.list(SECRETS, space),
            reader.create(CONFIG_MAPS, config_map("two"), space),
            reader.patch(CONFIG_MAPS, "one", {"data": {"a": "2"}}, space),
            reader.delete(CONFIG_MAPS, "one", space),
        ):
            with pytest.raises(errors.Forbidden):
                await refused
        assert (await client.get(CONFIG_MAPS, "one", space))["data"] == {"a": "1"}


def _backend(name: str) -> dict[str, Any]:
    return {"service": {"name": name, "port": {"number": 80}}}
