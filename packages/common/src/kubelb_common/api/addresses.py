"""Addresses: where the nodes of a tenant's cluster are reached. One object, `default`, per tenant."""

from __future__ import annotations

from typing import ClassVar

from kubelb_common.api.kind import Kind, KindInfo
from kubelb_common.api.meta import Empty, EndpointAddress
from kubelb_common.api.record import Record, field, record


@record
class AddressesSpec(Record):
    """The addresses."""

    addresses: tuple[EndpointAddress, ...] = field(
        "Addresses of the tenant's ready nodes.", default=(), required=True, schema={"minItems": 1}
    )


@record
class Addresses(Kind):
    """Addresses of the nodes of a tenant's cluster; Routes and LoadBalancers refer to it by name."""

    info: ClassVar[KindInfo] = KindInfo("Addresses", "addresses", "addresses")

    kind: str = field(default="Addresses")
    spec: AddressesSpec = field(default_factory=AddressesSpec)
    status: Empty = field(default_factory=Empty)
