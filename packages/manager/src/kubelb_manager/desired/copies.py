"""Copies: what of a tenant's object becomes visible in the management cluster.

A native copy serves no traffic by itself (its class is ours, and publication never waits for it). It shows
the tenant's hosts to people, to external-dns and to certificate tools. A delegated copy has another class,
and that controller serves it. Both are built from accepted values, never by removing fields from what a
tenant sent. They have different names, so that a change of class can make the one before it removes the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import meta


def ingress_name(namespace: str, name: str, ingress_class: str = names.CLASS) -> str:
    """Return the name of the copy of a tenant's Ingress `namespace/name` for a class."""
    delegated = () if ingress_class == names.CLASS else (ingress_class,)
    return names.generated_name(f"{namespace}-{name}", "Ingress", namespace, name, *delegated)


def is_native(copy: Object) -> bool:
    """Whether a copy of an Ingress is ours to serve, and its status ours to write."""
    return untrusted.string(untrusted.at(copy, "spec", "ingressClassName")) == names.CLASS


def ingress(
    route: Object,
    *,
    namespace: str,
    source: tuple[str, str],
    spec: Object | None,
    annotations: Mapping[str, str],
    ingress_class: str = names.CLASS,
) -> Object | None:
    """Return the copy of an Ingress, or None where nothing of it may be copied.

    Args:
        route: the Route that embeds it, and owns the copy.
        namespace: the tenant's namespace in the management cluster.
        source: namespace and name of the Ingress in the tenant, valid names.
        spec: its allowed fields.
        annotations: the ones that the propagation rules pass.
        ingress_class: whose it is to serve.
    """
    if spec is None:
        return None
    copy = meta.obj(
        "networking.k8s.io/v1",
        "Ingress",
        ingress_name(*source, ingress_class),
        namespace,
        labels={
            **meta.managed_labels(),
            **meta.origin_labels(*source),
            names.LABEL_ORIGIN_KIND: names.origin_kind("Ingress", "networking.k8s.io"),
        },
        annotations={**annotations, **meta.origin_annotations(source[1])},
        ownerReferences=[meta.owner_reference(route)],
    )
    copy["spec"] = {"ingressClassName": ingress_class, **spec}
    return copy


def status_entry(copy: Object, status: Any, conditions: list[Object]) -> Object:
    """Return `Route.status.resources.route`: the copy's names, and the source kind's status (ruling 13)."""
    labels = untrusted.mapping(untrusted.at(copy, "metadata", "labels"))
    annotations = untrusted.mapping(untrusted.at(copy, "metadata", "annotations"))
    name = annotations.get(names.ANNOTATION_ORIGIN_NAME) or labels.get(names.LABEL_ORIGIN_NAME)
    return {
        "apiVersion": copy["apiVersion"],
        "kind": copy["kind"],
        "name": name,
        "namespace": labels.get(names.LABEL_ORIGIN_NAMESPACE),
        "generatedName": copy["metadata"]["name"],
        "status": status,
        "conditions": conditions,
    }
