"""Watches: order, resume, selectors, bookmarks, the end of history."""

# ruff: noqa: D102 - a test says what it tests by its name

from __future__ import annotations

import asyncio

import pytest

from kubelb_common.kube import errors
from kubelb_common.kube.port import KubeClient
from kubelb_common.kube.resources import CONFIG_MAPS
from kubelb_common.testing.contract.support import PATIENCE, WIDGET_CRD, WIDGETS, config_map, install, take


class WatchContract:
    """What a watch shows."""

    async def test_events_in_order(self, client: KubeClient, space: str) -> None:
        start = (await client.list(CONFIG_MAPS, space)).resource_version
        async with client.watch(CONFIG_MAPS, space, resource_version=start) as events:
            await client.create(CONFIG_MAPS, config_map("a"), space)
            await client.create(CONFIG_MAPS, config_map("b"), space)
            await client.patch(CONFIG_MAPS, "a", {"data": {"x": "1"}}, space)
            await client.patch(CONFIG_MAPS, "a", {"data": {"x": "1"}}, space)  # no write, no event
            await client.delete(CONFIG_MAPS, "b", space)
            expected = [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
            assert await take(events, 4) == expected

    async def test_events_carry_whole_objects(self, client: KubeClient, space: str) -> None:
        start = (await client.list(CONFIG_MAPS, space)).resource_version
        async with client.watch(CONFIG_MAPS, space, resource_version=start) as events, asyncio.timeout(PATIENCE):
            made = await client.create(CONFIG_MAPS, config_map("a", x="1"), space)
            added = await anext(events)
            assert added.object == made
            await client.delete(CONFIG_MAPS, "a", space)
            deleted = await anext(events)
            assert deleted.object["data"] == {"x": "1"}
            version = int(deleted.object["metadata"]["resourceVersion"])
            assert version > int(made["metadata"]["resourceVersion"])

    async def test_resume(self, client: KubeClient, space: str) -> None:
        await client.create(CONFIG_MAPS, config_map("a"), space)
        middle = await client.create(CONFIG_MAPS, config_map("b"), space)
        await client.create(CONFIG_MAPS, config_map("c"), space)
        await client.delete(CONFIG_MAPS, "a", space)
        version = middle["metadata"]["resourceVersion"]
        for _ in range(2):
            async with client.watch(CONFIG_MAPS, space, resource_version=version) as events:
                assert await take(events, 2) == [("ADDED", "c"), ("DELETED", "a")]

    async def test_resume_after_a_deletion(self, client: KubeClient, space: str) -> None:
        start = (await client.create(CONFIG_MAPS, config_map("a"), space))["metadata"]["resourceVersion"]
        await client.delete(CONFIG_MAPS, "a", space)
        async with client.watch(CONFIG_MAPS, space, resource_version=start) as events, asyncio.timeout(PATIENCE):
            deleted = await anext(events)
        await client.create(CONFIG_MAPS, config_map("b"), space)
        version = deleted.object["metadata"]["resourceVersion"]
        async with client.watch(CONFIG_MAPS, space, resource_version=version) as events:
            assert await take(events, 1) == [("ADDED", "b")]

    async def test_finalizer_life_as_events(self, client: KubeClient, space: str) -> None:
        body = config_map("a")
        body["metadata"]["finalizers"] = ["kubelb.k8c.io/cleanup"]
        start = (await client.create(CONFIG_MAPS, body, space))["metadata"]["resourceVersion"]
        await client.delete(CONFIG_MAPS, "a", space)
        await client.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, space)
        async with client.watch(CONFIG_MAPS, space, resource_version=start) as events, asyncio.timeout(PATIENCE):
            marked, gone = await anext(events), await anext(events)
        assert (marked.type, gone.type) == ("MODIFIED", "DELETED")
        assert marked.object["metadata"]["deletionTimestamp"]
        assert gone.object["metadata"]["deletionTimestamp"]

    async def test_from_the_beginning(self, client: KubeClient, space: str) -> None:
        for name in ("a", "b"):
            await client.create(CONFIG_MAPS, config_map(name), space)
        async with client.watch(CONFIG_MAPS, space, resource_version="0") as events:
            assert sorted(await take(events, 2)) == [("ADDED", "a"), ("ADDED", "b")]
            await client.create(CONFIG_MAPS, config_map("c"), space)
            assert await take(events, 1) == [("ADDED", "c")]

    async def test_entering_and_leaving_a_selector(self, client: KubeClient, space: str) -> None:
        start = (await client.list(CONFIG_MAPS, space)).resource_version
        watch = client.watch(CONFIG_MAPS, space, resource_version=start, label_selector="on=yes")
        async with watch as events:
            await client.create(CONFIG_MAPS, config_map("a"), space)
            for label in ("yes", None, "yes"):
                await client.patch(CONFIG_MAPS, "a", {"metadata": {"labels": {"on": label}}}, space)
            await client.patch(CONFIG_MAPS, "a", {"data": {"x": "1"}}, space)
            await client.delete(CONFIG_MAPS, "a", space)
            kinds = [kind for kind, _ in await take(events, 5)]
        assert kinds == ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]

    async def test_field_selector(self, client: KubeClient, space: str) -> None:
        start = (await client.list(CONFIG_MAPS, space)).resource_version
        watch = client.watch(CONFIG_MAPS, space, resource_version=start, field_selector="metadata.name=b")
        async with watch as events:
            for name in ("a", "b", "c"):
                await client.create(CONFIG_MAPS, config_map(name), space)
            await client.delete(CONFIG_MAPS, "b", space)
            assert await take(events, 2) == [("ADDED", "b"), ("DELETED", "b")]

    async def test_all_namespaces(self, client: KubeClient, space: str) -> None:
        start = (await client.list(CONFIG_MAPS)).resource_version
        watch = client.watch(CONFIG_MAPS, resource_version=start, field_selector=f"metadata.namespace={space}")
        async with watch as events:
            await client.create(CONFIG_MAPS, config_map("a"), space)
            assert await take(events, 1) == [("ADDED", "a")]

    async def test_bookmark_and_end_at_the_timeout(self, client: KubeClient, space: str) -> None:
        """Bookmarks are promised only after a change of the kind, even one that this watch does not select."""
        start = (await client.list(CONFIG_MAPS, space)).resource_version
        watch = client.watch(
            CONFIG_MAPS, space, resource_version=start, field_selector="metadata.name=none", timeout_seconds=6
        )
        async with watch as events, asyncio.timeout(PATIENCE):
            other = await client.create(CONFIG_MAPS, config_map("other"), space)
            seen = [event async for event in events]
        assert {event.type for event in seen} == {"BOOKMARK"}
        version = seen[-1].object["metadata"]["resourceVersion"]
        assert int(version) >= int(other["metadata"]["resourceVersion"])
        await client.create(CONFIG_MAPS, config_map("later"), space)
        async with client.watch(CONFIG_MAPS, space, resource_version=version) as events:
            assert await take(events, 1) == [("ADDED", "later")]

    async def test_forgotten_version(self, client: KubeClient, space: str) -> None:
        """A kind that was installed later has no history before it."""
        await install(client, WIDGET_CRD)
        with pytest.raises(errors.Gone):
            async with client.watch(WIDGETS, space, resource_version="1") as events, asyncio.timeout(PATIENCE):
                await anext(events)

    async def test_nonsense_version(self, client: KubeClient, space: str) -> None:
        with pytest.raises(errors.ApiError):
            async with client.watch(CONFIG_MAPS, space, resource_version="soon") as events, asyncio.timeout(PATIENCE):
                await anext(events)

    async def test_two_watches_see_the_same(self, client: KubeClient, space: str) -> None:
        start = (await client.list(CONFIG_MAPS, space)).resource_version
        first = client.watch(CONFIG_MAPS, space, resource_version=start)
        second = client.watch(CONFIG_MAPS, space, resource_version=start)
        async with first as one, second as two:
            for number in range(20):
                await client.create(CONFIG_MAPS, config_map(f"item-{number:02}"), space)
            assert await take(one, 20) == await take(two, 20)
