"""Ask a container whether it is well: HTTP, TCP, a command, gRPC health. Also runs lifecycle hooks.

A check never raises for what a container does: whatever goes wrong is the text of a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiohttp

from kubelb_common.objects import view
from kubelb_common.objects.view import Object
from kubelb_e2e.clusters.local.agent import process
from kubelb_e2e.clusters.local.agent.process import Process

_GRPC_SERVING = b"\x08\x01"
_HOOK_LIMIT = 3600.0


def port_number(value: Any, container: Object) -> int:
    """Return a port given as number or as the name of one of the container's ports; raises ValueError."""
    if isinstance(value, int):
        return value
    for port in view.objects(container, "ports"):
        if port.get("name") == value:
            return int(port["containerPort"])
    return int(value)


async def failure(check: Object, container: Object, running: Process, pod_ip: str, limit: float) -> str | None:
    """Return None if the check passes within `limit` seconds, else what is wrong."""
    try:
        async with asyncio.timeout(limit):
            if "httpGet" in check:
                return await _http(check["httpGet"], container, pod_ip)
            if "tcpSocket" in check:
                return await _tcp(check["tcpSocket"], container, pod_ip)
            if "grpc" in check:
                return await _grpc(check["grpc"], pod_ip)
            if "exec" in check:
                code, output = await process.enter(running, list(check["exec"]["command"]), limit=limit)
                return None if code == 0 else f"exit code {code}: {output.strip()[:300]}"
            if "sleep" in check:
                await asyncio.sleep(float(check["sleep"]["seconds"]))
    except TimeoutError:
        return f"no answer within {limit:g} s"
    except (OSError, ValueError, aiohttp.ClientError) as error:
        return f"{type(error).__name__}: {error}"
    return None


async def hook_failure(hook: Object, container: Object, running: Process, pod_ip: str) -> str | None:
    """Run a lifecycle hook to its end (the caller bounds it); return what went wrong."""
    return await failure(hook, container, running, pod_ip, _HOOK_LIMIT)


async def _http(action: Object, container: Object, pod_ip: str) -> str | None:
    scheme = str(action.get("scheme") or "HTTP").lower()
    host, port = action.get("host") or pod_ip, port_number(action["port"], container)
    host = f"[{host}]" if ":" in host else host
    path = str(action.get("path") or "/")
    headers = [(item["name"], item.get("value", "")) for item in view.objects(action, "httpHeaders")]
    headers.append(("User-Agent", "kube-probe/1.36"))
    url = f"{scheme}://{host}:{port}{path if path.startswith('/') else '/' + path}"
    connector = aiohttp.TCPConnector(force_close=True, ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        return None if 200 <= response.status < 400 else f"HTTP status {response.status}"


async def _tcp(action: Object, container: Object, pod_ip: str) -> str | None:
    _, writer = await asyncio.open_connection(action.get("host") or pod_ip, port_number(action["port"], container))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return None


async def _grpc(action: Object, pod_ip: str) -> str | None:
    import grpc.aio  # noqa: PLC0415 - 20 MB that few pods need

    service = str(action.get("service") or "").encode()
    request = b"\x0a" + bytes([len(service)]) + service if service else b""
    async with grpc.aio.insecure_channel(f"{pod_ip}:{int(action['port'])}") as channel:
        try:
            answer = await channel.unary_unary("/grpc.health.v1.Health/Check")(request)
        except grpc.aio.AioRpcError as error:
            return f"gRPC {error.code().name}: {error.details()}"
    return None if answer.startswith(_GRPC_SERVING) else "not serving"
