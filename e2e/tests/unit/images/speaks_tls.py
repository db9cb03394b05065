"""Runs inside an image: an API server that wants a client certificate, and our client, which has one.

Prints the name of what was listed, in which the server put whom it saw.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from kubelb_common import pki
from kubelb_common.kube import kubeconfig, resources
from kubelb_common.kube.aio import AioClient

NOW, DAY = datetime.now(UTC), timedelta(days=1)
AUTHORITY = pki.create_ca("authority", now=NOW)


def server(folder: Path) -> ssl.SSLContext:
    """A server's TLS, which lets in whom the authority named."""
    own = pki.issue(AUTHORITY, "server", now=NOW, lifetime=DAY, ips=["127.0.0.1"])
    for name, text in {"s.crt": own.cert_pem, "s.key": own.key_pem, "ca.crt": AUTHORITY.cert_pem}.items():
        (folder / name).write_bytes(text)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "s.crt", folder / "s.key")
    return context


def client(folder: Path, port: int) -> kubeconfig.Source:
    """Credentials from a kubeconfig with a client certificate."""
    own = pki.issue(AUTHORITY, "tenant", now=NOW, lifetime=DAY)
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": _base64(AUTHORITY.cert_pem)}
    user = {"client-certificate-data": _base64(own.cert_pem), "client-key-data": _base64(own.key_pem)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": cluster}],
        "users": [{"name": "a", "user": user}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    path = folder / "config"
    path.write_text(json.dumps(config))
    return kubeconfig.load(path)


def _base64(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


async def answer(request: web.Request) -> web.Response:
    """List one namespace, called after the client."""
    peer = request.transport.get_extra_info("peercert")
    name = dict(pair for group in peer["subject"] for pair in group)["commonName"]
    items = [{"metadata": {"name": f"asked-by-{name}", "uid": "1", "resourceVersion": "1"}}]
    return web.json_response({"kind": "NamespaceList", "metadata": {"resourceVersion": "1"}, "items": items})


async def main(folder: Path) -> None:
    """Ask once."""
    application = web.Application()
    application.router.add_get("/api/v1/namespaces", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server(folder)).start()
    ours = AioClient(client(folder, runner.addresses[0][1]))
    found = await ours.list(resources.NAMESPACES)
    sys.stdout.write(found.items[0]["metadata"]["name"])
    await ours.close()
    await runner.cleanup()


with tempfile.TemporaryDirectory() as temporary:
    asyncio.run(main(Path(temporary)))
