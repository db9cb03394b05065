"""Wait for one LoadBalancer: until it is ready, or until it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kubelb_ccm.kubelb.session import Session
from kubelb_ccm.kubelb.standing import State, standing
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_common.runtime.informer import Change, Informer
from kubelb_common.runtime.keys import ObjectKey


@dataclass(frozen=True, slots=True)
class Waited:
    """How a wait ended: the object as it was last seen (None: it is gone), and whether in time."""

    obj: Object | None
    in_time: bool


async def until_ready(session: Session, name: str, seconds: float) -> Waited:
    """Follow a LoadBalancer until it is ready, refused or gone, or the time is over; each step is told."""
    told = ""
    last: Object | None = None
    try:
        async with asyncio.timeout(seconds), _following(session, name) as states:
            async for last in states:
                if last is None:
                    break
                found = standing(last)
                text = f"{name}: {found.state.lower()}: {found.text}"
                if text != told:
                    session.say(text)
                    told = text
                if found.state is not State.WAITING:
                    break
    except TimeoutError:
        return Waited(last, in_time=False)
    return Waited(last, in_time=True)


async def until_gone(session: Session, name: str, uid: str) -> None:
    """Wait until exactly this object is gone."""
    async with _following(session, name) as states:
        async for obj in states:
            if obj is None or obj["metadata"]["uid"] != uid:
                return


@asynccontextmanager
async def _following(session: Session, name: str) -> AsyncIterator[AsyncIterator[Object | None]]:
    """Follow one object: what it is now, and then each change; None while there is none."""
    informer = Informer(
        session.client,
        resources.LOAD_BALANCERS,
        namespace=session.namespace,
        field_selector=f"metadata.name={name}",
    )
    changes: asyncio.Queue[Change | None] = asyncio.Queue()
    informer.on_change(changes.put_nowait)
    task = asyncio.create_task(informer.run(), name=f"follow {name}")

    async def states() -> AsyncIterator[Object | None]:
        await informer.wait_synced()
        while True:
            while not changes.empty():
                changes.get_nowait()  # the store has the newest of them
            yield informer.store.get_key(ObjectKey(session.namespace, name))
            changes.put_nowait(await changes.get())

    try:
        yield states()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
