"""Announces an IPv6 address, as `arp` does an IPv4 address."""

from __future__ import annotations

import socket
import struct

_ALL_NODES = "ff02::1"
_NEIGHBOUR_ADVERTISEMENT = 136
_OVERRIDE = 0x2000_0000
_TARGET_LINK_LAYER_ADDRESS = 2


def announce(interface: str, address: str) -> None:
    """Send an unsolicited neighbour advertisement for `address` (RFC 4861, section 7.2.6); raises OSError."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as probe:
        probe.bind((interface, 0))
        mac = probe.getsockname()[4]
    target = socket.inet_pton(socket.AF_INET6, address)
    # The kernel fills in the checksum of ICMPv6.
    message = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE) + target
    message += struct.pack("!BB", _TARGET_LINK_LAYER_ADDRESS, 1) + mac
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sender.bind((address, 0))
        sender.sendto(message, (_ALL_NODES, 0, 0, socket.if_nametoindex(interface)))
