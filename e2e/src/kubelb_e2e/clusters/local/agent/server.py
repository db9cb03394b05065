"""Port 10250 of the node: logs for `kubectl logs`, `/healthz`; exec, attach and port-forward are refused clearly.

Clients authenticate by a certificate of the cluster's CA, as the API server does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web

from kubelb_e2e.clusters.local.model import NodeSpec

PORT = 10250
_POLL_SECONDS = 0.2
_CHUNK = 65536

#: Returns the log files of a container, oldest run first, and whether its last run is not over; None if unknown.
FindLogs = Callable[[str, str, str], tuple[list[Path], Callable[[], bool]] | None]


async def serve(spec: NodeSpec, find: FindLogs) -> None:
    """Serve until cancelled; raises OSError if the port is taken."""
    app = web.Application()
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", lambda request: _logs(request, find))
    for kind in ("exec", "attach", "run", "portForward"):
        app.router.add_route("*", f"/{kind}/{{tail:.*}}", _refuse)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(spec.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(spec.serving_certificate, spec.serving_key)
    try:
        await web.TCPSite(runner, spec.address, PORT, ssl_context=context).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _refuse(request: web.Request) -> web.Response:
    what = request.path.split("/")[1]
    return web.Response(
        status=501,
        text=f"{what} is not supported here: pods of the local testbed are processes; "
        "use `kubectl logs`, or `kubelb-e2e run -- COMMAND` for a command inside the lab\n",
    )


async def _logs(request: web.Request, find: FindLogs) -> web.StreamResponse:
    info, query = request.match_info, request.query
    found = find(info["namespace"], info["pod"], info["container"])
    if found is None:
        return web.Response(status=404, text=f"no container {info['container']} of {info['pod']} on this node\n")
    files, alive = found
    previous = query.get("previous") == "true"
    position = -2 if previous else -1
    if len(files) < -position:
        return web.Response(status=404 if previous else 200, text="no previous run\n" if previous else "")
    path = files[position]
    follow = query.get("follow") == "true" and not previous
    offset = tail_offset(path, int(query["tailLines"])) if query.get("tailLines") else 0
    left = int(query["limitBytes"]) if query.get("limitBytes") else None
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    async for chunk in _read(path, offset, alive if follow else lambda: False):
        await response.write(chunk if left is None else chunk[:left])
        if left is not None:
            left -= len(chunk)
            if left <= 0:
                break
    await response.write_eof()
    return response


async def _read(path: Path, offset: int, alive: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield a file from `offset`, and what is added to it while `alive()`."""
    with path.open("rb") as file:
        file.seek(offset)
        while True:
            living = alive()  # asked before reading, so that the last words are not missed
            if chunk := file.read(_CHUNK):
                yield chunk
            elif living:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return


def tail_offset(path: Path, lines: int) -> int:
    """Return where the last `lines` lines of a file begin."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        if lines <= 0:
            return end
        position, found, skip = end, 0, True
        while position > 0:
            step = min(_CHUNK, position)
            position -= step
            file.seek(position)
            block = file.read(step)
            index = len(block) - 1 if not (skip and block.endswith(b"\n")) else len(block) - 2
            skip = False
            while (index := block.rfind(b"\n", 0, index + 1)) >= 0:
                found += 1
                if found == lines:
                    return position + index + 1
                index -= 1
        return 0
