"""Where a fleet's Envoys may connect to, as blocks: the same rules as for single addresses, for a NetworkPolicy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from kubelb_manager.desired.network_policy import Egress, Grant
from kubelb_manager.translate.addresses import AddressPolicy, Block

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def egress(node_addresses: Iterable[str], policies: Iterable[AddressPolicy]) -> Egress:
    """Return what a fleet may reach.

    Args:
        node_addresses: IP literals of the nodes of the fleet's tenants.
        policies: of each of these tenants; what one of them grants the fleet may reach, what all deny it may not.
    """
    known = list(policies)
    if not known:
        return Egress()
    nodes = [ip for ip in set(node_addresses) if not all(policy.denies(ip) for policy in known)]
    grants = {_grant(block, policy.denied) for policy in known for block in policy.granted}
    return Egress(
        nodes=tuple(map(str, _joined(ipaddress.ip_network(ip) for ip in nodes))),
        grants=tuple(sorted(grant for grant in grants if grant is not None)),
        node_ports=known[0].node_ports,
    )


def _grant(granted: Block, denied: tuple[Block, ...]) -> Grant | None:
    """Return the granted block without what is denied; None if nothing is left of it."""
    inside = [block for block in denied if block.version == granted.version and _overlap(block, granted)]
    excepted = _joined(_network(block) for block in inside if not _is_mapped(block))
    whole = _network(granted)
    if _is_mapped(granted) or any(_covers(network, whole) for network in excepted):
        return None
    return Grant(str(whole), tuple(map(str, excepted)))


def _is_mapped(block: Block) -> bool:
    """Whether a block is of IPv4 addresses written as IPv6: no packet has one, and the API takes none."""
    return block.version == 6 and block.first >> 32 == 0xFFFF and block.last >> 32 == 0xFFFF


def _covers(one: _Network, other: _Network) -> bool:
    return one.prefixlen <= other.prefixlen and other.network_address in one


def _overlap(one: Block, other: Block) -> bool:
    return one.first <= other.last and other.first <= one.last


def _network(block: Block) -> _Network:
    """Return the network of a block, which was made from one."""
    bits = 32 if block.version == 4 else 128
    prefix = bits - (block.last - block.first).bit_length()
    kind = ipaddress.IPv4Network if block.version == 4 else ipaddress.IPv6Network
    return kind((block.first, prefix))


def _joined(networks: Iterable[_Network]) -> list[_Network]:
    """Return networks, joined where they touch, IPv4 first, in order."""
    v4, v6 = [], []
    for network in networks:
        if isinstance(network, ipaddress.IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    return [*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6)]
