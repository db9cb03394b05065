"""What every object of one tenant shares in a translation.

Equal contexts and equal objects give equal results, so a caller may keep a result for as long as
the object's resourceVersion and the context stay the same. How one is made:

    settings = merged(config, tenant)
    Context(
        tenant_namespace=namespace,
        nodes=nodes_from(addresses_objects),
        settings=settings,
        addresses=address_policy(denied=[*hub_ranges, *settings.denied_addresses], granted=settings.endpoints_allowed),
        resolved=resolved_from({name: ips}),  # for every name in hostnames_of(object)
    )
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from kubelb_common.kube.port import Object
from kubelb_common.names import ADDRESSES_NAME
from kubelb_manager import untrusted
from kubelb_manager.ir.model import ClientAddress
from kubelb_manager.settings.merged import Settings
from kubelb_manager.translate.addresses import AddressPolicy, ip_literal

#: More addresses than this in one list are not looked at.
MAX_ADDRESSES = 5000
#: A last label that resolvers read as a piece of an IPv4 address: `127.1`, `0x7f000001`.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Given(NamedTuple):
    """A list of addresses as a tenant gave it: canonical IP literals, host names, and how many were neither."""

    ips: tuple[str, ...]
    hostnames: tuple[str, ...]
    malformed: int


@dataclass(frozen=True, slots=True)
class Context:
    """See the module.

    Attributes:
        tenant_namespace: the tenant's namespace in the management cluster.
        topology: which objects share Envoys.
        nodes: the tenant's Addresses objects: (name, addresses), sorted by name.
        settings: Config and Tenant, merged.
        addresses: which endpoints are refused or granted.
        keeps_native: Ingresses are delegated, and some address of ours is still known to clients: serve there too.
        resolved: (host name, its IP literals) of every name given as an address, as far as known.
    """

    tenant_namespace: str
    topology: str = "shared"
    nodes: tuple[tuple[str, Given], ...] = ()
    settings: Settings = field(default_factory=Settings)
    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    resolved: tuple[tuple[str, tuple[str, ...]], ...] = ()
    keeps_native: bool = False

    @property
    def client_address(self) -> ClientAddress:
        """How this hub tells who a client is."""
        said = self.settings.client_address
        blocks = [ipaddress.ip_network(text.strip(), strict=False) for text in said.trusted_cidrs]
        cidrs = sorted({(str(block.network_address), block.prefixlen) for block in blocks})
        return ClientAddress(said.trusted_hops, tuple(cidrs), said.proxy_protocol)

    def addresses_named(self, name: str) -> Given | None:
        """Return the Addresses object of this name, or None."""
        return next((given for other, given in self.nodes if other == name), None)

    def resolve(self, hostname: str) -> tuple[str, ...]:
        """Return the IP literals of a host name; none if it is not resolved (yet)."""
        return next((ips for name, ips in self.resolved if name == hostname), ())

    def is_node(self, ip: str) -> bool:
        """Whether this IP literal is listed in one of the tenant's Addresses objects."""
        return any(ip in given.ips for _, given in self.nodes)


def moved_nodes(before: Context, after: Context) -> frozenset[str] | None:
    """Return the names of the Addresses objects that differ if nothing else does, else None.

    Pods that move from node to node change the Addresses of their Service, often, and nothing that others refer to.
    """
    if replace(before, nodes=after.nodes) != after:
        return None
    return frozenset(name for name, _ in set(before.nodes) ^ set(after.nodes))


def refers_to(obj: Object) -> frozenset[str] | None:
    """Return the names of the Addresses objects that a LoadBalancer or Route depends on; None for any of them.

    An inline address is judged by all of them: it may be some node's.
    """
    sets = untrusted.sequence(untrusted.at(obj, "spec", "endpoints"))
    named = [untrusted.at(item, "addressesReference", "name") for item in sets]
    if not sets:
        return frozenset({ADDRESSES_NAME})
    return frozenset(named) if all(isinstance(name, str) for name in named) else None


def given_addresses(entries: Any) -> Given:
    """Return a list of EndpointAddress of our contract; never raises.

    `ip` counts if both fields are set; what it holds is told by its content (a name in `ip` is a name).
    """
    ips: set[str] = set()
    hostnames: set[str] = set()
    malformed = 0
    for entry in untrusted.sequence(entries)[:MAX_ADDRESSES]:
        text = untrusted.string(untrusted.at(entry, "ip")) or untrusted.string(untrusted.at(entry, "hostname"))
        ip, name = ip_literal(text), text.lower().removesuffix(".")
        if ip is not None:
            ips.add(ip)
        elif untrusted.is_subdomain(name) and not _NUMBER.fullmatch(name.rpartition(".")[2]):
            hostnames.add(name)
        else:
            malformed += 1
    return Given(tuple(sorted(ips)), tuple(sorted(hostnames)), malformed)


def nodes_from(addresses: Iterable[Object]) -> tuple[tuple[str, Given], ...]:
    """Return `Context.nodes` from the tenant's Addresses objects."""
    return tuple(
        sorted(
            (
                untrusted.string(untrusted.at(item, "metadata", "name")),
                given_addresses(untrusted.at(item, "spec", "addresses")),
            )
            for item in addresses
        )
    )


def hostnames_of(obj: Object) -> tuple[str, ...]:
    """Return the host names that an Addresses, LoadBalancer or Route gives as addresses; these need resolving."""
    lists = [untrusted.at(obj, "spec", "addresses")]
    lists += [untrusted.at(item, "addresses") for item in untrusted.sequence(untrusted.at(obj, "spec", "endpoints"))]
    return tuple(sorted({name for entries in lists for name in given_addresses(entries).hostnames}))


def resolved_from(names: Mapping[str, Iterable[str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return `Context.resolved` from host names and their IP literals, in any order; other text is left out."""
    return tuple(
        (name, tuple(sorted({ip for text in texts if (ip := ip_literal(text)) is not None})))
        for name, texts in sorted(names.items())
    )
