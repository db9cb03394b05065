"""What a scenario holds: the clusters with their clients, applications, addresses, traffic."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.aio import AioClient
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import conditions, view
from kubelb_common.testing import builders
from kubelb_e2e.clusters.base import Lab
from kubelb_e2e.traffic import Traffic
from kubelb_e2e.wait import Waiter

ECHO_IMAGE = "kubelb/echo:0.1.0"
ECHO_HTTP = 8080
ECHO_TCP = 9000


@dataclass(slots=True)
class Tenant:
    """A tenant cluster and its place in the management cluster."""

    name: str
    client: AioClient
    hub_namespace: str
    agent: AioClient
    #: Namespace of the scenario that uses it now.
    namespace: str = ""
    #: By which name its nodes find an image of the catalogue (`Lab.image`).
    image: Callable[[str], str] = str

    async def apply(self, resource: Resource, obj: Object) -> Object:
        """Create an object in the scenario's namespace."""
        return await self.client.create(resource, obj, view.namespace(obj) or self.namespace)

    async def app(self, name: str, *, replicas: int = 1, port: int = 80, target: int = ECHO_HTTP, **more: Any) -> None:
        """Deploy an echo application (see `echo` for `more`) and a ClusterIP Service for it."""
        await self.apply(resources.DEPLOYMENTS, self.echo(name, self.namespace, replicas=replicas, **more))
        await self.service(name, app=name, port=port, target=target)

    def echo(self, name: str, namespace: str, *, replicas: int = 1, **more: Any) -> Object:
        """Return a Deployment of the echo application; `more` as of the function `echo`."""
        return echo(name, namespace, replicas=replicas, image=self.image(ECHO_IMAGE), **more)

    async def service(self, name: str, *, app: str, port: int = 80, target: int = ECHO_HTTP) -> Object:
        """Create a ClusterIP Service over an application's pods."""
        wanted = builders.service(name, self.namespace).selector(app=app).build()
        wanted["spec"]["ports"] = [{"name": "http", "port": port, "targetPort": target, "protocol": "TCP"}]
        return await self.apply(resources.SERVICES, wanted)

    async def ingress(self, name: str, *rules: tuple[str, str, str], default: str | None = None) -> Object:
        """Create an Ingress; rules are (host, path, service)."""
        return await self.apply(resources.INGRESSES, ingress(name, self.namespace, *rules, default=default))

    async def load_balancer(self, name: str, *, app: str, port: int = 9000, target: int = ECHO_TCP) -> Object:
        """Create a Service of type LoadBalancer."""
        wanted = builders.service(name, self.namespace).selector(app=app).build()
        wanted["spec"] |= {
            "type": "LoadBalancer",
            "ports": [{"name": "tcp", "port": port, "targetPort": target, "protocol": "TCP"}],
        }
        return await self.apply(resources.SERVICES, wanted)

    async def expose(self, name: str, *ports: tuple[str, int, str], app: str, **spec: Any) -> Object:
        """Create a Service of type LoadBalancer over an echo application.

        Ports are (name, port, protocol), each served by the application's port of that protocol; `spec` is added.
        """
        wanted = builders.service(name, self.namespace).selector(app=app).build()
        wanted["spec"] |= {"type": "LoadBalancer", "ports": [port(*each) for each in ports], **spec}
        return await self.apply(resources.SERVICES, wanted)

    async def change(self, resource: Resource, name: str, patch: Object) -> Object:
        """Merge a patch into an object of the scenario's namespace."""
        return await self.client.patch(resource, name, patch, self.namespace)

    async def get(self, resource: Resource, name: str) -> Object:
        """Read an object of the scenario's namespace; an absent one fails a wait's check."""
        try:
            return await self.client.get(resource, name, self.namespace)
        except NotFound as error:
            raise AssertionError(f"{resource.kind} {self.namespace}/{name} does not exist") from error

    async def address(self, resource: Resource, name: str) -> str:
        """Return the address in an object's status; none fails a wait's check."""
        found = view.text(await self.get(resource, name), "status", "loadBalancer", "ingress", 0, "ip")
        assert found, f"{resource.kind} {name} has no address yet"
        return found

    async def gone(self, resource: Resource, name: str) -> None:
        """Check that an object does not exist."""
        try:
            found = await self.client.get(resource, name, self.namespace)
        except NotFound:
            return
        raise AssertionError(f"{resource.kind} {name} is still there, finalizers {view.finalizers(found)}")

    async def clear(self) -> None:
        """Ask for the deletion of what is served; a namespace's deletion alone waits for its pods first."""
        for item in (await self.client.list(resources.INGRESSES, self.namespace)).items:
            await self.delete(resources.INGRESSES, view.name(item))
        for item in (await self.client.list(resources.SERVICES, self.namespace)).items:
            if view.text(item, "spec", "type") == "LoadBalancer":
                await self.delete(resources.SERVICES, view.name(item))

    async def delete(self, resource: Resource, name: str) -> None:
        """Ask for the deletion of an object of the scenario's namespace."""
        await self.client.delete(resource, name, self.namespace)


