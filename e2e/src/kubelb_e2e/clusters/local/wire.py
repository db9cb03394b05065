"""Newline JSON over unix sockets: one request per connection, one or more answers.

A request is an object with `op`; an answer has `ok` or `error`, and more. Answers to `follow` are
lines of progress until one has `ok` or `error`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from kubelb_e2e.errors import LabError

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Message, Send], Awaitable[None]]


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Listen on `path` and give each request to `handler` with a function that sends an answer."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(message: Message) -> None:
            writer.write(json.dumps(message).encode() + b"\n")
            await writer.drain()

        with contextlib.suppress(ConnectionError):
            try:
                line = await reader.readline()
                if line:
                    await handler(json.loads(line), send)
            except (ValueError, KeyError, TypeError, LabError) as error:
                await send({"error": str(error) or type(error).__name__})
            finally:
                writer.close()

    path.unlink(missing_ok=True)  # noqa: ASYNC240  # a local file, once
    return await asyncio.start_unix_server(connection, path)


def ask(path: Path, message: Message, timeout: float | None = 30.0) -> Iterator[Message]:
    """Send `message` to the socket `path` and yield the answers.

    Raises LabError when nobody listens, the connection breaks before an answer with `ok`, or an answer
    has `error`.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        try:
            client.connect(str(path))
            client.sendall(json.dumps(message).encode() + b"\n")
            with client.makefile("rb") as answers:
                for line in answers:
                    answer: Message = json.loads(line)
                    if "error" in answer:
                        raise LabError(answer["error"])
                    yield answer
                    if "ok" in answer:
                        return
        except OSError as error:
            raise LabError(f"no answer from {path}: {error}") from error
    raise LabError(f"{path}: the connection ended without an answer; see the logs beside it")


def ask_once(path: Path, message: Message, timeout: float | None = 30.0) -> Message:
    """Send `message` and return the final answer."""
    answer: Message = {}
    for answer in ask(path, message, timeout):  # noqa: B007
        pass
    return answer


async def splice(
    left: tuple[asyncio.StreamReader, asyncio.StreamWriter], right: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Copy bytes both ways until both sides have ended; closes both."""
    try:
        await asyncio.gather(_copy(left[0], right[1]), _copy(right[0], left[1]))
    finally:
        left[1].close()
        right[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
