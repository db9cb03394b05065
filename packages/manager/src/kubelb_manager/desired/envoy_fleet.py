"""The pods of a fleet: a Deployment, or a DaemonSet where Config asks for one.

A rolling update never takes a ready Envoy away before its successor is ready, and an Envoy is ready
only when it has its configuration. On the way out the agent beside it drains it (`agent.drain`), then
it gets SIGTERM. The agent is a sidecar in Kubernetes' sense, an init container that goes on: it ends
after Envoy.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import meta
from kubelb_manager.desired.service import HTTP_PORT
from kubelb_manager.settings.merged import EnvoySettings

CONTAINER = "envoy-proxy"
AGENT_CONTAINER = "agent"
XDS_MOUNT = "/etc/envoy/xds"
_XDS_VOLUME = "xds"
#: Envoy's default. What a changed listener's old connections have before they are cut, and more than any drain.
_DRAIN_SECONDS = 600


class Agent(NamedTuple):
    """The agent beside an Envoy: its image, and the token with which the pod's own preStop hook asks it to drain."""

    image: str
    token: str


def workload_name(tenant_namespace: str, fleet: str = names.SHARED_FLEET) -> str:
    """Return the name of a fleet's Deployment or DaemonSet."""
    base = names.fleet_deployment(tenant_namespace)
    if fleet == names.SHARED_FLEET:
        return base
    return names.generated_name(f"{base}-{fleet}", "Fleet", tenant_namespace, fleet)


def xds_secret_name(tenant_namespace: str, fleet: str = names.SHARED_FLEET) -> str:
    """Return the name of the Secret with a fleet's client certificate for the control plane."""
    return f"{workload_name(tenant_namespace, fleet)}-xds"


def xds_secret(
    owner: Object | None,
    tenant_namespace: str,
    fleet: str,
    *,
    certificate: bytes,
    key: bytes,
    ca: bytes,
    files: Mapping[str, str] | None = None,
) -> Object:
    """Return the Secret with a fleet's client certificate, all in PEM, and what else is to be mounted beside it.

    `files` (name -> text) has a place for the constant SDS files of `bootstrap.files`, by which Envoy
    follows a rotation without a restart.
    """
    content = {name: text.encode() for name, text in (files or {}).items()}
    content.update({"tls.crt": certificate, "tls.key": key, "ca.crt": ca})
    out = meta.obj(
        "v1",
        "Secret",
        xds_secret_name(tenant_namespace, fleet),
        tenant_namespace,
        labels={**meta.managed_labels(), **meta.fleet_labels(tenant_namespace, fleet)},
        ownerReferences=meta.owners(owner),
    )
    data = {name: base64.b64encode(value).decode() for name, value in sorted(content.items())}
    return {**out, "type": "kubernetes.io/tls", "data": data}


def workload(
    owner: Object | None,
    tenant_namespace: str,
    fleet: str,
    *,
    bootstrap: str,
    image: str,
    agent: Agent,
    settings: EnvoySettings,
) -> Object:
    """Return the Deployment or DaemonSet of a fleet.

    Args:
        owner: the Tenant; None for the fleet of all tenants.
        tenant_namespace: where the pods run.
        fleet: the fleet's name.
        bootstrap: Envoy's configuration, as text for `--config-yaml`.
        image: Envoy's image, unless the settings name one.
        agent: what runs beside it.
        settings: from Config and Tenant.
    """
    selector = meta.fleet_labels(tenant_namespace, fleet)
    out = meta.obj(
        "apps/v1",
        "DaemonSet" if settings.use_daemon_set else "Deployment",
        workload_name(tenant_namespace, fleet),
        tenant_namespace,
        labels={
            **meta.managed_labels(),
            names.LABEL_FLEET: names.fleet_label(tenant_namespace, fleet),
            names.LABEL_APP_NAME: "kubelb-envoy-proxy",
            names.LABEL_APP_INSTANCE: names.label_value(tenant_namespace),
            names.LABEL_APP_MANAGED_BY: names.MANAGED_BY,
        },
        annotations={names.ANNOTATION_FLEET: fleet},
        ownerReferences=meta.owners(owner),
    )
    # Overlay of at most one more pod at a time; a DaemonSet's surge needs no free host port here.
    pod = _pod_spec(tenant_namespace, fleet, bootstrap, settings.image or image, agent, settings)
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    spec: Object = {
        "selector": {"matchLabels": selector},
        "template": {
            "metadata": {
                "labels": {**meta.managed_labels(), **selector},
                **({} if settings.pod_monitor else {"annotations": _SCRAPED}),
            },
            "spec": pod,
        },
    }
    if settings.use_daemon_set:
        spec["updateStrategy"] = rolling
    else:
        spec["replicas"] = settings.replicas
        spec["strategy"] = rolling
    return {**out, "spec": spec}


