"""Who the real Envoy takes for its client (ruling 9): read from its access log."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from kubelb_manager.delivery.cache import Cache
from kubelb_manager.ir.model import ClientAddress, Forward

pytestmark = pytest.mark.real_envoy

LOOPBACK = (("127.0.0.0", 8),)
FORGED = "X-Forwarded-For: 9.9.9.9, 192.0.2.7\r\nX-Envoy-Max-Retries: 9\r\n"


def clients(lab) -> list[str]:
    lines = (lab.folder / lab.POD / "stdout.log").read_text().splitlines()
    return [json.loads(line)["client"].rpartition(":")[0] for line in lines if line.startswith("{")]


async def serve(lab, client: ClientAddress):
    """Return an upstream, and the port of an Envoy before it that tells its client so."""
    up = await lab.upstream("a")
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port = lab.free_port()
    fleet = lab.fleet(port, [lab.table("h.example.com", Forward("a"))], [lab.cluster("a", up.port)])
    fleet = dataclasses.replace(fleet, http=(dataclasses.replace(fleet.http[0], client=client),))
    generation = lab.publish(cache, fleet)
    await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    return up, port


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (ClientAddress(), "127.0.0.1"),
        (ClientAddress(trusted_hops=1), "192.0.2.7"),
        (ClientAddress(trusted_hops=2), "9.9.9.9"),
        (ClientAddress(trusted_cidrs=(("10.0.0.0", 8),)), "127.0.0.1"),
        (ClientAddress(trusted_cidrs=LOOPBACK), "192.0.2.7"),
        (ClientAddress(trusted_cidrs=(*LOOPBACK, ("192.0.2.0", 24))), "9.9.9.9"),
    ],
    ids=str,
)
async def test_forwarded_for(lab, client: ClientAddress, expected: str) -> None:
    up, port = await serve(lab, client)
    assert (await lab.request(port, "h.example.com", extra=FORGED)).status == 200
    await lab.until(lambda: clients(lab), "a line in the access log")
    assert clients(lab) == [expected]
    text = up.seen[-1].lower()
    assert "x-envoy-max-retries" not in text
    assert "x-forwarded-for: 9.9.9.9, 192.0.2.7,127.0.0.1" in text or "x-forwarded-for: 9.9.9.9, 192.0.2.7," in text


async def test_proxy_protocol(lab) -> None:
    _, port = await serve(lab, ClientAddress(proxy_protocol=True))
    assert (await lab.request(port, "h.example.com")).status == 0, "without the header nothing is answered"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PROXY TCP4 192.0.2.9 192.0.2.1 4711 80\r\nGET / HTTP/1.1\r\nHost: h.example.com\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    await lab.until(lambda: clients(lab), "a line in the access log")
    assert clients(lab) == ["192.0.2.9"]