def port(name: str, number: int, protocol: str = "TCP") -> Object:
    """Return a Service's port that the echo application serves."""
    return {"name": name, "port": number, "targetPort": ECHO_TCP, "protocol": protocol}


@dataclass(slots=True)
class Environment:
    """A lab with the product in it, and the scenario's namespaces."""

    management: AioClient
    tenants: list[Tenant]
    traffic: Traffic
    wait: Waiter
    lab: Lab
    hosts: Iterator[int] = field(default_factory=itertools.count)

    @property
    def tenant(self) -> Tenant:
        """The first tenant."""
        return self.tenants[0]

    def host(self, head: str = "app") -> str:
        """Return a host name that no other scenario uses."""
        return f"{head}-{next(self.hosts)}.{self.tenant.namespace}.example.com"

    async def route_of(self, tenant: Tenant, ingress_name: str) -> Object:
        """Return the Route of a tenant's Ingress, in the management cluster."""
        source = await tenant.get(resources.INGRESSES, ingress_name)
        try:
            return await self.management.get(resources.ROUTES, view.uid(source), tenant.hub_namespace)
        except NotFound as error:
            raise AssertionError(f"no Route for Ingress {ingress_name}") from error

    async def answers(self, address: str, port: int, protocol: str) -> str:
        """Wait until the echo application answers over tcp or udp; return what was met."""

        async def check() -> str:
            met = await self.traffic.ask(address, port, protocol)
            assert met, f"nobody answers at {address}:{port}/{protocol}"
            return met

        return await self.wait.eventually("served", check)

    async def condition(self, resource: Resource, name: str, namespace: str, type_: str) -> dict[str, Any]:
        """Return a condition of an object in the management cluster; empty if it is not there."""
        obj = await self.management.get(resource, name, namespace)
        return dict(conditions.find(view.objects(obj, "status", "conditions"), type_) or {})

    async def served(self, tenant: Tenant, ingress_name: str, host: str, path: str = "/") -> str:
        """Wait for the Ingress' address and a 200 from it; return the address."""
        address = await self.wait.eventually("served", lambda: tenant.address(resources.INGRESSES, ingress_name))

        async def answers() -> None:
            answer = await self.traffic.get(address, host, path)
            assert answer.status == 200, f"http://{host}{path} at {address}: {answer.status} {answer.error}"

        await self.wait.eventually("served", answers)
        return address

    async def kill_pods(self, client: AioClient, namespace: str, app: str) -> list[str]:
        """Delete the pods of an application at once; return their UIDs."""
        found = await client.list(resources.PODS, namespace, label_selector=f"{names.LABEL_APP_NAME}={app}")
        for pod in found.items:
            await client.delete(resources.PODS, view.name(pod), namespace, grace_period_seconds=0)
        return [view.uid(pod) for pod in found.items]

    async def replaced(self, client: AioClient, namespace: str, app: str, old: list[str]) -> None:
        """Wait until an application runs in pods other than `old` and all are ready."""

        async def check() -> None:
            found = await client.list(resources.PODS, namespace, label_selector=f"{names.LABEL_APP_NAME}={app}")
            fresh = [pod for pod in found.items if view.uid(pod) not in old and not view.deleting(pod)]
            assert fresh, f"no new pod of {app} yet"
            for pod in fresh:
                ready = conditions.is_true(view.objects(pod, "status", "conditions"), "Ready")
                assert ready, f"pod {view.name(pod)} is not ready: {view.get(pod, 'status', 'containerStatuses')}"

        await self.wait.eventually("pod", check)


def echo(
    name: str, namespace: str, *, replicas: int = 1, image: str = ECHO_IMAGE, node: str = "", drain: int = 0
) -> Object:
    """Return a Deployment of the echo application, with HTTP, TCP and UDP.

    `node` binds its pods to a node; with `drain` a pod goes on accepting for so many seconds after it was told to end.
    """
    container: Object = {
        "name": "echo",
        "image": image,
        "ports": [
            {"containerPort": ECHO_HTTP},
            {"containerPort": ECHO_TCP},
            {"containerPort": ECHO_TCP, "protocol": "UDP"},
        ],
        "env": [{"name": "DRAIN", "value": str(drain)}],
        "readinessProbe": {"tcpSocket": {"port": ECHO_HTTP}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "containers": [container],
                    "terminationGracePeriodSeconds": 5 + drain,
                    **({"nodeName": node} if node else {}),
                },
            },
        },
    }


def ingress(name: str, namespace: str, *rules: tuple[str, str, str], default: str | None = None) -> Object:
    """Return an Ingress of our class; rules are (host, path, service), an empty host stands for any."""
    by_host: dict[str, list[Object]] = {}
    for host, path, service in rules:
        by_host.setdefault(host, []).append(
            {
                "path": path.removeprefix("="),
                "pathType": "Exact" if path.startswith("=") else "Prefix",
                "backend": {"service": {"name": service, "port": {"number": 80}}},
            }
        )
    spec: Object = {"ingressClassName": names.CLASS}
    if by_host:
        spec["rules"] = [
            {**({"host": host} if host else {}), "http": {"paths": paths}} for host, paths in by_host.items()
        ]
    if default is not None:
        spec["defaultBackend"] = {"service": {"name": default, "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
