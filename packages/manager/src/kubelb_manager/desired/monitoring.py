"""What keeps an eye on a fleet's pods: how many may leave at a time, and who scrapes them."""

from __future__ import annotations

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager.desired import meta
from kubelb_manager.desired.network_policy import any_fleet

POD_MONITOR_NAME = "envoy-proxy"


def disruption_budget(workload: Object) -> Object:
    """Return the PodDisruptionBudget of a fleet's Deployment (as wanted or as it is): one pod leaves at a time.

    A fleet of one pod can be evicted too: a node that cannot be drained is worse than a new pod a little later.
    """
    metadata = workload["metadata"]
    out = meta.obj(
        "policy/v1",
        "PodDisruptionBudget",
        metadata["name"],
        metadata["namespace"],
        labels={**meta.managed_labels(), names.LABEL_FLEET: metadata["labels"][names.LABEL_FLEET]},
        ownerReferences=metadata.get("ownerReferences", []),
    )
    spec = {
        "maxUnavailable": 1,
        "selector": workload["spec"]["selector"],
        # A pod that is not ready serves nobody; it must not hold a node's drain up.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return {**out, "spec": spec}


def pod_monitor(namespace: str, owner: Object | None) -> Object:
    """Return the PodMonitor of all fleets in a namespace, for the Prometheus operator."""
    out = meta.obj(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        POD_MONITOR_NAME,
        namespace,
        labels=meta.managed_labels(),
        ownerReferences=meta.owners(owner),
    )
    endpoint = {"port": "metrics", "path": "/stats/prometheus"}
    return {**out, "spec": {"selector": any_fleet(), "podMetricsEndpoints": [endpoint]}}
