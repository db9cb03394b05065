"""NodePort twins: the Service beside a tenant's Service that makes it reachable on the nodes (ruling 17).

A twin is only ever made for a Service without node ports of its own. It carries the labels of its origin, and only
a Service with these is ever written or deleted by us, or one that still has our owner reference or finalizer. On
update, everything that we do not decide stays as it is, node ports above all: a changed node port is a changed backend.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from kubelb_ccm.export.services import NodePorts, node_ports
from kubelb_common import names
from kubelb_common.objects import view
from kubelb_common.objects.view import Object

#: Who manages the EndpointSlices that we mirror, in the words of the EndpointSlice API.
SLICE_MANAGER = "ccm.kubelb.k8c.io"
SLICE_SERVICE_LABEL = "kubernetes.io/service-name"
SLICE_MANAGER_LABEL = "endpointslice.kubernetes.io/managed-by"


def needs_twin(service: Object) -> bool:
    """Tell whether the Service has ports but no node ports to be reached by."""
    spec = service.get("spec") or {}
    ports = spec.get("ports") or ()
    kind = spec.get("type") or "ClusterIP"
    if not ports or kind == "ExternalName":
        return False
    return kind == "ClusterIP" or not all(port.get("nodePort") for port in ports)


def is_twin(service: Object) -> bool:
    """Tell whether this Service is a twin of ours, of whatever Service."""
    return origin_of_twin(service) is not None


def origin_of_twin(service: Object) -> str | None:
    """Return the name of the Service whose twin this is; None if it is no twin of ours.

    Its labels say so. Should somebody have taken them away, so do its owner and its finalizer: it would hold its
    namespace for ever if we did not know it any more.
    """
    labels = view.labels(service)
    if labels.get(names.LABEL_MANAGED_BY) == names.MANAGED_BY and labels.get(names.LABEL_ORIGIN_NAME):
        return labels[names.LABEL_ORIGIN_NAME]
    owners = [
        view.name({"metadata": owner}) for owner in view.owner_references(service) if owner.get("kind") == "Service"
    ]
    if view.has_finalizer(service, names.FINALIZER_TWIN):
        owners.append(view.name(service).removesuffix(names.NODEPORT_SUFFIX))
    return next((owner for owner in owners if owner and names.twin_name(owner) == view.name(service)), None)


def is_twin_of(service: Object, namespace: str, name: str) -> bool:
    """Tell whether this Service is our twin of the Service `namespace/name`."""
    return view.namespace(service) == namespace and origin_of_twin(service) == name


def new_twin(service: Object, wished: NodePorts) -> Object:
    """Return the twin to create for `service`.

    Args:
        service: the tenant's Service.
        wished: node ports to ask for, where an earlier twin had them and Envoys still use them.
    """
    twin: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.twin_name(service["metadata"]["name"]),
            "namespace": service["metadata"]["namespace"],
        },
        "spec": {"type": "NodePort", **_families(service["spec"])},
    }
    return _decided(twin, service, wished)


def updated_twin(live: Object, service: Object) -> Object | None:
    """Return `live` with everything that we decide made right; None if it is right already."""
    twin = _decided(copy.deepcopy(live), service, node_ports(live))
    return None if twin == live else twin


def _decided(twin: Object, service: Object, known: NodePorts) -> Object:
    metadata, spec, source = twin["metadata"], twin["spec"], service["spec"]
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    metadata["labels"] = {**(metadata.get("labels") or {}), **_origin_labels(namespace, name)}
    owner = {"apiVersion": "v1", "kind": "Service", "name": name, "uid": service["metadata"]["uid"]}
    if owner not in (metadata.get("ownerReferences") or ()):
        metadata["ownerReferences"] = [owner]
    if names.FINALIZER_TWIN not in (metadata.get("finalizers") or ()):
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), names.FINALIZER_TWIN]
    spec.update(type="NodePort", sessionAffinity="None", externalTrafficPolicy="Cluster")
    spec.pop("sessionAffinityConfig", None)
    spec["ports"] = _ports(source["ports"], known, twin_ports=spec.get("ports") or ())
    for field in ("selector", "publishNotReadyAddresses"):
        if source.get(field):
            spec[field] = source[field]
        else:
            spec.pop(field, None)
    return twin


def _origin_labels(namespace: str, name: str) -> dict[str, str]:
    return {
        names.LABEL_ORIGIN_NAMESPACE: namespace,
        names.LABEL_ORIGIN_NAME: names.label_value(name),
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }


def _families(source: Object) -> Object:
    """Pods of an IPv6-only or dual-stack Service are reached only through the same families."""
    if source.get("clusterIP") == "None" and not source.get("selector"):
        return {}  # such a Service may name families that the cluster does not have
    policy = source.get("ipFamilyPolicy")
    kept = {
        "ipFamilies": source.get("ipFamilies"),
        "ipFamilyPolicy": "PreferDualStack" if policy == "RequireDualStack" else policy,
    }
    return {key: value for key, value in kept.items() if value}


def _ports(source: Iterable[Object], known: NodePorts, twin_ports: Iterable[Object]) -> list[Object]:
    """Return the source's ports with the twin's node ports: of the same name first, then of the same number."""
    source = list(source)
    by_name = {
        (port.get("name", ""), port.get("protocol") or "TCP"): port["nodePort"]
        for port in twin_ports
        if port.get("nodePort")
    }
    ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in source]
    taken: set[tuple[str, int]] = set()

    def take(port: Object, number: int | None) -> None:
        protocol = port.get("protocol") or "TCP"
        if number and "nodePort" not in port and (protocol, number) not in taken:
            port["nodePort"] = number
            taken.add((protocol, number))

    for port in ports:
        take(port, by_name.get((port.get("name", ""), port.get("protocol") or "TCP")))
    for port in ports:
        take(port, known.get((port["port"], port.get("protocol") or "TCP")))
    return ports


def mirrored_slices(twin: Object, slices: Iterable[Object]) -> list[Object]:
    """Return the EndpointSlices that a twin without selector needs: one for each slice of the original.

    They are owned by the twin, so they go with it.
    """
    return [_mirrored(twin, found) for found in slices if not is_mirrored(found)]


def is_mirrored(found: Object) -> bool:
    """Tell whether this EndpointSlice is one of ours."""
    return bool((found["metadata"].get("labels") or {}).get(SLICE_MANAGER_LABEL) == SLICE_MANAGER)


def _mirrored(twin: Object, found: Object) -> Object:
    metadata = twin["metadata"]
    original = found["metadata"]["name"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": names.generated_name(metadata["name"], "EndpointSlice", metadata["namespace"], original),
            "namespace": metadata["namespace"],
            "labels": {
                SLICE_SERVICE_LABEL: metadata["name"],
                SLICE_MANAGER_LABEL: SLICE_MANAGER,
                names.LABEL_MANAGED_BY: names.MANAGED_BY,
            },
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
            ],
        },
        "addressType": found["addressType"],
        "endpoints": found.get("endpoints") or [],
        "ports": found.get("ports") or [],
    }
