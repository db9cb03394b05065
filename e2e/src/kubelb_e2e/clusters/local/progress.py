"""What the lab is doing, told to everyone who follows, from the beginning."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from kubelb_e2e.clusters.local import wire


@dataclass(frozen=True, slots=True)
class _Step:
    seconds: float
    text: str
    kind: str = "progress"


class Progress:
    """A list of steps that grows; the last one says `ok` or `error`."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._steps: list[_Step] = []
        self._more = asyncio.Condition()
        self._followers = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def say(self, text: str) -> None:
        """Tell of a step that is done."""
        self._add("progress", text)

    def note(self, text: str) -> None:
        """Write to the lab's log only."""
        print(f"[{time.monotonic() - self.began:6.1f}s] {text}", flush=True)

    def finish(self, text: str) -> None:
        """Tell that all is done."""
        self._add("ok", text)

    async def fail(self, text: str) -> None:
        """Tell that it failed, and wait a moment until every follower has heard it."""
        self._add("error", text)
        deadline = time.monotonic() + 2
        while self._followers and time.monotonic() < deadline:  # noqa: ASYNC110  # once, bounded
            await asyncio.sleep(0.01)

    async def follow(self, send: wire.Send) -> None:
        """Send all steps, those to come too, until the last."""
        self._followers += 1
        try:
            position = 0
            while True:
                async with self._more:
                    await self._more.wait_for(lambda at=position: len(self._steps) > at)  # type: ignore[misc]
                step = self._steps[position]
                position += 1
                if step.kind == "progress":
                    await send({"progress": step.text, "seconds": step.seconds})
                    continue
                await send({step.kind: step.text, "seconds": step.seconds})
                return
        finally:
            self._followers -= 1

    def _add(self, kind: str, text: str) -> None:
        seconds = round(time.monotonic() - self.began, 1)
        self._steps.append(_Step(seconds, text, kind))
        print(f"[{seconds:6.1f}s] {text}", flush=True)
        task = asyncio.get_running_loop().create_task(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wake(self) -> None:
        async with self._more:
            self._more.notify_all()
