"""Small builders of raw Kubernetes objects for tests: what a test does not say gets a plain, valid value.

    service("web").port(80, node_port=30080).build()
    ingress("shop").rule("shop.example.com", "/", "web", 80).build()

Every builder method returns the builder; `build()` returns a fresh dict. Objects look as their author
wrote them: no status, UID or resourceVersion unless asked for by `uid()` or `status()`.
"""

from __future__ import annotations

import copy
from typing import Any, Self

Object = dict[str, Any]


class Builder:
    """What all builders share."""

    def __init__(self, api_version: str, kind: str, name: str, namespace: str | None) -> None:
        metadata: Object = {"name": name}
        if namespace is not None:
            metadata["namespace"] = namespace
        self._object: Object = {"apiVersion": api_version, "kind": kind, "metadata": metadata}

    @property
    def _spec(self) -> Object:
        spec: Object = self._object.setdefault("spec", {})
        return spec

    def build(self) -> Object:
        """Return the object."""
        return copy.deepcopy(self._object)

    def uid(self, uid: str) -> Self:
        """Set the UID, as if an API server had."""
        return self.meta(uid=uid)

    def generation(self, generation: int) -> Self:
        """Set the generation, as if an API server had."""
        return self.meta(generation=generation)

    def created(self, time: str) -> Self:
        """Set the creation time in RFC 3339, as if an API server had."""
        return self.meta(creationTimestamp=time)

    def deleting(self, time: str = "2026-01-01T00:00:00Z") -> Self:
        """Mark the object as being deleted."""
        return self.meta(deletionTimestamp=time)

    def meta(self, **fields: Any) -> Self:
        """Set fields of the metadata by their JSON names."""
        self._object["metadata"].update(fields)
        return self

    def label(self, key: str, value: str) -> Self:
        """Add a label."""
        self._object["metadata"].setdefault("labels", {})[key] = value
        return self

    def annotation(self, key: str, value: str) -> Self:
        """Add an annotation."""
        self._object["metadata"].setdefault("annotations", {})[key] = value
        return self

    def finalizer(self, name: str) -> Self:
        """Add a finalizer."""
        self._object["metadata"].setdefault("finalizers", []).append(name)
        return self

    def owner(self, owner: Object, *, controller: bool = True) -> Self:
        """Add an owner reference."""
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"].get("uid", ""),
            "controller": controller,
        }
        self._object["metadata"].setdefault("ownerReferences", []).append(reference)
        return self

    def spec(self, **fields: Any) -> Self:
        """Set fields of the spec by their JSON names."""
        self._spec.update(fields)
        return self

    def status(self, **fields: Any) -> Self:
        """Set fields of the status by their JSON names."""
        self._object.setdefault("status", {}).update(fields)
        return self


class ServiceBuilder(Builder):
    """A Service; of type ClusterIP with the selector `app: <name>` unless said otherwise."""

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__("v1", "Service", name, namespace)
        self.spec(type="ClusterIP", selector={"app": name}, ports=[])

    def port(
        self,
        port: int,
        *,
        name: str = "",
        protocol: str = "TCP",
        target_port: int | str | None = None,
        node_port: int | None = None,
        app_protocol: str = "",
    ) -> Self:
        """Add a port; its target is the same number unless given."""
        entry: Object = {"port": port, "protocol": protocol, "targetPort": port if target_port is None else target_port}
        optional = {"name": name, "nodePort": node_port, "appProtocol": app_protocol}
        entry.update({key: value for key, value in optional.items() if value})
        self._spec["ports"].append(entry)
        return self

    def type(self, type_: str) -> Self:
        """Set the type."""
        return self.spec(type=type_)

    def load_balancer(self, *, class_: str | None = None) -> Self:
        """Make it a Service of type LoadBalancer."""
        self.spec(type="LoadBalancer")
        return self.spec(loadBalancerClass=class_) if class_ else self

    def headless(self) -> Self:
        """Give it no cluster address."""
        return self.spec(clusterIP="None")

    def selector(self, **labels: str) -> Self:
        """Replace the selector; none at all without arguments."""
        self._spec.pop("selector", None)
        return self.spec(selector=labels) if labels else self

    def ingress_ip(self, *addresses: str) -> Self:
        """Set the addresses in the status."""
        return self.status(loadBalancer={"ingress": [{"ip": address} for address in addresses]})


