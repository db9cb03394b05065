"""Upper bounds per tenant as Config and Tenant give them; each number is the Tenant's if set, else Config's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kubelb_manager import untrusted


class Limits(NamedTuple):
    """None is no limit.

    Attributes:
        load_balancers, routes, gateways: objects.
        hosts: distinct host names over all routes.
        connections: open at once, over the ready Envoys of the tenant's fleet.
        requests_per_second: over the ready Envoys of the tenant's fleet.
    """

    load_balancers: int | None = None
    routes: int | None = None
    gateways: int | None = None
    hosts: int | None = None
    connections: int | None = None
    requests_per_second: int | None = None


#: Field of `Limits`, its name in the API, and the least value that makes sense.
FIELDS = (
    ("load_balancers", "loadBalancers", 0),
    ("routes", "routes", 0),
    ("gateways", "gateways", 0),
    ("hosts", "hosts", 0),
    ("connections", "connections", 1),
    ("requests_per_second", "requestsPerSecond", 1),
)


def limits(own: Any, general: Any) -> Limits:
    """Return the limits from `spec.limits` of Tenant and Config; a value of a wrong type counts as unset."""
    return Limits(**{field: _first(own, general, name, least) for field, name, least in FIELDS})


def spoken(of: Limits) -> Mapping[str, int]:
    """Return the limits that are set, by their names in the API."""
    return {name: value for field, name, _ in FIELDS if (value := getattr(of, field)) is not None}


def _first(own: Any, general: Any, name: str, least: int) -> int | None:
    for source in (own, general):
        value = untrusted.integer(untrusted.at(source, name))
        if value is not None and value >= least:
            return value
    return None
