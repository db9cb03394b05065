"""A stand-in for a third-party Ingress controller: serves one class by host and path, and says so in the status.

It looks at Ingresses and Services several times a second, sends each request to the ClusterIP of the Service that
the longest path names, and writes the address of its own Service into the status of what it serves. Plain HTTP only,
one connection for each request. Standard library only.

Environment:
    INGRESS_CLASS  which Ingresses are ours, default standin
    SERVICE        `namespace/name` of our own Service, whose address goes into statuses
    HTTP_PORT      default 8080
    PERIOD         seconds between looks, default 0.2
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_INGRESSES = "/apis/networking.k8s.io/v1"
_MAX_HEAD = 65536
Backend = tuple[str, int]


class Api:
    """The API server, by the pod's account."""

    def __init__(self, env: dict[str, str]) -> None:
        host, port = env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]
        self._url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self._tls = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))

    def call(self, path: str, patch: Any = None) -> Any:
        """GET, or PATCH with a JSON merge patch."""
        headers = {"Authorization": f"Bearer {(_ACCOUNT / 'token').read_text()}"}
        data = None
        if patch is not None:
            headers["Content-Type"], data = "application/merge-patch+json", json.dumps(patch).encode()
        method = "GET" if patch is None else "PATCH"
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - https only
        with urllib.request.urlopen(request, timeout=5, context=self._tls) as answer:  # noqa: S310
            return json.load(answer)


class Controller:
    """What is served now, and the loop that keeps it so."""

    def __init__(self, api: Api, env: dict[str, str]) -> None:
        self._api = api
        self._class = env.get("INGRESS_CLASS") or "standin"
        self._own = env["SERVICE"].split("/")
        self._period = float(env.get("PERIOD") or 0.2)
        #: (host or empty, path, exact?) -> backend
        self.rules: list[tuple[str, str, bool, Backend | None]] = []

    async def run(self) -> None:
        """Look again and again; an API server that does not answer changes nothing."""
        while True:
            try:
                await asyncio.to_thread(self._look)
            except (OSError, ValueError) as error:
                sys.stderr.write(f"look failed: {error}\n")
            await asyncio.sleep(self._period)

    def _look(self) -> None:
        found = self._api.call(f"{_INGRESSES}/ingresses")["items"]
        mine = [item for item in found if item["spec"].get("ingressClassName") == self._class]
        services = {
            (item["metadata"]["namespace"], item["metadata"]["name"]): item
            for item in self._api.call("/api/v1/services")["items"]
        }
        rules = [rule for item in mine for rule in _rules(item, services)]
        self.rules = sorted(rules, key=lambda rule: (-len(rule[0]), -len(rule[1]), not rule[2]))
        own = services.get((self._own[0], self._own[1]), {})
        address = own.get("status", {}).get("loadBalancer", {}).get("ingress")
        wanted = [{key: entry[key] for key in ("ip", "hostname") if entry.get(key)} for entry in address or ()]
        for item in mine:
            if wanted and item.get("status", {}).get("loadBalancer", {}).get("ingress") != wanted:
                name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
                path = f"{_INGRESSES}/namespaces/{namespace}/ingresses/{name}/status"
                with contextlib.suppress(urllib.error.HTTPError):
                    self._api.call(path, {"status": {"loadBalancer": {"ingress": wanted}}})

    def backend(self, host: str, path: str) -> tuple[int, Backend | None]:
        """Return 200 and a backend, or the status of the refusal."""
        for own, prefix, exact, backend in self.rules:
            if own not in ("", host):
                continue
            covered = path == prefix or (not exact and (path + "/").startswith(prefix.rstrip("/") + "/"))
            if covered:
                return (200, backend) if backend else (503, None)
        return 404, None


def _rules(ingress: Any, services: Any) -> list[tuple[str, str, bool, Backend | None]]:
    namespace, spec = ingress["metadata"]["namespace"], ingress["spec"]

    def reach(backend: Any) -> Backend | None:
        wanted = backend["service"]["port"]
        service = services.get((namespace, backend["service"]["name"]), {"spec": {}})
        for port in service["spec"].get("ports", ()):
            if wanted in ({"number": port["port"]}, {"name": port.get("name")}):
                return service["spec"]["clusterIP"], port["port"]
        return None

    out = []
    for rule in spec.get("rules", ()):
        for path in rule.get("http", {}).get("paths", ()):
            exact = path["pathType"] == "Exact"
            out.append((rule.get("host", ""), path.get("path", "/"), exact, reach(path["backend"])))
    if "defaultBackend" in spec:
        out.append(("", "/", False, reach(spec["defaultBackend"])))
    return out


class Proxy:
    """Takes requests one by one; bodies by Content-Length only."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a client."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, ValueError):
            while await self._request(reader, writer):
                pass
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.rstrip("\r\n").split("\r\n")
        _, target, _ = request.split(" ", 2)
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        known = {name.lower(): value for name, value in headers}
        body = await reader.readexactly(int(known.get("content-length", 0)))
        host = known.get("host", "").partition(":")[0].lower()
        status, backend = self._controller.backend(host, target.partition("?")[0])
        keep = known.get("connection", "").lower() != "close"
        if backend is None:
            answer = f"HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\nX-Served-By: standin\r\n\r\n".encode()
        else:
            client = writer.get_extra_info("peername")[0]
            answer = await self._forward(backend, request, headers, body, client)
        writer.write(answer)
        await writer.drain()
        return keep

    async def _forward(
        self, backend: Backend, request: str, headers: list[tuple[str, str]], body: bytes, client: str
    ) -> bytes:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(*backend), 5)
        except (OSError, TimeoutError):
            return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nX-Served-By: standin\r\n\r\n"
        passed = [(name, value) for name, value in headers if name.lower() not in ("connection", "x-forwarded-for")]
        passed += [("X-Forwarded-For", client), ("Connection", "close")]
        lines = "".join(f"{name}: {value}\r\n" for name, value in passed)
        writer.write(f"{request}\r\n{lines}\r\n".encode("latin-1") + body)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            known = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
            size = known.get("content-length")
            content = await (reader.read() if size is None else reader.readexactly(int(size)))
        except (asyncio.IncompleteReadError, OSError):
            return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nX-Served-By: standin\r\n\r\n"
        finally:
            writer.close()
        drop = ("connection:", "content-length:", "transfer-encoding:")
        kept = [line for line in head.rstrip("\r\n").split("\r\n") if not line.lower().startswith(drop)]
        kept += [f"Content-Length: {len(content)}", "X-Served-By: standin"]
        return "\r\n".join(kept).encode("latin-1") + b"\r\n\r\n" + content


async def main() -> None:
    """Serve until the process is told to stop."""
    env = dict(os.environ)
    controller = Controller(Api(env), env)
    server = await asyncio.start_server(
        Proxy(controller).serve, host=None, port=int(env.get("HTTP_PORT") or 8080), limit=_MAX_HEAD
    )
    async with server:
        await controller.run()


if __name__ == "__main__":
    asyncio.run(main())
