"""Native copies: what of a tenant's object becomes visible in the management cluster.

A copy serves no traffic by itself (its class is ours, and publication never waits for it). It shows
the tenant's hosts to people, to external-dns and to certificate tools. It is built from accepted
values, never by removing fields from what a tenant sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import meta


def ingress_name(namespace: str, name: str) -> str:
    """Return the name of the copy of a tenant's Ingress `namespace/name`."""
    return names.generated_name(f"{namespace}-{name}", "Ingress", namespace, name)


def ingress(
    route: Object,
    *,
    namespace: str,
    source: tuple[str, str],
    spec: Object | None,
    annotations: Mapping[str, str],
) -> Object | None:
    """Return the native copy of an Ingress, or None where nothing of it may be copied.

    Args:
        route: the Route that embeds it, and owns the copy.
        namespace: the tenant's namespace in the management cluster.
        source: namespace and name of the Ingress in the tenant, valid names.
        spec: its allowed fields.
        annotations: the ones that the propagation rules pass.
    """
    if spec is None:
        return None
    copy = meta.obj(
        "networking.k8s.io/v1",
        "Ingress",
        ingress_name(*source),
        namespace,
        labels={
            **meta.managed_labels(),
            **meta.origin_labels(*source),
            names.LABEL_ORIGIN_KIND: names.origin_kind("Ingress", "networking.k8s.io"),
        },
        annotations={**annotations, **meta.origin_annotations(source[1])},
        ownerReferences=[meta.owner_reference(route)],
    )
    copy["spec"] = {"ingressClassName": names.CLASS, **spec}
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