def rolled_out(live: Object) -> bool:
    """Whether a live Deployment or DaemonSet runs what its spec asks for, with at least one pod that is available."""
    status = untrusted.mapping(live.get("status"))

    def count(key: str) -> int:
        return untrusted.integer(status.get(key)) or 0

    if count("observedGeneration") < (untrusted.integer(untrusted.at(live, "metadata", "generation")) or 0):
        return False
    if live.get("kind") == "DaemonSet":
        wanted, updated, available = "desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"
        return 0 < count(wanted) <= min(count(updated), count(available))
    replicas = untrusted.integer(untrusted.at(live, "spec", "replicas"))
    return max(replicas or 0, 1) <= min(count("updatedReplicas"), count("availableReplicas"))


def _pod_spec(namespace: str, fleet: str, bootstrap: str, image: str, agent: Agent, settings: EnvoySettings) -> Object:
    spec: Object = {
        "initContainers": [_agent_container(agent, settings)],
        "containers": [_container(namespace, fleet, bootstrap, image, agent, settings)],
        "volumes": [{"name": _XDS_VOLUME, "secret": {"secretName": xds_secret_name(namespace, fleet)}}],
        "terminationGracePeriodSeconds": settings.grace_seconds,
        # Envoy talks to its control plane only; a credential for the API would be one to steal.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "fsGroup": _UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    optional: dict[str, Any] = {
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [dict(item) for item in settings.tolerations],
        "affinity": dict(settings.affinity),
    }
    if settings.single_pod_per_node and not settings.use_daemon_set:
        optional["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                # Hard, the extra pod of a rolling update would find no node where there are as many pods as nodes.
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": meta.fleet_labels(namespace, fleet)},
                # The pods of a revision spread among themselves; those that are about to leave do not count.
                "matchLabelKeys": ["pod-template-hash"],
            }
        ]
    return {**spec, **{key: value for key, value in optional.items() if value}}


_UID = 65532
_SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(names.ENVOY_STATS_PORT),
    "prometheus.io/path": "/stats/prometheus",
}
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _container(namespace: str, fleet: str, bootstrap: str, image: str, agent: Agent, settings: EnvoySettings) -> Object:
    # Asked of the agent: Envoy's own answer would be "no" while it drains, and under heavy load.
    ready = {"httpGet": {"path": "/ready", "port": names.AGENT_PORT}}
    container: Object = {
        "name": CONTAINER,
        "image": image,
        "args": [
            "--config-yaml",
            bootstrap,
            "--service-node",
            names.node_id(namespace, fleet, "$(POD_NAME)"),
            "--service-cluster",
            f"{namespace}/{fleet}",
            "--drain-time-s",
            str(max(_DRAIN_SECONDS, math.ceil(settings.shutdown.timeout) + 1)),
        ],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": names.ENVOY_STATS_PORT, "protocol": "TCP"},
            {"name": "readiness", "containerPort": names.ENVOY_READY_PORT, "protocol": "TCP"},
        ],
        "startupProbe": {**ready, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 300},
        "readinessProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
        "volumeMounts": [{"name": _XDS_VOLUME, "mountPath": XDS_MOUNT, "readOnly": True}],
        "securityContext": _RESTRICTED,
    }
    if settings.shutdown.drain:
        token = {"name": "Authorization", "value": f"Bearer {agent.token}"}
        drain = {"path": "/drain", "port": names.AGENT_PORT, "httpHeaders": [token]}
        container["lifecycle"] = {"preStop": {"httpGet": drain}}
    if settings.resources:
        container["resources"] = dict(settings.resources)
    return container


def _agent_container(agent: Agent, settings: EnvoySettings) -> Object:
    alive = {"httpGet": {"path": "/healthz", "port": names.AGENT_PORT}}
    return {
        "name": AGENT_CONTAINER,
        "image": agent.image,
        "restartPolicy": "Always",
        "args": [
            "agent",
            f"--drain-timeout={settings.shutdown.timeout:g}",
            f"--min-drain={settings.shutdown.minimum:g}",
        ],
        "env": [{"name": "KUBELB_MANAGER_AGENT_DRAIN_TOKEN", "value": agent.token}],
        "ports": [{"name": "agent", "containerPort": names.AGENT_PORT, "protocol": "TCP"}],
        "livenessProbe": {**alive, "initialDelaySeconds": 30, "periodSeconds": 10, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": _RESTRICTED,
    }
