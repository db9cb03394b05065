"""`--endpoints`: addresses and ports as a person types them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?", re.IGNORECASE)
_LOOKS_LIKE_V4 = re.compile(r"[0-9.]+")


class EndpointError(ValueError):
    """A text is no endpoint; says which and what is expected."""


class Endpoint(NamedTuple):
    """Where connections go: `host` is an IP literal or a DNS name."""

    host: str
    port: int

    @property
    def is_ip(self) -> bool:
        """Whether `host` is an IP literal."""
        return _ip(self.host) is not None


def parse(text: str) -> tuple[Endpoint, ...]:
    """Read `ip:port,[ipv6]:port,name:port`; one that appears twice counts once.

    Raises:
        EndpointError: an item is none of these.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise EndpointError("there is no endpoint; write IP:PORT, for example 192.0.2.7:30080")
    return tuple(dict.fromkeys(_endpoint(item) for item in items))


def by_port(endpoints: Iterable[Endpoint]) -> dict[int, list[Endpoint]]:
    """Return the endpoints of each port, in the given order."""
    found: dict[int, list[Endpoint]] = {}
    for endpoint in endpoints:
        found.setdefault(endpoint.port, []).append(endpoint)
    return found


def _endpoint(item: str) -> Endpoint:
    host, colon, port = item.rpartition(":")
    if _ip(item) is not None and ":" in item:
        raise EndpointError(f"'{item}' is an IPv6 address without a port; write [{item}]:PORT")
    if not colon or not host:
        raise EndpointError(f"'{item}' has no port; write IP:PORT, or [IPV6]:PORT")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65535:
        raise EndpointError(f"'{item}': '{port}' is no port; it has to be between 1 and 65535")
    return Endpoint(_host(host, item), int(port))


def _host(host: str, item: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        found = _ip(host[1:-1])
        if found is None or found.version != 6:
            raise EndpointError(f"'{item}': '{host[1:-1]}' is no IPv6 address; only these stand in brackets")
        return str(found)
    if ":" in host:
        raise EndpointError(f"'{item}': IPv6 addresses stand in brackets; write [{host}]:PORT")
    found = _ip(host)
    if found is not None:
        return str(found)
    if _LOOKS_LIKE_V4.fullmatch(host) or not _NAME.fullmatch(host) or len(host) > 253:
        raise EndpointError(f"'{item}': '{host}' is neither an IP address nor a DNS name")
    return host.rstrip(".").lower()


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None
