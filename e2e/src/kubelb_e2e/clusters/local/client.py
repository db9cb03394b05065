"""Interim."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from kubelb_common.kube.errors import Unreachable, from_status
from kubelb_common.kube.port import ObjectList


class C:
    def __init__(self, server, ctx):
        self.server, self.ctx = server, ctx
        self.s = aiohttp.ClientSession()

    async def _do(self, method, path, body=None, ct="application/json"):
        try:
            async with self.s.request(
                method, self.server + path, json=body, ssl=self.ctx, headers={"Content-Type": ct}
            ) as r:
                j: Any = await r.json()
                if r.status >= 300:
                    raise from_status(r.status, j.get("reason", ""), j.get("message", ""))
                return j
        except aiohttp.ClientError as e:
            raise Unreachable(str(e)) from e

    async def get(self, r, name, ns=None):
        return await self._do("GET", r.path(ns, name))

    async def list(self, r, ns=None):
        j = await self._do("GET", r.path(ns))
        return ObjectList(j["items"], j["metadata"]["resourceVersion"])

    async def create(self, r, o, ns=None):
        return await self._do("POST", r.path(ns), o)

    async def patch(self, r, name, p, ns=None, *, subresource=None):
        return await self._do("PATCH", r.path(ns, name, subresource), p, "application/merge-patch+json")


async def connect(kubeconfig: Path):
    import base64
    import tempfile

    c = yaml.safe_load(kubeconfig.read_text())
    ctx = ssl.create_default_context(
        cadata=base64.b64decode(c["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    )
    with tempfile.NamedTemporaryFile() as f:
        u = c["users"][0]["user"]
        f.write(base64.b64decode(u["client-certificate-data"]) + base64.b64decode(u["client-key-data"]))
        f.flush()
        ctx.load_cert_chain(f.name)
    return C(c["clusters"][0]["cluster"]["server"], ctx)
