"""What differs from kind to kind in an API server's storage, where our system can notice it."""

from __future__ import annotations

from kubelb_common.kube.port import Resource

_NO_STATUS = {
    "bindings", "clusterrolebindings", "clusterroles", "configmaps", "controllerrevisions", "endpoints",
    "endpointslices", "events", "ingressclasses", "leases", "limitranges", "networkpolicies", "priorityclasses",
    "rolebindings", "roles", "secrets", "serviceaccounts", "storageclasses",
}  # fmt: skip
_GENERATION = {
    "customresourcedefinitions", "daemonsets", "deployments", "endpointslices", "ingressclasses", "ingresses",
    "networkpolicies", "poddisruptionbudgets", "pods", "replicasets", "statefulsets",
}  # fmt: skip
_BUILT_IN_GROUPS = {"", "apps", "autoscaling", "batch", "policy"}
_EXTENSION_GROUPS = {"gateway.networking.k8s.io", "policy.networking.k8s.io", "snapshot.storage.k8s.io"}
_NO_UNCONDITIONAL_UPDATE = {"leases", "customresourcedefinitions"}
_FIELDS = {
    "pods": {"spec.nodeName", "spec.serviceAccountName", "spec.schedulerName", "spec.restartPolicy", "status.phase",
             "status.podIP"},
    "nodes": {"spec.unschedulable"},
    "namespaces": {"status.phase"},
    "secrets": {"type"},
    "services": {"spec.clusterIP", "spec.type"},
    "events": {"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
               "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
               "reportingComponent", "source", "type"},
}  # fmt: skip


def built_in(resource: Resource) -> bool:
    """Whether every API server serves this kind; others need a CRD."""
    group = resource.group
    return group in _BUILT_IN_GROUPS or (
        group.endswith(".k8s.io") and ".x-k8s.io" not in group and group not in _EXTENSION_GROUPS
    )


def has_status(resource: Resource) -> bool:
    """Whether status is a subresource (for custom kinds without a loaded CRD: assumed)."""
    return resource.plural not in _NO_STATUS if built_in(resource) else True


def counts_generation(resource: Resource) -> bool:
    """Whether metadata.generation is kept; some built-in kinds have none."""
    return resource.plural in _GENERATION if built_in(resource) else True


def unconditional_update(resource: Resource) -> bool:
    """Whether a replace may leave metadata.resourceVersion out."""
    return built_in(resource) and resource.plural not in _NO_UNCONDITIONAL_UPDATE


def selectable_fields(resource: Resource) -> set[str]:
    """Return the paths that a field selector may name."""
    own = _FIELDS.get(resource.plural, set()) if built_in(resource) else set()
    return own | {"metadata.name", "metadata.namespace"}
