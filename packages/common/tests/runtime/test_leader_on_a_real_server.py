"""The Lease as a real API server keeps it: its times, its preconditions, its creation by an update."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

from kubelb_common.kube import kubeconfig
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.resources import LEASES
from kubelb_common.runtime.leader import Elector, Timing


class Terms:
    def __init__(self) -> None:
        self.begun = self.ended = 0

    async def begin(self) -> None:
        self.begun += 1

    async def end(self, _grace: float) -> None:
        self.ended += 1


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - state of a server
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


async def test_two_candidates_a_deleted_lease_and_a_release(real_api) -> None:
    client = AioClient(kubeconfig.load(real_api.kubeconfig))
    name = f"lease-{uuid.uuid4().hex[:8]}"
    timing = Timing(lease=5.0, deadline=4.0, period=0.3, margin=0.5)
    electors = [
        Elector(
            client,
            namespace="default",
            name=name,
            identity=each,
            annotations=lambda each=each: {"a": each},
            timing=timing,
        )
        for each in ("one", "two")
    ]
    terms = [Terms(), Terms()]
    following = [asyncio.create_task(each.informer.run()) for each in electors]
    running = [asyncio.create_task(each.run(term)) for each, term in zip(electors, terms, strict=True)]
    try:
        await until(lambda: sum(each.leads for each in electors) == 1, "one leads")
        index = 0 if electors[0].leads else 1
        before = await client.get(LEASES, name, "default")
        await client.delete(LEASES, name, "default")
        lease = None
        while lease is None or lease["metadata"]["uid"] == before["metadata"]["uid"]:
            try:
                lease = await client.get(LEASES, name, "default")
            except NotFound:
                await asyncio.sleep(0.02)
        assert lease["spec"]["holderIdentity"] == electors[index].identity
        assert terms[index].ended == 0
        await electors[index].stop()
        await running[index]
        await until(lambda: electors[1 - index].leads, "the other takes over")
        lease = await client.get(LEASES, name, "default")
        assert lease["metadata"]["annotations"] == {"a": electors[1 - index].identity}
    finally:
        for task in (*running, *following):
            task.cancel()
        await asyncio.gather(*running, *following, return_exceptions=True)
        await client.close()
