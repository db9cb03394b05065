"""EndpointSlices of Services whose fleet runs in another namespace (topology global, ruling 29).

A selector reaches no further than its namespace, so these Services have none, and the pods of the
fleet are copied from the slices of the fleet's headless Service: one slice for each of those.
"""

from __future__ import annotations

from collections.abc import Iterable

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager.desired import meta
from kubelb_manager.ir.model import FleetId

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
#: Who manages our slices; the cluster's own controller leaves others' alone.
MANAGER = f"manager.{names.GROUP}"
_COPIED = ("addresses", "conditions", "hostname", "nodeName", "targetRef", "zone")


def slices(service: Object, fleet: FleetId, pieces: Iterable[Object]) -> list[Object]:
    """Return the slices of `service` over the pods in `pieces`, sorted by name.

    Args:
        service: the live Service; it becomes the owner, and its target ports are the slices' ports.
        fleet: the fleet that it leads to.
        pieces: the slices of the fleet's headless Service.
    """
    namespace, name = view.namespace(service), view.name(service)
    ports = [
        {"name": view.text(port, "name"), "port": port.get("targetPort"), "protocol": port.get("protocol", "TCP")}
        for port in view.objects(service, "spec", "ports")
    ]
    out = []
    for piece in pieces:
        made = meta.obj(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            names.generated_name(name, "EndpointSlice", namespace, name, view.name(piece)),
            namespace,
            labels={
                **meta.managed_labels(),
                names.LABEL_FLEET: names.fleet_label(*fleet),
                SERVICE_NAME: name,
                MANAGED_BY: MANAGER,
            },
            ownerReferences=[meta.owner_reference(service)],
        )
        endpoints = [
            {key: endpoint[key] for key in _COPIED if key in endpoint} for endpoint in view.objects(piece, "endpoints")
        ]
        out.append({**made, "addressType": piece.get("addressType"), "endpoints": endpoints, "ports": ports})
    return sorted(out, key=view.name)
