"""Announces an IPv4 address: `python arp.py INTERFACE ADDRESS`. Standard library only, for it is carried as a text."""

from __future__ import annotations

import socket
import struct
import sys


def announce(interface: str, address: str) -> None:
    """Send a gratuitous ARP for `address`, so that nobody keeps the former owner's MAC address; raises OSError.

    As request and as answer (RFC 5944, section 4.6): which of the two changes a neighbour's table differs.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        mac = sender.getsockname()[4]
        packed = socket.inet_aton(address)
        broadcast = b"\xff" * 6
        for operation in (1, 2):
            arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
            target = bytes(6) if operation == 1 else broadcast
            sender.send(broadcast + mac + b"\x08\x06" + arp + mac + packed + target + packed)


if __name__ == "__main__":
    announce(sys.argv[1], sys.argv[2])
