"""A DNS server on one address, UDP and TCP, that answers from zones.

A known name without records of the asked type is NOERROR and empty (so that a resolver which asks for
AAAA first goes on to A); an unknown name is NXDOMAIN; what cannot be read is FORMERR or no answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, cast

from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, A, DNSError, DNSRecord

from kubelb_e2e.clusters.local.zone import Answer, Zone

_TTL = 1
_PORT = 53
_UDP_MAX = 1400
_ALIASES = 4


def respond(zones: Sequence[Zone], query: bytes) -> bytes | None:
    """Return the response to a query in wire format, None for what is no query."""
    try:
        request = DNSRecord.parse(query)
    except (DNSError, ValueError, IndexError):
        return None
    if request.header.qr or not request.questions:
        return None
    reply = request.reply(ra=1, aa=1)
    name = str(request.q.qname)
    for _ in range(_ALIASES):
        answer = _lookup(zones, name)
        if answer is None:
            # The target of an alias may be unknown here, the alias itself exists.
            if not reply.rr:
                reply.header.rcode = RCODE.NXDOMAIN
            break
        if answer.alias is None:
            _add_addresses(reply, name, answer, request.q.qtype)
            break
        reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(answer.alias), ttl=_TTL))
        name = answer.alias
    packed: bytes = reply.pack()
    return packed


def _lookup(zones: Sequence[Zone], name: str) -> Answer | None:
    labels = [label for label in name.lower().split(".") if label]
    return next((answer for zone in zones if (answer := zone.lookup(labels)) is not None), None)


def _add_addresses(reply: Any, name: str, answer: Answer, kind: int) -> None:
    if kind in (QTYPE.A, QTYPE.ANY):
        for address in answer.of_family(4):
            reply.add_answer(RR(name, QTYPE.A, rdata=A(address), ttl=_TTL))
    if kind in (QTYPE.AAAA, QTYPE.ANY):
        for address in answer.of_family(6):
            reply.add_answer(RR(name, QTYPE.AAAA, rdata=AAAA(address), ttl=_TTL))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zones: Sequence[Zone]) -> None:
        self._zones = zones
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not a subclass of DatagramTransport in every Python, so no isinstance.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        response = respond(self._zones, data)
        if response is None or self._transport is None:
            return
        if len(response) > _UDP_MAX:
            truncated: bytes = DNSRecord.parse(response).truncate().pack()
            response = truncated
        self._transport.sendto(response, addr)


async def serve(address: str, zones: Sequence[Zone]) -> asyncio.Server:
    """Answer on `address`, port 53, until the process ends."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                response = respond(zones, await reader.readexactly(size))
                if response is None:
                    break
                writer.write(len(response).to_bytes(2, "big") + response)
                await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: _Datagrams(zones), local_addr=(address, _PORT))
    return await asyncio.start_server(connection, address, _PORT)
