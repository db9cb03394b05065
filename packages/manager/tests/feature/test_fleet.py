"""A fleet's pods come, change and go: what is there at each moment."""

from __future__ import annotations

import base64
import json
from typing import Any

from feature_world import NAMESPACE, RELEASE_SECONDS, World, typed, until

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import CLUSTER, LISTENER

NAME = f"envoy-{NAMESPACE}"


async def configure(world: World, **envoy_proxy: Any) -> None:
    spec = {"envoyProxy": envoy_proxy}
    if world.get(resources.CONFIGS, names.CONFIG_NAME, "kubelb") is None:
        body = {"metadata": {"name": names.CONFIG_NAME}, "spec": spec}
        await world.kube.create(resources.CONFIGS, typed(resources.CONFIGS, body), "kubelb")
    else:
        await world.kube.patch(resources.CONFIGS, names.CONFIG_NAME, {"spec": spec}, "kubelb")


def bootstrap(world: World) -> dict[str, Any]:
    live = world.get(resources.DEPLOYMENTS, NAME)
    assert live is not None
    arguments = envoy_container(live)["args"]
    parsed: dict[str, Any] = json.loads(arguments[arguments.index("--config-yaml") + 1])
    return parsed


def envoy_container(workload: Object) -> Object:
    containers = workload["spec"]["template"]["spec"]["containers"]
    found: Object = next(item for item in containers if item["name"] == "envoy-proxy")
    return found


async def test_the_other_workload_is_ready_before_the_first_goes(world: World) -> None:
    await configure(world, replicas=1)
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    for ours, other, daemon_set in (
        (resources.DAEMON_SETS, resources.DEPLOYMENTS, True),
        (resources.DEPLOYMENTS, resources.DAEMON_SETS, False),
    ):
        await world.roll_out(other)
        await configure(world, useDaemonset=daemon_set)
        await until(lambda: world.get(ours, NAME), f"a {ours.kind}")  # noqa: B023
        # No node for any pod, then pods on one node of two: the first workload goes on.
        for count in (0, 1):
            await world.roll_out(
                ours,
                desiredNumberScheduled=count * 2,
                updatedNumberScheduled=count,
                numberAvailable=count,
                updatedReplicas=1,
                availableReplicas=0,
            )
            await world.quiet()
            assert world.get(other, NAME) is not None
        await world.roll_out(ours)
        await until(lambda: world.get(other, NAME) is None, f"no {other.kind}")  # noqa: B023


async def test_an_empty_fleet_is_held_and_used_again(world: World) -> None:
    await configure(world, replicas=1, holdDown="1h")
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.backend("a.example.com"), "served")
        first = world.get(resources.DEPLOYMENTS, NAME)
        await world.kube.delete(resources.ROUTES, "r1", NAMESPACE)
        await until(lambda: world.get(resources.ROUTES, "r1") is None, "released", seconds=RELEASE_SECONDS)
        await world.quiet()
        assert world.get(resources.DEPLOYMENTS, NAME) == first
        await world.route("r2", "b.example.com", {"echo": 30001})
        await until(lambda: envoy.backend("b.example.com"), "served by the same Envoy")
        assert world.get(resources.DEPLOYMENTS, NAME) == first
        await world.kube.delete(resources.ROUTES, "r2", NAMESPACE)
        await until(lambda: world.get(resources.ROUTES, "r2") is None, "released", seconds=RELEASE_SECONDS)
    await world.quiet()
    assert world.get(resources.DEPLOYMENTS, NAME) is not None
    await configure(world, holdDown="10ms")
    await until(lambda: world.get(resources.DEPLOYMENTS, NAME) is None, "the fleet goes")
    ours = ("deployments.apps", "daemonsets.apps", "secrets")
    assert [request for request in world.kube.wasted_writes() if request.resource in ours] == []


async def test_the_tenants_deletion_ends_its_fleet_at_once(world: World) -> None:
    await configure(world, holdDown="1h")
    await world.onboard()
    await world.load_balancer("lb1", 80, 30100)
    await until(lambda: world.get(resources.DEPLOYMENTS, NAME), "a fleet")
    await world.kube.delete(resources.LOAD_BALANCERS, "lb1", NAMESPACE)
    await until(lambda: world.get(resources.LOAD_BALANCERS, "lb1") is None, "released", seconds=RELEASE_SECONDS)
    await world.kube.delete(resources.TENANTS, "a")
    await until(lambda: world.kube.peek(resources.TENANTS, "a") is None, "the Tenant is gone", seconds=RELEASE_SECONDS)
    assert world.get(resources.DEPLOYMENTS, NAME) is None


async def test_limits_under_load_reach_the_bootstrap(world: World) -> None:
    limits = {"enabled": True, "maxActiveDownstreamConnections": 500, "maxHeapSizeBytes": 2**30}
    await configure(world, overloadManager=limits)
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: world.get(resources.DEPLOYMENTS, NAME), "a fleet")
    names_ = [item["name"].rpartition(".")[2] for item in bootstrap(world)["overload_manager"]["resource_monitors"]]
    assert names_ == ["fixed_heap", "global_downstream_max_connections"]
    await configure(world, overloadManager={"enabled": False})
    await until(lambda: "overload_manager" not in bootstrap(world), "no limits")


async def test_header_limits_come_over_the_stream(world: World) -> None:
    """A change reaches listeners and clusters of Envoys that go on running."""
    await configure(world, headerLimits={"maxRequestHeadersKb": 64})
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await world.ready_pods("envoy-0")
        await until(lambda: envoy.backend("a.example.com"), "served")
        workload = world.get(resources.DEPLOYMENTS, NAME)

        def limits() -> tuple[int, int, int]:
            [chain] = pb.Listener.FromString(envoy.has[LISTENER]["http"]).filter_chains
            manager = pb.HttpConnectionManager.FromString(chain.filters[0].typed_config.value)
            cluster = pb.Cluster.FromString(envoy.has[CLUSTER][envoy.backend("a.example.com")])
            [options] = cluster.typed_extension_protocol_options.values()
            upstream = pb.UpstreamHttpOptions.FromString(options.value).common_http_protocol_options
            return (
                manager.max_request_headers_kb.value,
                manager.common_http_protocol_options.max_headers_count.value,
                upstream.max_response_headers_kb.value,
            )

        assert limits() == (64, 4096, 8192)
        await configure(world, headerLimits={"maxRequestHeadersKb": 96, "maxResponseHeadersKb": 32})
        await until(lambda: limits() == (96, 4096, 32), "the new limits")
        assert envoy.faults == []
    assert world.get(resources.DEPLOYMENTS, NAME) == workload


async def test_envoys_follow_their_certificate(world: World) -> None:
    """The Secret has the files by which Envoy follows a rotation; they come to an older Secret too."""
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    await until(lambda: world.get(resources.DEPLOYMENTS, NAME), "a fleet")
    [cluster] = [c for c in bootstrap(world)["static_resources"]["clusters"] if c["name"] == "xds_cluster"]
    common = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    [source] = common["tls_certificate_sds_secret_configs"]
    mount = next(
        item["mountPath"]
        for item in envoy_container(world.get(resources.DEPLOYMENTS, NAME) or {})["volumeMounts"]
        if item["name"] == "xds"
    )
    secret = world.get(resources.SECRETS, f"{NAME}-xds")
    assert secret is not None
    file = json.loads(base64.b64decode(secret["data"]["xds-certificate.json"]))
    assert source["sds_config"]["path_config_source"]["path"] == f"{mount}/xds-certificate.json"
    assert file["resources"][0]["tls_certificate"]["watched_directory"]["path"] == mount
