"""The tenant's Nodes become one Addresses object."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal

from kubelb_ccm.export.meta import Destination
from kubelb_common import names
from kubelb_common.objects.view import Object

AddressType = Literal["ExternalIP", "InternalIP", "Hostname"]


def is_ready(node: Object) -> bool:
    """Tell whether the Node's condition Ready is True."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions)


def node_addresses(node: Object, kind: AddressType) -> tuple[str, ...]:
    """Return the Node's addresses of this type that can be used; a ready Node may have none, or several."""
    found = (node.get("status") or {}).get("addresses") or ()
    values = (str(entry.get("address") or "") for entry in found if entry.get("type") == kind)
    return tuple(value for value in values if value and (kind == "Hostname" or _ip(value)))


def addresses_of(nodes: Iterable[Object], kind: AddressType) -> list[Object]:
    """Return the items of `Addresses.spec.addresses` for the ready Nodes: each once, IPs by number, then host names."""
    values = {value for node in nodes if is_ready(node) for value in node_addresses(node, kind)}
    return [{"ip": value} if _ip(value) else {"hostname": value} for value in sorted(values, key=_order)]


def addresses(items: list[Object], destination: Destination) -> Object:
    """Return the Addresses object with these items (at least one)."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Addresses",
        "metadata": {
            "name": destination.addresses,
            "namespace": destination.namespace,
            "labels": {
                names.LABEL_MANAGED_BY: names.MANAGED_BY,
                names.LABEL_ORIGIN_CLUSTER: destination.cluster,
            },
        },
        "spec": {"addresses": items},
    }


def _ip(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def _order(value: str) -> tuple[int, int, str]:
    address = _ip(value)
    return (address.version, int(address), value) if address else (9, 0, value)
