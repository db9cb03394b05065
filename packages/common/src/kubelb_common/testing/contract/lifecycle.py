"""Generations, the status subresource, finalizers, deletion, namespaces."""

# ruff: noqa: D102 - a test says what it tests by its name

from __future__ import annotations

import pytest

from kubelb_common.kube import errors
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import CONFIG_MAPS, DEPLOYMENTS, INGRESSES, NAMESPACES, NODES, SERVICES
from kubelb_common.testing.contract.support import WIDGET_CRD, WIDGETS, config_map, install, service, widget

FINALIZER = "kubelb.k8c.io/cleanup"


def _held(body: Object, *finalizers: str) -> Object:
    return {**body, "metadata": {**body["metadata"], "finalizers": list(finalizers or (FINALIZER,))}}


class LifecycleContract:
    """How an object changes and ends."""

    async def test_generation_of_a_custom_kind(self, client: KubeClient, space: str) -> None:
        await install(client, WIDGET_CRD)
        made = await client.create(WIDGETS, widget("one"), space)
        assert made["metadata"]["generation"] == 1
        for patch, expected in (
            ({"metadata": {"labels": {"a": "b"}}}, 1),
            ({"spec": {"size": 2}}, 2),
            ({"data": {"a": "b"}}, 3),
            ({"spec": {"size": 2}}, 3),
        ):
            stored = await client.patch(WIDGETS, "one", patch, space)
            assert stored["metadata"]["generation"] == expected, patch
        stored = await client.patch(WIDGETS, "one", {"status": {"a": 1}}, space, subresource="status")
        assert stored["metadata"]["generation"] == 3

    async def test_generation_cannot_be_written(self, client: KubeClient, space: str) -> None:
        await install(client, WIDGET_CRD)
        made = await client.create(WIDGETS, {**widget("one"), "metadata": {"name": "one", "generation": 7}}, space)
        assert made["metadata"]["generation"] == 1
        stored = await client.patch(WIDGETS, "one", {"metadata": {"generation": 9}}, space)
        assert stored["metadata"]["generation"] == 1

    async def test_generation_of_built_in_kinds(self, client: KubeClient, space: str) -> None:
        backend = {"service": {"name": "a", "port": {"number": 80}}}
        await client.create(INGRESSES, {"metadata": {"name": "one"}, "spec": {"defaultBackend": backend}}, space)
        stored = await client.patch(INGRESSES, "one", {"spec": {"ingressClassName": "kubelb"}}, space)
        assert stored["metadata"]["generation"] == 2
        assert "generation" not in (await client.create(CONFIG_MAPS, config_map("one"), space))["metadata"]

    async def test_status_is_a_subresource(self, client: KubeClient, space: str) -> None:
        await install(client, WIDGET_CRD)
        made = await client.create(WIDGETS, {**widget("one"), "status": {"a": 1}}, space)
        assert "status" not in made
        written = await client.replace(
            WIDGETS, {**made, "spec": {"size": 9}, "status": {"a": 2}}, space, subresource="status"
        )
        assert (written["spec"]["size"], written["status"]) == (1, {"a": 2})
        assert written["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
        ignored = await client.patch(WIDGETS, "one", {"status": {"a": 3}}, space)
        assert ignored["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
        main = await client.replace(WIDGETS, {**written, "spec": {"size": 5}, "status": {"a": 4}}, space)
        assert (main["spec"]["size"], main["status"]) == (5, {"a": 2})

    async def test_status_write_with_a_stale_version(self, client: KubeClient, space: str) -> None:
        await install(client, WIDGET_CRD)
        made = await client.create(WIDGETS, widget("one"), space)
        await client.patch(WIDGETS, "one", {"spec": {"size": 2}}, space)
        with pytest.raises(errors.Conflict):
            await client.replace(WIDGETS, {**made, "status": {"a": 1}}, space, subresource="status")

    async def test_status_write_leaves_metadata_of_a_custom_kind(self, client: KubeClient, space: str) -> None:
        await install(client, WIDGET_CRD)
        await client.create(WIDGETS, widget("one"), space)
        patch = {"metadata": {"labels": {"a": "b"}, "finalizers": [FINALIZER]}, "status": {"a": 1}}
        stored = await client.patch(WIDGETS, "one", patch, space, subresource="status")
        assert stored["status"] == {"a": 1}
        assert not stored["metadata"].get("labels")
        assert not stored["metadata"].get("finalizers")

    async def test_status_of_a_service(self, client: KubeClient, space: str) -> None:
        made = await client.create(SERVICES, service("one"), space)
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}
        await client.patch(SERVICES, "one", {"spec": {"type": "LoadBalancer"}}, space)
        stored = await client.patch(SERVICES, "one", {"status": status}, space, subresource="status")
        assert stored["status"] == status
        assert stored["spec"]["ports"][0]["port"] == made["spec"]["ports"][0]["port"]
        again = await client.patch(SERVICES, "one", {"metadata": {"labels": {"a": "b"}}, "status": {}}, space)
        assert again["status"] == status

    async def test_status_of_a_new_node_is_kept(self, client: KubeClient, space: str) -> None:
        addresses = [{"type": "InternalIP", "address": "192.0.2.7"}]
        made = await client.create(NODES, {"metadata": {"name": space}, "status": {"addresses": addresses}})
        assert made["status"]["addresses"] == addresses
        await client.delete(NODES, space)

    async def test_kind_without_status(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, config_map("one"), space)
        with pytest.raises(errors.NotFound):
            await client.patch(CONFIG_MAPS, "one", {"status": {}}, space, subresource="status")

    async def test_delete(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, config_map("one"), space)
        await client.delete(CONFIG_MAPS, "one", space)
        for missing in (client.get(CONFIG_MAPS, "one", space), client.delete(CONFIG_MAPS, "one", space)):
            with pytest.raises(errors.NotFound):
                await missing

    async def test_delete_preconditions(self, client: KubeClient, space: str) -> None:
        meta = (await client.create(CONFIG_MAPS, config_map("one"), space))["metadata"]
        with pytest.raises(errors.Conflict):
            await client.delete(CONFIG_MAPS, "one", space, uid=meta["uid"][::-1])
        with pytest.raises(errors.Conflict):
            await client.delete(CONFIG_MAPS, "one", space, resource_version="1")
        await client.delete(CONFIG_MAPS, "one", space, uid=meta["uid"], resource_version=meta["resourceVersion"])

    async def test_finalizers_hold_an_object(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, _held(config_map("one", a="1")), space)
        await client.delete(CONFIG_MAPS, "one", space)
        held = await client.get(CONFIG_MAPS, "one", space)
        assert held["metadata"]["deletionTimestamp"]
        assert held["metadata"]["deletionGracePeriodSeconds"] == 0
        await client.delete(CONFIG_MAPS, "one", space)
        assert await client.get(CONFIG_MAPS, "one", space) == held
        changed = await client.patch(CONFIG_MAPS, "one", {"data": {"a": "2"}}, space)
        assert changed["data"] == {"a": "2"}
        await client.patch(CONFIG_MAPS, "one", {"metadata": {"finalizers": None}}, space)
        with pytest.raises(errors.NotFound):
            await client.get(CONFIG_MAPS, "one", space)

    async def test_replace_removes_the_last_finalizer(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, _held(config_map("one"), FINALIZER, "kubelb.k8c.io/other"), space)
        await client.delete(CONFIG_MAPS, "one", space)
        held = await client.get(CONFIG_MAPS, "one", space)
        held["metadata"]["finalizers"].remove("kubelb.k8c.io/other")
        held = await client.replace(CONFIG_MAPS, held, space)
        held["metadata"]["finalizers"] = []
        await client.replace(CONFIG_MAPS, held, space)
        with pytest.raises(errors.NotFound):
            await client.get(CONFIG_MAPS, "one", space)

    async def test_no_new_finalizer_while_deleting(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, _held(config_map("one")), space)
        await client.delete(CONFIG_MAPS, "one", space)
        patch = {"metadata": {"finalizers": [FINALIZER, "kubelb.k8c.io/late"]}}
        with pytest.raises(errors.Invalid):
            await client.patch(CONFIG_MAPS, "one", patch, space)

    async def test_deletion_cannot_be_taken_back(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, _held(config_map("one")), space)
        await client.delete(CONFIG_MAPS, "one", space)
        stored = await client.patch(CONFIG_MAPS, "one", {"metadata": {"deletionTimestamp": None}}, space)
        assert stored["metadata"]["deletionTimestamp"]

    async def test_deletion_counts_as_a_generation(self, client: KubeClient, space: str) -> None:
        await install(client, WIDGET_CRD)
        await client.create(WIDGETS, _held(widget("one")), space)
        await client.delete(WIDGETS, "one", space)
        assert (await client.get(WIDGETS, "one", space))["metadata"]["generation"] == 2
        await client.patch(WIDGETS, "one", {"metadata": {"finalizers": None}}, space)

    async def test_bad_finalizer(self, client: KubeClient, space: str) -> None:
        with pytest.raises(errors.Invalid):
            await client.create(CONFIG_MAPS, _held(config_map("one"), "not a name"), space)

    async def test_namespace(self, client: KubeClient, space: str) -> None:
        made = await client.get(NAMESPACES, space)
        assert made["status"] == {"phase": "Active"}
        assert made["spec"] == {"finalizers": ["kubernetes"]}
        assert made["metadata"]["labels"]["kubernetes.io/metadata.name"] == space

    async def test_terminating_namespace_refuses_creation(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, _held(config_map("held")), space)
        await client.delete(NAMESPACES, space)
        namespace = await client.get(NAMESPACES, space)
        assert namespace["status"]["phase"] == "Terminating"
        assert namespace["metadata"]["deletionTimestamp"]
        with pytest.raises(errors.Forbidden, match="being terminated"):
            await client.create(CONFIG_MAPS, config_map("late"), space)
        await client.patch(CONFIG_MAPS, "held", {"data": {"a": "1"}}, space)

    async def test_owner_references_are_checked(self, client: KubeClient, space: str) -> None:
        body = config_map("one")
        body["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "two", "uid": ""}]
        with pytest.raises(errors.Invalid):
            await client.create(CONFIG_MAPS, body, space)

    async def test_deployment_selector_cannot_change(self, client: KubeClient, space: str) -> None:
        template = {"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        await client.create(DEPLOYMENTS, {"metadata": {"name": "one"}, "spec": spec}, space)
        with pytest.raises(errors.Invalid):
            await client.patch(DEPLOYMENTS, "one", {"spec": {"selector": {"matchLabels": {"c": "d"}}}}, space)
        stored = await client.patch(DEPLOYMENTS, "one", {"spec": {"replicas": 3}}, space)
        assert stored["metadata"]["generation"] == 2
