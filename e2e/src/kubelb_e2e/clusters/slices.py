"""How EndpointSlices are found by their Service."""

from __future__ import annotations

from kubelb_common.kube.port import Object

#: Index of EndpointSlices by `namespace/service`.
BY_SERVICE = "service"
SERVICE_LABEL = "kubernetes.io/service-name"


def service_of_slice(item: Object) -> list[str]:
    """Return the values of the index BY_SERVICE for an EndpointSlice."""
    metadata = item["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_LABEL)
    return [f"{metadata['namespace']}/{name}"] if name else []
