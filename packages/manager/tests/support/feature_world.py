"""A whole manager between a fake API server and a client that speaks delta xDS as Envoy does."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import grpc.aio

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import conditions, view
from kubelb_common.runtime.clock import SystemClock
from kubelb_common.runtime.leader import Timing
from kubelb_common.testing.fake import kinds
from kubelb_common.testing.fake_kube import FakeKube
from kubelb_common.testing.ports import free
from kubelb_manager.app import Manager
from kubelb_manager.controllers.xds_identity import XdsIdentity
from kubelb_manager.desired.envoy_fleet import workload_name, xds_secret_name
from kubelb_manager.ir.model import Endpoint, FleetId
from kubelb_manager.options import Bind, Options
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES, RUNTIME, TYPES

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
NAMESPACE = "tenant-a"
FLEET = FleetId(NAMESPACE, names.SHARED_FLEET)
SECONDS = 30.0  # a wait ends when its condition holds; a busy machine takes long
#: For what Envoys have to let go of: less than `snapshot.REMOVAL_BOUND`, after which a manager does without them.
RELEASE_SECONDS = 25.0
#: What the Prometheus operator installs, as far as it matters here.
POD_MONITOR_CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "podmonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {
            "plural": "podmonitors",
            "singular": "podmonitor",
            "kind": "PodMonitor",
            "listKind": "PodMonitorList",
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
NODES = ("192.0.2.11", "192.0.2.12")


async def until(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait for a named condition."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the condition is outside this loop's reach
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None


def typed(resource: Any, body: Object) -> Object:
    """Return the body of a custom object with what an API server insists on."""
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body}


class FakeEnvoy:
    """Takes and acknowledges everything, keeps what it has, and notes the order of things."""

    def __init__(self, port: int, secret: Object, pod: str = "envoy-0", node: str | None = None) -> None:
        data = {key: base64.b64decode(value) for key, value in secret["data"].items()}
        credentials = grpc.ssl_channel_credentials(data["ca.crt"], data["tls.key"], data["tls.crt"])
        options = (("grpc.ssl_target_name_override", "envoycp.kubelb.svc"),)
        self._channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)
        self.node = node or f"{NAMESPACE}/{names.SHARED_FLEET}/{pod}"
        self.has: dict[str, dict[str, bytes]] = {url: {} for url in TYPES}
        self.versions: dict[str, dict[str, str]] = {url: {} for url in self.has}
        self.received: list[tuple[str, str, str]] = []
        self.refuse: Callable[[str, str, bytes], str | None] = lambda _url, _name, _body: None
        self.error: grpc.aio.AioRpcError | None = None
        self.faults: list[str] = []
        #: Responses are taken while this is set.
        self.listens = asyncio.Event()
        self.listens.set()
        self.extensions: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def resume(self, before: FakeEnvoy) -> FakeEnvoy:
        """Have what `before` had, as an Envoy that comes to another manager."""
        self.has = {url: dict(found) for url, found in before.has.items()}
        self.versions = {url: dict(found) for url, found in before.versions.items()}
        return self

    @property
    def ended(self) -> bool:
        """Whether the stream is over, whoever ended it."""
        return self._task is not None and self._task.done()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._channel.close()

    async def _run(self) -> None:
        call = self._channel.stream_stream(METHOD)()
        try:
            await self._ask(call, CLUSTER, node=True)
            await self._ask(call, RUNTIME, [names.RUNTIME_LAYER])
            await self._ask(call, LISTENER)
            if self.has[CLUSTER]:
                await self._ask(call, ENDPOINTS, sorted(self.has[CLUSTER]))
            if self.has[EXTENSIONS]:
                self.extensions = set(self.has[EXTENSIONS])
                await self._ask(call, EXTENSIONS, sorted(self.extensions))
            if self.has[ROUTES]:
                self._asked.update(self.has[ROUTES])
                await self._ask(call, ROUTES, sorted(self.has[ROUTES]))
            while (data := await call.read()) is not grpc.aio.EOF:
                await self._take(call, pb.DeltaDiscoveryResponse.FromString(data))
        except grpc.aio.AioRpcError as error:
            self.error = error

    async def _ask(self, call: Any, url: str, subscribe: list[str] | None = None, *, node: bool = False) -> None:
        request = pb.DeltaDiscoveryRequest(type_url=url, resource_names_subscribe=subscribe or [])
        if node:
            request.node.id = self.node
        for name, version in self.versions[url].items():
            request.initial_resource_versions[name] = version
        await call.write(request.SerializeToString())

    async def _take(self, call: Any, response: Any) -> None:
        await self.listens.wait()
        url = response.type_url
        known = set(self.has[CLUSTER])
        refusals = [text for each in response.resources if (text := self.refuse(url, each.name, each.resource.value))]
        answer = pb.DeltaDiscoveryRequest(type_url=url, response_nonce=response.nonce)
        if refusals:
            answer.error_detail.message = refusals[0]
            await call.write(answer.SerializeToString())
            return
        for each in response.resources:
            self.has[url][each.name] = each.resource.value
            self.versions[url][each.name] = each.version
            self.received.append(("set", url, each.name))
        for name in response.removed_resources:
            self.has[url].pop(name, None)
            self.versions[url].pop(name, None)
            self.received.append(("removed", url, name))
        self._check()
        fresh: list[str] = []
        if url == CLUSTER:
            fresh = sorted(set(self.has[CLUSTER]) - known)
        if url == LISTENER:
            await self._ask_extensions(call)
            await self._ask_routes(call)
        await call.write(answer.SerializeToString())
        if fresh:
            await self._ask(call, ENDPOINTS, fresh)

    async def _ask_routes(self, call: Any) -> None:
        """Ask for the route tables of new listeners before their acknowledgement, as Envoy does."""
        tables = {name for name in self.has[LISTENER] if name == "http" or name.endswith("/http")}
        if tables - self._asked:
            await self._ask(call, ROUTES, sorted(tables - self._asked))
            self._asked.update(tables)

    async def _ask_extensions(self, call: Any) -> None:
        """Ask for what listeners name, and give up the rest, before their acknowledgement, as Envoy does."""
        named = {
            item.name
            for body in self.has[LISTENER].values()
            for chain in pb.Listener.FromString(body).filter_chains
            for item in chain.filters
            if item.HasField("config_discovery")
        } | self._of_requests()
        before, self.extensions = self.extensions, named
        if named == before:
            return
        request = pb.DeltaDiscoveryRequest(
            type_url=EXTENSIONS,
            resource_names_subscribe=sorted(named - before),
            resource_names_unsubscribe=sorted(before - named),
        )
        for name in before - named:
            self.has[EXTENSIONS].pop(name, None)
            self.versions[EXTENSIONS].pop(name, None)
        await call.write(request.SerializeToString())

    def _of_requests(self) -> set[str]:
        """Return the extensions that HTTP listeners name."""
        found = set()
        for body in self.has[LISTENER].values():
            for chain in pb.Listener.FromString(body).filter_chains:
                manager = pb.HttpConnectionManager()
                if chain.filters[0].typed_config.Unpack(manager):
                    found |= {item.name for item in manager.http_filters if item.HasField("config_discovery")}
        return found

    def share(self) -> dict[str, Any]:
        """Return what this Envoy lets a tenant have: connections by listener, and requests per second."""
        body = self.has[RUNTIME].get(names.RUNTIME_LAYER, b"")
        found = dict(pb.MessageToDict(pb.Runtime.FromString(body).layer))
        bucket = pb.LocalRateLimit()
        extension = pb.TypedExtensionConfig.FromString(self.has[EXTENSIONS].get("http/requests", b""))
        if extension.typed_config.Unpack(bucket) and bucket.filter_enabled.default_value.numerator:
            found["requests"] = bucket.token_bucket.max_tokens
        return found

    def proxied(self, listener: str) -> str:
        """Return the cluster that a layer-4 TCP listener's connections go to."""
        body = self.has[EXTENSIONS].get(listener)
        proxy = pb.TcpProxy()
        if body is not None:
            pb.TypedExtensionConfig.FromString(body).typed_config.Unpack(proxy)
        return str(proxy.cluster)

    @property
    def _asked(self) -> set[str]:
        return self.__dict__.setdefault("asked", set())

    def _check(self) -> None:
        """What may never be: a route to a cluster that this Envoy has not, or has no endpoints of."""
        for name in self.routed_clusters() | {self.proxied(name) for name in self.has[EXTENSIONS]} - {""}:
            if name not in self.has[CLUSTER]:
                self.faults.append(f"route to missing cluster {name}")
            elif name not in self.has[ENDPOINTS]:
                self.faults.append(f"route to cluster without endpoints {name}")

    def routed_clusters(self) -> set[str]:
        tables = [self.table(name) for name in self.has[ROUTES]]
        routes = (route for table in tables for found in table.values() for route in found)
        return {route.route.cluster for route in routes if route.route.cluster}

    def table(self, listener: str = "http") -> dict[str, list[Any]]:
        """Return domain -> routes of what a listener serves now."""
        body = self.has[ROUTES].get(listener)
        if body is None:
            return {}
        hosts = pb.RouteConfiguration.FromString(body).virtual_hosts
        return {domain: list(host.routes) for host in hosts for domain in host.domains}

    def backend(self, host: str, index: int = 0) -> str:
        routes = self.table().get(host, [])
        return routes[index].route.cluster if len(routes) > index else ""


