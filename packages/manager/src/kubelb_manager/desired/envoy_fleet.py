"""The pods of a fleet: a Deployment, or a DaemonSet where Config asks for one.

A rolling update never takes a ready Envoy away before its successor is ready, and an Envoy is ready
only when it has its configuration. On the way out a pod first waits for the endpoints that name it
to be forgotten, then gets SIGTERM.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager.desired import meta
from kubelb_manager.desired.service import HTTP_PORT
from kubelb_manager.settings.merged import EnvoySettings

CONTAINER = "envoy-proxy"
XDS_MOUNT = "/etc/envoy/xds"
READY_PORT = 19003
STATS_PORT = 19001
#: Seconds in which kube-proxies and load balancers forget a leaving pod before it stops.
LEAVE_SECONDS = 5
_XDS_VOLUME = "xds"


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
    settings: EnvoySettings,
) -> Object:
    """Return the Deployment or DaemonSet of a fleet.

    Args:
        owner: the Tenant; None for the fleet of all tenants.
        tenant_namespace: where the pods run.
        fleet: the fleet's name.
        bootstrap: Envoy's configuration, as text for `--config-yaml`.
        image: Envoy's image, unless the settings name one.
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
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    spec: Object = {
        "selector": {"matchLabels": selector},
        "template": {
            "metadata": {
                "labels": {**meta.managed_labels(), **selector},
                "annotations": {
                    "prometheus.io/scrape": "true",
                    "prometheus.io/port": str(STATS_PORT),
                    "prometheus.io/path": "/stats/prometheus",
                },
            },
            "spec": _pod_spec(tenant_namespace, fleet, bootstrap, settings.image or image, settings),
        },
    }
    if settings.use_daemon_set:
        spec["updateStrategy"] = rolling
    else:
        spec["replicas"] = settings.replicas
        spec["strategy"] = rolling
    return {**out, "spec": spec}


def _pod_spec(namespace: str, fleet: str, bootstrap: str, image: str, settings: EnvoySettings) -> Object:
    spec: Object = {
        "containers": [_container(namespace, fleet, bootstrap, image, settings)],
        "volumes": [{"name": _XDS_VOLUME, "secret": {"secretName": xds_secret_name(namespace, fleet)}}],
        "terminationGracePeriodSeconds": settings.grace_seconds,
        # Envoy talks to its control plane only; a credential for the API would be one to steal.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, **_SECCOMP},
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
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": meta.fleet_labels(namespace, fleet)},
            }
        ]
    return {**spec, **{key: value for key, value in optional.items() if value}}


_SECCOMP = {"seccompProfile": {"type": "RuntimeDefault"}}


def _container(namespace: str, fleet: str, bootstrap: str, image: str, settings: EnvoySettings) -> Object:
    ready = {"httpGet": {"path": "/ready", "port": READY_PORT}}
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
        ],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": STATS_PORT, "protocol": "TCP"},
            {"name": "readiness", "containerPort": READY_PORT, "protocol": "TCP"},
        ],
        "startupProbe": {**ready, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 300},
        "readinessProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 2},
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        "volumeMounts": [{"name": _XDS_VOLUME, "mountPath": XDS_MOUNT, "readOnly": True}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if settings.resources:
        container["resources"] = dict(settings.resources)
    return container
