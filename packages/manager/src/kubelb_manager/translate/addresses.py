"""Which addresses a tenant may make Envoy connect to (ruling 4)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from kubelb_common.names import NODE_PORT_RANGE


class Block(NamedTuple):
    """A range of addresses of one IP version, both ends included."""

    version: int
    first: int
    last: int


def block(cidr: str) -> Block:
    """Return the block of `10.0.0.0/8`, `fd00::/8` or a single address; raises ValueError for anything else."""
    network = ipaddress.ip_network(cidr.strip(), strict=False)
    return Block(network.version, int(network.network_address), int(network.broadcast_address))


#: Never an endpoint, whoever asks for it.
ALWAYS_DENIED: tuple[Block, ...] = tuple(
    block(cidr)
    for cidr in (
        "0.0.0.0/8",  # this host
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, metadata of most clouds
        "100.100.100.200/32",  # metadata: Alibaba Cloud
        "168.63.129.16/32",  # metadata: Azure
        "192.0.0.0/24",  # protocol assignments, metadata: Oracle Cloud
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, limited broadcast
        "::/96",  # unspecified, loopback, IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64, local use
        "2001::/32",  # Teredo carries an IPv4 address
        "2002::/16",  # 6to4 carries an IPv4 address
        "fd00:ec2::254/128",  # metadata: AWS
        "fd20:ce::254/128",  # metadata: Google Cloud
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local, deprecated
        "ff00::/8",  # multicast
    )
)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What is refused and what is granted.

    Attributes:
        denied: never an endpoint; stands above every grant.
        granted: `endpoints.allowed`: may be named inline and with ports outside `node_ports`.
        node_ports: ports that need no grant.
    """

    denied: tuple[Block, ...] = ALWAYS_DENIED
    granted: tuple[Block, ...] = ()
    node_ports: range = NODE_PORT_RANGE

    def denies(self, ip: str) -> bool:
        """Whether this IP literal must not be an endpoint."""
        return _lies_in(ip, self.denied)

    def grants(self, ip: str) -> bool:
        """Whether this IP literal is covered by a grant."""
        return _lies_in(ip, self.granted)


def address_policy(
    denied: Iterable[str] = (), granted: Iterable[str] = (), node_ports: range = NODE_PORT_RANGE
) -> AddressPolicy:
    """Return a policy with these CIDRs beside the built-in ones; what is no CIDR grants and denies nothing.

    Args:
        denied: the management cluster's nodes, pods and services, other tenants' nodes.
        granted: `endpoints.allowed` of the Tenant.
        node_ports: ports that need no grant.
    """
    return AddressPolicy(ALWAYS_DENIED + _blocks(denied), _blocks(granted), node_ports)


def ip_literal(text: str) -> str | None:
    """Return an IP literal in its canonical form (RFC 5952), None for anything else; a zone (`%eth0`) is refused."""
    if len(text) > 45 or "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    # Python before 3.13 writes these in hexadecimal; the text must not depend on the interpreter.
    return str(address) if mapped is None else f"::ffff:{mapped}"


def within(ip: str, cidrs: Iterable[str]) -> bool:
    """Whether an IP literal lies in one of these CIDRs; text that is none counts for nothing."""
    return _lies_in(ip, _blocks(cidrs))


def _blocks(cidrs: Iterable[str]) -> tuple[Block, ...]:
    blocks = set()
    for cidr in cidrs:
        try:
            blocks.add(block(cidr))
        except ValueError:
            continue
    return tuple(sorted(blocks))


def _lies_in(ip: str, blocks: tuple[Block, ...]) -> bool:
    address = ipaddress.ip_address(ip)
    version, number = address.version, int(address)
    return any(v == version and first <= number <= last for v, first, last in blocks)
