"""Which nodes serve a Service whose traffic policy is Local: those with a ready pod of it.

kube-proxy on any other node drops connections, so the nodes are told one by one in an Addresses object of the Service's
own. It is referred to as `Addresses/default` is, which a manager of the original reads too, and pods that move change
it alone: the LoadBalancer stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kubelb_ccm.export.addresses import AddressType, addresses_of
from kubelb_ccm.export.meta import Destination, origin_annotations, origin_labels
from kubelb_ccm.export.twins import needs_twin
from kubelb_common import names
from kubelb_common.objects import view
from kubelb_common.objects.view import Object


def is_local(service: Object) -> bool:
    """Tell whether only nodes with a pod answer on the Service's node ports; a twin's nodes all do."""
    return view.text(service, "spec", "externalTrafficPolicy") == "Local" and not needs_twin(service)


def local_addresses(nodes: Iterable[Object], slices: Iterable[Object], kind: AddressType) -> list[Object]:
    """Return the items of `Addresses.spec.addresses` for the ready nodes that host a pod of the Service.

    Nodes with a ready pod. If there is none, those whose pods still serve while they end (as kube-proxy does); if
    there is none either, nothing: there is no better guess than what was told before.

    Args:
        nodes: the cluster's.
        slices: the Service's.
        kind: which of a Node's addresses the management cluster can reach.
    """
    nodes = list(nodes)
    endpoints = [endpoint for found in slices for endpoint in view.objects(found, "endpoints")]
    for serves in (_is_ready, _is_serving):
        hosts = {view.text(endpoint, "nodeName") for endpoint in endpoints if serves(_conditions(endpoint))}
        items = addresses_of((node for node in nodes if view.name(node) in hosts), kind)
        if items:
            return items
    return []


def own_addresses(service: Object, items: list[Object], destination: Destination) -> Object:
    """Return the Addresses object of a Service, named by its UID, with these items (at least one)."""
    metadata: Object = {
        "name": view.uid(service),
        "namespace": destination.namespace,
        "labels": origin_labels(service, destination),
    }
    if notes := origin_annotations(service):
        metadata["annotations"] = notes
    return {"apiVersion": names.API_VERSION, "kind": "Addresses", "metadata": metadata, "spec": {"addresses": items}}


def _conditions(endpoint: Object) -> Mapping[str, object]:
    found: Mapping[str, object] = view.get(endpoint, "conditions", default={}) or {}
    return found


def _is_ready(conditions: Mapping[str, object]) -> bool:
    return conditions.get("ready") is not False


def _is_serving(conditions: Mapping[str, object]) -> bool:
    return conditions.get("serving") is True