class IngressBuilder(Builder):
    """An Ingress; of class `kubelb` unless said otherwise."""

    def __init__(self, name: str, namespace: str, class_: str | None) -> None:
        super().__init__("networking.k8s.io/v1", "Ingress", name, namespace)
        if class_ is not None:
            self.spec(ingressClassName=class_)

    def rule(self, host: str, path: str, service: str, port: int | str, *, path_type: str = "Prefix") -> Self:
        """Add a path to the rule of a host; an empty host stands for all."""
        rules: list[Object] = self._spec.setdefault("rules", [])
        rule = next((item for item in rules if item.get("host", "") == host), None)
        if rule is None:
            rule = {"host": host} if host else {}
            rule["http"] = {"paths": []}
            rules.append(rule)
        rule["http"]["paths"].append({"path": path, "pathType": path_type, "backend": backend(service, port)})
        return self

    def default_backend(self, service: str, port: int | str) -> Self:
        """Set the default backend."""
        return self.spec(defaultBackend=backend(service, port))

    def tls(self, secret: str, *hosts: str) -> Self:
        """Add a certificate for hosts."""
        self._spec.setdefault("tls", []).append({"secretName": secret, "hosts": list(hosts)})
        return self


class NodeBuilder(Builder):
    """A Node; ready unless said otherwise."""

    def __init__(self, name: str) -> None:
        super().__init__("v1", "Node", name, None)
        self.status(addresses=[])
        self.ready()

    def address(self, address: str, type_: str = "InternalIP") -> Self:
        """Add an address."""
        self._object["status"]["addresses"].append({"type": type_, "address": address})
        return self

    def ready(self, status: str = "True") -> Self:
        """Set the condition Ready to True, False or Unknown."""
        return self.status(conditions=[{"type": "Ready", "status": status}])


class PodBuilder(Builder):
    """A Pod with one container."""

    def __init__(self, name: str, namespace: str, image: str) -> None:
        super().__init__("v1", "Pod", name, namespace)
        self.spec(containers=[{"name": "main", "image": image}])

    def on(self, node: str) -> Self:
        """Bind it to a node."""
        return self.spec(nodeName=node)

    def running(self, address: str, *, ready: bool = True) -> Self:
        """Set the status of a pod that runs."""
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        return self.status(phase="Running", podIP=address, podIPs=[{"ip": address}], conditions=conditions)


class EndpointSliceBuilder(Builder):
    """An EndpointSlice of a Service."""

    def __init__(self, name: str, namespace: str, service: str) -> None:
        super().__init__("discovery.k8s.io/v1", "EndpointSlice", name, namespace)
        self.label("kubernetes.io/service-name", service)
        self._object.update(addressType="IPv4", endpoints=[], ports=[])

    def endpoint(self, address: str, *, ready: bool = True, node: str = "", pod: str = "") -> Self:
        """Add an endpoint."""
        entry: Object = {"addresses": [address], "conditions": {"ready": ready}}
        if node:
            entry["nodeName"] = node
        if pod:
            entry["targetRef"] = {"kind": "Pod", "name": pod, "namespace": self._object["metadata"]["namespace"]}
        self._object["endpoints"].append(entry)
        return self

    def port(self, port: int, *, name: str = "", protocol: str = "TCP") -> Self:
        """Add a port."""
        self._object["ports"].append({"name": name, "port": port, "protocol": protocol})
        return self


def backend(service: str, port: int | str) -> Object:
    """Return an Ingress backend; the port is a number or a name."""
    key = "number" if isinstance(port, int) else "name"
    return {"service": {"name": service, "port": {key: port}}}


def service(name: str, namespace: str = "default") -> ServiceBuilder:
    """Begin a Service."""
    return ServiceBuilder(name, namespace)


def ingress(name: str, namespace: str = "default", *, class_: str | None = "kubelb") -> IngressBuilder:
    """Begin an Ingress; `class_=None` leaves the class out."""
    return IngressBuilder(name, namespace, class_)


def node(name: str, *addresses: str) -> NodeBuilder:
    """Begin a ready Node with internal addresses."""
    builder = NodeBuilder(name)
    for address in addresses:
        builder.address(address)
    return builder


def pod(name: str, namespace: str = "default", *, image: str = "example.com/app:1") -> PodBuilder:
    """Begin a Pod."""
    return PodBuilder(name, namespace, image)


def endpoint_slice(service: str, namespace: str = "default", *, name: str | None = None) -> EndpointSliceBuilder:
    """Begin an EndpointSlice of a Service; named `<service>-1` unless given."""
    return EndpointSliceBuilder(name or f"{service}-1", namespace, service)


def namespace(name: str) -> Builder:
    """Begin a Namespace."""
    return Builder("v1", "Namespace", name, None)


def secret(name: str, namespace: str = "default", *, type_: str = "Opaque", **data: str) -> Builder:
    """Begin a Secret; `data` values are in base64 already."""
    builder = Builder("v1", "Secret", name, namespace)
    builder._object.update(type=type_, data=data)  # noqa: SLF001 - a Secret has no spec
    return builder


def resource(api_version: str, kind: str, name: str, namespace: str | None = "default") -> Builder:
    """Begin an object of any kind; `namespace=None` for cluster scope."""
    return Builder(api_version, kind, name, namespace)