@dataclass
class World:
    """Steers the fake cluster and knows the manager in it."""

    kube: FakeKube
    manager: Manager
    open: set[Endpoint] = field(default_factory=set)
    everything_open: bool = True
    #: Endpoints that somebody connected to.
    asked: set[Endpoint] = field(default_factory=set)

    async def connects(self, endpoint: Endpoint) -> bool:
        self.asked.add(endpoint)
        return self.everything_open or endpoint in self.open

    async def quiet(self) -> None:
        """Wait until the manager has seen all there is and every controller is done with it; timers do not count."""
        history = self.kube.store.history
        followed = [each for each in self.manager.informers.all() if self._is_installed(each.resource)]

        def is_quiet() -> bool:
            self.kube.send_bookmarks()
            kinds = [(informer, (informer.resource.group, informer.resource.plural)) for informer in followed]
            return (
                len(history.watches()) >= len(followed)
                and all(informer.has(str(history.newest(kind))) for informer, kind in kinds)
                and all(controller.is_idle for controller in self.manager.controllers)
            )

        await until(is_quiet, "the manager is quiet")

    def _is_installed(self, resource: Any) -> bool:
        crd = f"{resource.plural}.{resource.group}"
        return kinds.built_in(resource) or self.kube.peek(resources.CRDS, crd) is not None

    def get(self, resource: Any, name: str, namespace: str | None = NAMESPACE) -> Object | None:
        return self.kube.peek(resource, name, namespace)

    def condition(self, resource: Any, name: str, type_: str) -> dict[str, Any]:
        obj = self.get(resource, name) or {}
        return dict(conditions.find(view.objects(obj, "status", "conditions"), type_) or {})

    async def configure(self, **spec: Any) -> None:
        """Create Config, or patch its spec."""
        if self.get(resources.CONFIGS, names.CONFIG_NAME, "kubelb") is None:
            body = {"metadata": {"name": names.CONFIG_NAME}, "spec": spec}
            await self.kube.create(resources.CONFIGS, typed(resources.CONFIGS, body), "kubelb")
        else:
            await self.kube.patch(resources.CONFIGS, names.CONFIG_NAME, {"spec": spec}, "kubelb")

    def shown(self, resource: Any, name: str) -> Any:
        """Return the addresses that a Route or LoadBalancer shows."""
        status = (self.get(resource, name) or {}).get("status", {})
        source = status if resource is resources.LOAD_BALANCERS else view.get(status, "resources", "route", "status")
        return view.get(source or {}, "loadBalancer", "ingress", default=[])

    async def onboard(self, name: str = "a", replicas: int = 1) -> None:
        """Make a Tenant; play the token controller."""
        home = names.tenant_namespace(name)
        spec = {"envoyProxy": {"replicas": replicas}}
        await self.kube.create(resources.TENANTS, typed(resources.TENANTS, {"metadata": {"name": name}, "spec": spec}))
        await self.fill_token("kubelb-ccm", "t0ken", home)
        await until(lambda: self.kube.peek(resources.SECRETS, "kubelb-ccm-kubeconfig", home), "the kubeconfig")
        nodes = {"addresses": [{"ip": ip} for ip in NODES]}
        addresses = typed(resources.ADDRESSES, {"metadata": {"name": "default"}, "spec": nodes})
        await self.kube.create(resources.ADDRESSES, addresses, home)

    async def fill_token(self, secret: str, token: str, home: str = NAMESPACE) -> None:
        """Play the token controller for one Secret."""
        await until(lambda: self.kube.peek(resources.SECRETS, secret, home), f"the token Secret {secret}")
        data = {"token": base64.b64encode(token.encode()).decode(), "ca.crt": base64.b64encode(b"ca").decode()}
        await self.kube.patch(resources.SECRETS, secret, {"data": data}, home)

    def token(self, home: str = NAMESPACE) -> str:
        """Return the token in the tenant's kubeconfig, empty if there is none."""
        secret = self.kube.peek(resources.SECRETS, names.CCM_KUBECONFIG_SECRET, home)
        if secret is None:
            return ""
        config = json.loads(base64.b64decode(secret["data"][names.CCM_KUBECONFIG_KEY]))
        return str(config["users"][0]["user"]["token"])

    async def route(
        self, name: str, host: str, services: dict[str, int], *, paths: dict[str, str] | None = None, **extra: Any
    ) -> Object:
        """Write a Route as an agent does: services are name -> node port, paths are path -> service."""
        paths = paths or {"/": next(iter(services), "missing")}
        rule = {
            "host": host,
            "http": {
                "paths": [
                    {"path": path, "pathType": "Prefix", "backend": {"service": {"name": s, "port": {"number": 80}}}}
                    for path, s in paths.items()
                ]
            },
        }
        source = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1},
            "spec": {"ingressClassName": "kubelb", "rules": [rule], **extra},
        }
        spec = {
            "endpoints": [{"name": "default", "addressesReference": {"name": "default"}}],
            "source": {
                "kubernetes": {
                    "resource": source,
                    "services": [
                        {
                            "apiVersion": "v1",
                            "kind": "Service",
                            "metadata": {"name": service, "namespace": "default", "uid": f"uid-{service}"},
                            "spec": {
                                "type": "NodePort",
                                "ports": [{"port": 80, "protocol": "TCP", "nodePort": port}],
                            },
                        }
                        for service, port in services.items()
                    ],
                }
            },
        }
        old = self.get(resources.ROUTES, name)
        if old is not None:
            fresh = {**copy.deepcopy(old), "spec": spec}
            return await self.kube.replace(resources.ROUTES, fresh, NAMESPACE)
        body = {"metadata": {"name": name, "finalizers": [names.FINALIZER]}, "spec": spec}
        return await self.kube.create(resources.ROUTES, typed(resources.ROUTES, body), NAMESPACE)

    async def load_balancer(self, name: str, port: int, node_port: int) -> Object:
        """Write a LoadBalancer with one TCP port."""
        return await self.write_load_balancer(name, ("p", port, "TCP", node_port))

    async def write_load_balancer(
        self, name: str, *ports: tuple[str, int, str, int], addresses: str = "default", **extra: Any
    ) -> Object:
        """Write a LoadBalancer as an agent does: ports are (name, port, protocol, node port)."""
        spec = {
            "type": "LoadBalancer",
            "endpoints": [
                {
                    "addressesReference": {"name": addresses},
                    "ports": [{"name": n, "port": node, "protocol": protocol} for n, _, protocol, node in ports],
                }
            ],
            "ports": [{"name": n, "port": port, "protocol": protocol} for n, port, protocol, _ in ports],
            **extra,
        }
        old = self.get(resources.LOAD_BALANCERS, name)
        if old is not None:
            return await self.kube.replace(resources.LOAD_BALANCERS, {**copy.deepcopy(old), "spec": spec}, NAMESPACE)
        body = {"metadata": {"name": name, "finalizers": [names.FINALIZER]}, "spec": spec}
        return await self.kube.create(resources.LOAD_BALANCERS, typed(resources.LOAD_BALANCERS, body), NAMESPACE)

    async def ready_pods(self, *pods: str, fleet: FleetId = FLEET) -> None:
        """Play the EndpointSlice controller for a fleet's headless Service."""
        service = names.fleet_members(*fleet)
        endpoints = [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": pod}}
            for pod in pods
        ]
        labels = {names.LABEL_FLEET: names.fleet_label(*fleet), "kubernetes.io/service-name": service}
        body = {
            "metadata": {"name": f"{service}-x", "labels": labels},
            "addressType": "IPv4",
            "endpoints": endpoints,
        }
        if self.get(resources.ENDPOINT_SLICES, f"{service}-x", fleet.namespace) is None:
            await self.kube.create(resources.ENDPOINT_SLICES, body, fleet.namespace)
        else:
            patch = {"endpoints": endpoints}
            await self.kube.patch(resources.ENDPOINT_SLICES, f"{service}-x", patch, fleet.namespace)

    async def roll_out(self, resource: Resource = resources.DEPLOYMENTS, fleet: FleetId = FLEET, **counts: int) -> None:
        """Play the workload controllers: all pods of a fleet are there, or as many as `counts` says."""
        name = workload_name(*fleet)
        await until(lambda: self.get(resource, name, fleet.namespace), f"a {resource.kind}")
        live = self.get(resource, name, fleet.namespace) or {}
        wanted = view.get(live, "spec", "replicas", default=2)
        keys = ("updatedReplicas", "availableReplicas", "desiredNumberScheduled", "updatedNumberScheduled")
        done = {"observedGeneration": 99, **(counts or dict.fromkeys((*keys, "numberAvailable"), wanted))}
        await self.kube.patch(resource, name, {"status": done}, fleet.namespace, subresource="status")

    async def address(self, service: str, ip: str) -> None:
        """Play the management cluster's load-balancer implementation."""
        await until(lambda: self.get(resources.SERVICES, service), f"Service {service}")
        status = {"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}}
        await self.kube.patch(resources.SERVICES, service, status, NAMESPACE, subresource="status")

    def envoy(self, pod: str = "envoy-0", fleet: FleetId = FLEET, **kwargs: Any) -> FakeEnvoy:
        secret = self.get(resources.SECRETS, xds_secret_name(*fleet), fleet.namespace)
        assert secret is not None
        return FakeEnvoy(self.manager.xds_port, secret, pod, **{"node": f"{fleet.key}/{pod}", **kwargs})

    async def certificate(self, fleet: FleetId = FLEET) -> None:
        name = xds_secret_name(*fleet)
        await until(lambda: self.get(resources.SECRETS, name, fleet.namespace), f"the certificate of {fleet.key}")


async def _api_server(kube: FakeKube) -> None:
    """Play what tells the API server's address."""
    if kube.peek(resources.ENDPOINT_SLICES, "kubernetes", "default") is None:
        api_server = {
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.1"]}],
            "ports": [{"name": "https", "port": 6443}],
        }
        await kube.create(resources.ENDPOINT_SLICES, api_server, "default")


@dataclass
class Replica:
    """One of several managers, and the requests that it made."""

    manager: Manager
    kube: FakeKube
    asked: list[tuple[str, str, str]]
    task: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        return self.manager.leadership.leads

    def writes(self) -> list[tuple[str, str, str]]:
        """Return what it wrote, Lease renewals apart."""
        return [each for each in self.asked if each[0] not in ("get", "list", "watch") and "leases" not in each[1]]

    def versions(self, fleet: str) -> dict[str, dict[str, str]]:
        """Return the version of every resource that it publishes."""
        snapshot = self.manager.cache.snapshot(fleet)
        table = {} if snapshot is None else snapshot.table
        return {url: {name: each.version for name, each in found.items()} for url, found in table.items()}

    def start(self) -> None:
        self.task = asyncio.create_task(self.manager.supervisor.run())

    async def stop(self) -> None:
        """End in order."""
        self.manager.supervisor.stop()
        await asyncio.gather(self.task, return_exceptions=True)

    async def kill(self) -> None:
        """End without a word to the API server."""
        self.manager.leadership._release = _nothing  # type: ignore[union-attr]
        await self.stop()


async def _nothing() -> None: ...


#: An election that a test can wait for.
HASTY = Timing(lease=3.0, deadline=2.0, period=0.5, margin=0.5)


@asynccontextmanager
async def replicas(kube: FakeKube, count: int) -> AsyncIterator[tuple[World, list[Replica]]]:
    """Run several managers over one cluster; the world's own manager is the first that leads."""
    await _api_server(kube)
    made: list[Replica] = []
    worlds: list[World] = []
    for _ in range(count):
        asked: list[tuple[str, str, str]] = []

        def note(verb: str, resource: str, _namespace: str | None, name: str, asked: Any = asked) -> bool:
            asked.append((verb, resource, name))
            return True

        client = kube.as_client(note)
        clock = SystemClock()
        identity = XdsIdentity(client, namespace="kubelb", clock=clock)
        options = Options(xds=Bind("127.0.0.1", free()[0]), advertise_address="127.0.0.1")
        manager = Manager(
            client,
            options,
            identity,
            clock,
            connect=lambda endpoint: worlds[0].connects(endpoint),  # noqa: PLW0108 - made below
            timing=HASTY,
        )
        made.append(Replica(manager, client, asked))
    worlds.append(World(kube, made[0].manager))
    try:
        for each in made:
            each.start()
        await until(lambda: all(each.manager.unready() is None for each in made), "all are ready")
        await until(lambda: sum(each.leads for each in made) == 1, "one leads")
        made.sort(key=lambda each: not each.leads)
        worlds[0].manager = made[0].manager
        yield worlds[0], made
    finally:
        for each in made:
            await each.stop()
        kube.break_watches()


@asynccontextmanager
async def running(kube: FakeKube, world: World | None = None, *, leader_election: bool = False) -> AsyncIterator[World]:
    """Run a manager; with `world`, one that comes after another over the same cluster."""
    await _api_server(kube)
    clock = SystemClock()
    identity = XdsIdentity(kube, namespace="kubelb", clock=clock)
    options = Options(xds=Bind("127.0.0.1", 0), leader_election=leader_election)
    holder: list[World] = [] if world is None else [world]
    manager = Manager(kube, options, identity, clock, connect=lambda endpoint: holder[0].connects(endpoint))  # noqa: PLW0108 - made below
    if world is None:
        world = World(kube, manager)
        holder.append(world)
    world.manager = manager
    task = asyncio.create_task(manager.supervisor.run())
    try:
        await until(lambda: manager.supervisor.ready and manager.xds_port, "the manager is ready")
        yield world
    finally:
        manager.supervisor.stop()
        await asyncio.gather(task, return_exceptions=True)
        kube.break_watches()
