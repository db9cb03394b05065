"""One engine with its programs and API servers, in a thread of its own.

The programs ask over a socket of loopback. A client that is killed while its call is under way takes the call with
it, as the real kind does.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from standins import kubectl, programs
from standins.apis import Api
from standins.engine import Answer, Engine
from standins.kind import Kind

T = TypeVar("T")
_PATIENCE = 60.0


class Stage:
    """What a test sees of it.

    Attributes:
        bin: folder with `docker` and `kind`.
        engine: Docker's objects; may be looked at and changed at any time.
        kind: what kind does.
    """

    def __init__(self, folder: Path) -> None:
        self.bin = folder
        self.engine = Engine()
        self.kind = Kind(self.engine)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: set[asyncio.Task[None]] = set()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the stage's thread, as requests to an API server, and return its result."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def reached(self, cluster: str) -> None:
        """Wait until a held cluster's start is half-way."""
        self.do(_bounded(self.kind.reached[cluster].wait()))

    def release(self, cluster: str) -> None:
        """Let the start of a held cluster go on."""
        self.do(_set(self.kind.held.pop(cluster)))

    def api(self, cluster: str) -> Api:
        """Return the API server of a kind cluster."""
        return self.kind.apis[cluster]

    async def quiet(self) -> None:
        """Wait until no call is under way."""
        while self._calls:
            await asyncio.gather(*self._calls, return_exceptions=True)

    async def serve(self, ready: Future[None], end: asyncio.Event) -> None:
        """Answer until `end` is set."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        programs.write(self.bin, server.sockets[0].getsockname()[1])
        ready.set_result(None)
        await end.wait()
        server.close()
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self.kind.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                program, variable, text, count = [await _word(reader) for _ in range(4)]
                words = [await _word(reader) for _ in range(int(count))]
                if (answer := await self._until_gone(reader, self._answer(program, variable, text, words))) is not None:
                    lines = [*(f"1{line}" for line in answer.out.splitlines())]
                    lines += [*(f"2{line}" for line in answer.err.splitlines()), f"0{answer.code}"]
                    writer.write("\n".join([*lines, ""]).encode())
                    await writer.drain()
        finally:
            self._calls.discard(task)
            writer.close()

    async def _until_gone(self, reader: asyncio.StreamReader, work: Coroutine[Any, Any, Answer]) -> Answer | None:
        call, gone = asyncio.ensure_future(work), asyncio.ensure_future(reader.read())
        try:
            await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
            return call.result() if call.done() else None
        finally:
            call.cancel()
            gone.cancel()
            await asyncio.gather(call, gone, return_exceptions=True)

    async def _answer(self, program: str, variable: str, text: str, words: list[str]) -> Answer:
        if program == "quick-kubectl":
            return await kubectl.answer(self.kind.apis.values(), variable, text, *words)
        self.engine.calls.append((program, *words))
        if program == "docker":
            return await self.engine.docker(*words)
        return await self.kind.kind(variable, text, *words)


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Run a stage whose programs are in `folder`."""
    found = Stage(folder)
    ready: Future[None] = Future()
    end = asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(found.serve(ready, end)), daemon=True)
    thread.start()
    ready.result(_PATIENCE)
    try:
        yield found
    finally:
        found.do(_set(end))
        thread.join(_PATIENCE)


def until(check: Callable[[], object], missing: str) -> None:
    """Wait until `check` returns something true; what another process does can be seen by looking only."""
    deadline = time.monotonic() + _PATIENCE
    while not check():
        assert time.monotonic() < deadline, missing
        time.sleep(0.01)


async def _word(reader: asyncio.StreamReader) -> str:
    return (await reader.readuntil(b"\0"))[:-1].decode()


async def _set(event: asyncio.Event) -> None:
    event.set()


async def _bounded(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(_PATIENCE / 2):
        return await work
