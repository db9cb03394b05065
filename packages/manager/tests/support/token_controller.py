"""What kube-controller-manager does for Secrets of type service-account-token, beside a bare API server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from kubelb_common.kube import resources
from kubelb_common.kube.errors import KubeError
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.objects import view

TYPE = "kubernetes.io/service-account-token"
_PREFIX = "kubernetes.io/serviceaccount/"


def _part(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def signed(key_file: Path, account: Object, secret: Object) -> str:
    """Return the token that the API server accepts while the Secret holds it."""
    claims = {
        "iss": "kubernetes/serviceaccount",
        "sub": f"system:serviceaccount:{view.namespace(account)}:{view.name(account)}",
        f"{_PREFIX}namespace": view.namespace(account),
        f"{_PREFIX}secret.name": view.name(secret),
        f"{_PREFIX}service-account.name": view.name(account),
        f"{_PREFIX}service-account.uid": view.uid(account),
    }
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    body = _part(json.dumps({"alg": "ES256"}).encode()) + b"." + _part(json.dumps(claims).encode())
    r, s = decode_dss_signature(key.sign(body, ec.ECDSA(hashes.SHA256())))
    return (body + b"." + _part(r.to_bytes(32, "big") + s.to_bytes(32, "big"))).decode()


@asynccontextmanager
async def issuing(admin: KubeClient, folder: Path) -> AsyncIterator[None]:
    """Fill in tokens while the block runs; `folder` holds the API server's `sa.key` and `ca.crt`."""

    async def run() -> None:
        while True:
            with suppress(KubeError):
                for secret in (await admin.list(resources.SECRETS, None, field_selector=f"type={TYPE}")).items:
                    if not view.get(secret, "data", "token"):
                        await fill(secret)
            await asyncio.sleep(0.05)

    async def fill(secret: Object) -> None:
        home = view.namespace(secret)
        name = view.annotations(secret)["kubernetes.io/service-account.name"]
        account = await admin.get(resources.SERVICE_ACCOUNTS, name, home)
        token = signed(folder / "sa.key", account, secret).encode()
        data = {"token": token, "ca.crt": (folder / "ca.crt").read_bytes()}
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        await admin.patch(resources.SECRETS, view.name(secret), {"data": encoded}, home)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
