"""Delegated copies: what a third-party controller in the management cluster needs to serve a tenant's Ingress.

It gets the Ingress under its own class, and one ClusterIP Service for each backend Service, whose ports
lead to the fleet's Envoys: one Envoy port for each Service port, since host and path are its business.
Each Route has Services of its own, so removing one of two Routes that share a backend disturbs nothing
(edge case 17); they go with their Route by its owner reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.desired import meta
from kubelb_manager.desired.service import service_port


def service_name(route: tuple[str, str], service: tuple[str, str]) -> str:
    """Return the name of the copy of a Service for one Ingress; both are namespace and name in the tenant."""
    head = f"{service[0]}-{route[1]}-{service[1]}"
    return names.generated_name(head, "Service", *route, *service)


def secret_name(namespace: str, name: str) -> str:
    """Return where a certificate for the tenant's Secret `namespace/name` is looked for, and may be issued to.

    That is while none is synced. Never the raw name, under which another namespace of the tenant may have one
    too (ruling 15).
    """
    return names.generated_name(f"{namespace}-{name}", "Secret", namespace, name)


def service(
    route: Object,
    *,
    namespace: str,
    source: tuple[str, str],
    backend: tuple[str, str],
    ports: Iterable[Object],
    annotations: Mapping[str, str],
) -> Object:
    """Return the ClusterIP Service by which a third-party controller reaches one backend, not bound to a fleet yet.

    Args:
        route: the Route, the owner.
        namespace: the tenant's namespace in the management cluster.
        source: namespace and name of the Ingress in the tenant.
        backend: namespace and name of the Service in the tenant.
        ports: from `port`.
        annotations: the ones that the propagation rules pass.
    """
    out = meta.obj(
        "v1",
        "Service",
        service_name(source, backend),
        namespace,
        labels={
            **meta.managed_labels(),
            **meta.origin_labels(*backend),
            names.LABEL_TENANT: names.label_value(namespace),
        },
        annotations={**annotations, **meta.origin_annotations(backend[1])},
        ownerReferences=[meta.owner_reference(route)],
    )
    listed = sorted(ports, key=lambda item: item["port"])
    if len(listed) > 1:
        listed = [item if item.get("name") else {"name": f"port-{item['port']}", **item} for item in listed]
    out["spec"] = {"type": "ClusterIP", "ports": listed}
    return out


def port(name: str, number: int, envoy_port: int, app_protocol: str) -> Object:
    """Return a port of such a Service: the tenant's name, number and protocol, Envoy's port behind it."""
    spoken = {"appProtocol": app_protocol} if app_protocol else {}
    return {**service_port(name, number, envoy_port), **spoken}


def tls_secrets(route: Object) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of the tenant's Secrets that the Ingress of a Route names, the well-formed ones."""
    resource = untrusted.at(route, "spec", "source", "kubernetes", "resource")
    namespace = untrusted.string(untrusted.at(resource, "metadata", "namespace"))
    for entry in untrusted.sequence(untrusted.at(resource, "spec", "tls")):
        name = untrusted.string(untrusted.at(entry, "secretName"))
        if untrusted.is_object_name(name):
            yield namespace, name


def with_secrets(copy: Object, synced: Mapping[str, str]) -> Object:
    """Return the copy with the names of synced Secrets in place of the ones from `secret_name`."""
    entries = [
        {**entry, "secretName": synced[entry["secretName"]]} if entry.get("secretName") in synced else entry
        for entry in copy["spec"].get("tls", ())
    ]
    return {**copy, "spec": {**copy["spec"], "tls": entries}} if entries else copy


def tls(entries: Any, namespace: str, is_host: Callable[[str], bool]) -> list[Object]:
    """Return `spec.tls` of the copy: well-formed hosts, and Secrets by the names that they have here."""
    out: list[Object] = []
    for entry in untrusted.sequence(entries):
        hosts = [host for host in untrusted.sequence(untrusted.at(entry, "hosts")) if isinstance(host, str)]
        secret = untrusted.string(untrusted.at(entry, "secretName"))
        spoken: Object = {"hosts": sorted({host for host in hosts if is_host(host)})} if hosts else {}
        if untrusted.is_object_name(secret):
            spoken["secretName"] = secret_name(namespace, secret)
        if spoken:
            out.append(spoken)
    return out
