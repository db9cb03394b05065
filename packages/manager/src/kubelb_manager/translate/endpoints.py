"""From what a tenant wrote under `spec.endpoints` to addresses that Envoy may connect to."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any, NamedTuple

from kubelb_common import names
from kubelb_manager import untrusted
from kubelb_manager.ir.model import Endpoint, Protocol
from kubelb_manager.translate.addresses import AddressPolicy
from kubelb_manager.translate.context import Context, Given, given_addresses
from kubelb_manager.translate.result import Problem, Reason

_VERSIONS = {"IPv4": 4, "IPv6": 6}
#: More endpoint sets than this in one object refuse it.
MAX_ENDPOINT_SETS = 100


class Usable(NamedTuple):
    """Addresses of one endpoint set, what is missing (the rest serves), and what refuses the whole object."""

    ips: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    refusal: Problem | None = None


def usable_addresses(endpoint_set: Any, context: Context) -> Usable:
    """Return the addresses of one entry of `spec.endpoints`; never raises.

    A reference stands above inline addresses. Denied addresses in an Addresses object are left out
    and said; inline ones need to be a node's or granted, and refuse the object if they are not.
    """
    reference = untrusted.at(endpoint_set, "addressesReference")
    if reference is not None:
        return _referenced(untrusted.at(reference, "name"), context)
    return _inline(given_addresses(untrusted.at(endpoint_set, "addresses")), context)


def _referenced(name: Any, context: Context) -> Usable:
    given = context.addresses_named(name) if isinstance(name, str) else None
    label = untrusted.quoted(untrusted.string(name))
    if given is None:
        return Usable((), (Problem(Reason.ADDRESSES_NOT_FOUND, f"There is no Addresses object {label}."),))
    usable = _of_nodes(given, context.addresses, tuple((host, context.resolve(host)) for host in given.hostnames))
    if usable.ips or usable.problems:
        return usable
    return Usable((), (Problem(Reason.ADDRESSES_NOT_FOUND, f"The Addresses object {label} lists no address."),))


@lru_cache(maxsize=1024)
def _of_nodes(given: Given, policy: AddressPolicy, resolved: tuple[tuple[str, tuple[str, ...]], ...]) -> Usable:
    """Judge a list of node addresses once, not once for each of the routes that use it."""
    problems: list[Problem] = []
    ips: set[str] = set()
    if given.malformed:
        text = f"{given.malformed} node addresses are neither an IP address nor a host name."
        problems.append(Problem(Reason.INVALID_ADDRESS, text))
    for name, found in [*((ip, (ip,)) for ip in given.ips), *resolved]:
        allowed = {ip for ip in found if not policy.denies(ip)}
        ips |= allowed
        if not found:
            problems.append(Problem(Reason.ADDRESS_NOT_RESOLVED, f"The node name {name} has no address in DNS."))
        elif not allowed:
            problems.append(Problem(Reason.ADDRESS_NOT_ALLOWED, f"The node address {name} must not be an endpoint."))
    return Usable(tuple(sorted(ips)), tuple(problems))


def _inline(given: Given, context: Context) -> Usable:
    if given.malformed:
        text = f"{given.malformed} of the addresses under spec.endpoints are neither an IP address nor a host name."
        return Usable((), refusal=Problem(Reason.INVALID_ADDRESS, text))
    problems: list[Problem] = []
    ips: set[str] = set()
    for name, found in [
        *((ip, (ip,)) for ip in given.ips),
        *((host, context.resolve(host)) for host in given.hostnames),
    ]:
        for ip in found:
            refusal = _refusal(name, ip, context)
            if refusal is not None:
                return Usable((), refusal=refusal)
        if not found:
            problems.append(Problem(Reason.ADDRESS_NOT_RESOLVED, f"The endpoint {name} has no address in DNS."))
        ips.update(found)
    if not given.ips and not given.hostnames:
        problems.append(Problem(Reason.ADDRESSES_NOT_FOUND, "An entry of spec.endpoints names no address."))
    return Usable(tuple(sorted(ips)), tuple(problems))


def _refusal(name: str, ip: str, context: Context) -> Problem | None:
    if context.addresses.denies(ip):
        return Problem(Reason.ADDRESS_NOT_ALLOWED, f"The address {name} must not be an endpoint.")
    if context.is_node(ip) or context.addresses.grants(ip):
        return None
    return Problem(
        Reason.ADDRESS_NOT_ALLOWED,
        f"The address {name} is not one of the cluster's nodes; the administrator has to grant it (endpoints.allowed).",
    )


def families_of(raw: Any) -> tuple[str, ...]:
    """Return the IP families in `raw`, sorted; what names none names all, which is the empty tuple."""
    return tuple(sorted({item for item in untrusted.sequence(raw) if isinstance(item, str) and item in _VERSIONS}))


def of_families(usable: Usable, families: tuple[str, ...]) -> Usable:
    """Return the addresses on which a Service of these families has its node ports, and a problem if none is left."""
    versions = {_VERSIONS[family] for family in families}
    if not versions:
        return usable
    ips = tuple(ip for ip in usable.ips if ipaddress.ip_address(ip).version in versions)
    if ips or not usable.ips:
        return usable._replace(ips=ips)
    text = f"No node has an address of the Service's IP family ({', '.join(families)})."
    return Usable((), (*usable.problems, Problem(Reason.ADDRESSES_NOT_FOUND, text)), usable.refusal)


def reachable(
    ips: tuple[str, ...], port: int, policy: AddressPolicy, protocol: Protocol = Protocol.TCP
) -> tuple[Endpoint, ...]:
    """Return the endpoints of these addresses at `port`, sorted: outside the node ports the granted ones only."""
    free = port in policy.node_ports
    return tuple(sorted(Endpoint(ip, port, protocol) for ip in ips if free or policy.grants(ip)))


def route_addresses(endpoints: Any, context: Context) -> Usable:
    """Return the addresses of all entries of a Route's `spec.endpoints` together; none means Addresses/default."""
    sets = list(untrusted.sequence(endpoints)) or [{"addressesReference": {"name": names.ADDRESSES_NAME}}]
    if len(sets) > MAX_ENDPOINT_SETS:
        text = f"spec.endpoints has {len(sets)} entries, at most {MAX_ENDPOINT_SETS} are possible."
        return Usable((), refusal=Problem(Reason.TOO_LARGE, text))
    found = [usable_addresses(item, context) for item in sets]
    if len(found) == 1:
        return found[0]
    return Usable(
        tuple(sorted({ip for usable in found for ip in usable.ips})),
        tuple(problem for usable in found for problem in usable.problems),
        next((usable.refusal for usable in found if usable.refusal is not None), None),
    )
