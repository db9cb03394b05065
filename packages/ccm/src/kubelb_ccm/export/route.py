"""A source object and the Services it names become a Route (rulings 28 and 30)."""

from __future__ import annotations

from collections.abc import Iterable

from kubelb_ccm.export.meta import Destination, carried, origin_annotations, origin_labels
from kubelb_common import names
from kubelb_common.objects.view import Object


def route(source: Object, services: Iterable[Object], destination: Destination) -> Object:
    """Return the Route of `source`, named by its UID.

    Args:
        source: Ingress or another L7 object with apiVersion, kind, metadata.uid and spec.
        services: what `exported_service` made of the Services that it names; missing ones are left out.
        destination: where it goes.
    """
    kind, api_version = source["kind"], source["apiVersion"]
    group = api_version.partition("/")[0]
    metadata: Object = {
        "name": source["metadata"]["uid"],
        "namespace": destination.namespace,
        "labels": origin_labels(source, destination) | {names.LABEL_ORIGIN_KIND: names.origin_kind(kind, group)},
        "finalizers": [names.FINALIZER],
    }
    if notes := origin_annotations(source):
        metadata["annotations"] = notes
    kubernetes: Object = {
        "resource": {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": carried(source),
            "spec": source.get("spec") or {},
        }
    }
    if exported := sorted(services, key=_name):
        kubernetes["services"] = exported
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Route",
        "metadata": metadata,
        "spec": {
            "endpoints": [{"name": "default", "addressesReference": {"name": destination.addresses}}],
            "source": {"kubernetes": kubernetes},
        },
    }


def _name(service: Object) -> tuple[str, str]:
    return service["metadata"].get("namespace", ""), service["metadata"]["name"]
