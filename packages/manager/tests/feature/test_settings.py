"""Config and Tenant: malformed ones leave the last good ones in force; what is refused is said, once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from feature_world import NAMESPACE, World, running, typed, until

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Object, Resource
from kubelb_common.objects import conditions, view
from kubelb_manager.xds.resources import LISTENER


def valid(world: World, resource: Resource, name: str, namespace: str | None) -> Any:
    """Return SettingsValid of the newest generation, or an empty condition."""
    obj = world.get(resource, name, namespace) or {}
    found = conditions.find(view.objects(obj, "status", "conditions"), "SettingsValid") or {}
    return found if found.get("observedGeneration") == view.generation(obj) else {}


def config_valid(world: World) -> Any:
    return valid(world, resources.CONFIGS, names.CONFIG_NAME, "kubelb")


def events(world: World, reason: str, namespace: str | None = None) -> list[Object]:
    return [item for item in world.kube.objects(resources.EVENTS, namespace) if item["reason"] == reason]


def accepted(world: World, route: str) -> str:
    return str(world.condition(resources.ROUTES, route, "Accepted").get("reason", ""))


async def test_the_last_good_config_stays_in_force(world: World) -> None:
    await world.configure(hosts={"allowed": ["*.good.example.com"]})
    await world.onboard()
    await until(lambda: config_valid(world).get("status") == "True", "valid")
    await world.configure(hosts={"allowed": ["http://bad"]}, ingress={"disable": True})
    await until(lambda: config_valid(world).get("status") == "False", "the fault is said")
    message = config_valid(world)["message"]
    assert message.startswith("spec.hosts.allowed[0] 'http://bad' is no glob of host names")
    assert message.endswith("The settings of generation 1 stay in force.")
    await world.route("r1", "a.good.example.com", {"echo": 30001})
    await world.route("r2", "a.example.com", {"echo": 30001})
    await until(
        lambda: accepted(world, "r1") == "Accepted", "the last good hosts are allowed, and disable is not taken"
    )
    await until(lambda: accepted(world, "r2") == "HostNotAllowed", "others are not")
    assert len(events(world, "InvalidSettings", "kubelb")) == 1
    assert len(events(world, "HostNotAllowed", NAMESPACE)) == 1


async def test_the_last_good_config_outlives_the_manager(world: World) -> None:
    await world.configure(hosts={"allowed": ["*.good.example.com"]})
    await world.onboard()
    await until(lambda: config_valid(world).get("status") == "True", "valid")
    await world.configure(hosts={"allowed": ["http://bad"]})
    await until(lambda: config_valid(world).get("status") == "False", "the fault is said")
    world.manager.supervisor.stop()
    async with running(world.kube, world):
        await world.route("r1", "a.example.com", {"echo": 30001})
        await until(lambda: accepted(world, "r1") == "HostNotAllowed", "the last good hosts are still in force")
        await world.quiet()
        assert len(events(world, "InvalidSettings", "kubelb")) == 1
        await world.configure(hosts={"allowed": ["*.example.com"]})
        await until(lambda: config_valid(world).get("status") == "True", "mended")
        await until(lambda: accepted(world, "r1") == "Accepted", "the new settings hold")


async def test_a_tenant_that_was_never_good_waits(world: World) -> None:
    await world.onboard()
    spec: Object = {"spec": {"deniedAddresses": ["10.0.0.0/33"], "hosts": {"allowed": ["*.example.com"]}}}
    body = {"metadata": {"name": "b"}, **spec}
    await world.kube.create(resources.TENANTS, typed(resources.TENANTS, body))
    await until(lambda: valid(world, resources.TENANTS, "b", None).get("status") == "False", "the fault is said")
    assert "Nothing changes until this is mended" in valid(world, resources.TENANTS, "b", None)["message"]
    [event] = events(world, "InvalidSettings", "default")
    assert event["involvedObject"]["name"] == "b"
    await world.route("r1", "a.example.com", {"echo": 30001})
    await until(lambda: accepted(world, "r1") == "Accepted", "other tenants go on")
    route = world.get(resources.ROUTES, "r1")
    foreign: Object = {"metadata": {"name": "r2"}, "spec": copy.deepcopy(route["spec"])}
    foreign["spec"]["source"]["kubernetes"]["resource"]["spec"]["rules"][0]["host"] = "b.example.com"
    await world.kube.create(resources.ROUTES, typed(resources.ROUTES, foreign), "tenant-b")
    await world.quiet()
    assert not world.get(resources.ROUTES, "r2", "tenant-b").get("status")
    await world.kube.patch(resources.TENANTS, "b", {"spec": {"deniedAddresses": ["10.0.0.0/8"]}})

    def judged() -> object:
        found = view.objects(world.get(resources.ROUTES, "r2", "tenant-b"), "status", "conditions")
        return (conditions.find(found, "Accepted") or {}).get("status") == "True"

    await until(judged, "served once it is mended")


async def test_a_refusal_is_one_event(world: World) -> None:
    await world.onboard()
    await world.kube.patch(resources.TENANTS, "a", {"spec": {"hosts": {"allowed": ["*.good.example.com"]}}})
    await world.load_balancer("lb1", 5432, 80)
    await world.route("r1", "bad.example.com", {"echo": 30001})
    await until(lambda: events(world, "HostNotAllowed", NAMESPACE), "an Event of the Route")
    await until(lambda: events(world, "PortNotAllowed", NAMESPACE), "an Event of the LoadBalancer")
    [event] = events(world, "HostNotAllowed", NAMESPACE)
    assert event["involvedObject"]["kind"] == "Route"
    assert event["type"] == "Warning"
    await world.quiet()
    world.manager.supervisor.stop()
    before = len(world.kube.objects(resources.EVENTS))
    async with running(world.kube, world):
        await world.quiet()
    assert len(world.kube.objects(resources.EVENTS)) == before


async def test_events_of_one_namespace_are_limited(world: World) -> None:
    await world.onboard()
    for number in range(40):
        await world.load_balancer(f"lb{number}", 5432, 100 + number)
    last = resources.LOAD_BALANCERS, "lb39", "Accepted"
    await until(lambda: world.condition(*last).get("reason") == "PortNotAllowed", "the last is judged")
    await world.quiet()
    assert 20 <= len(events(world, "PortNotAllowed", NAMESPACE)) <= 35


async def test_what_others_add_to_our_objects_stays(world: World) -> None:
    """Edge case 37, over changes of our own labels and annotations."""
    await world.onboard()
    await world.configure(propagatedAnnotations={"mode": ""}, defaultAnnotations={"service": {"first": "1"}})
    await world.load_balancer("lb1", 5432, 30100)
    await world.kube.patch(
        resources.LOAD_BALANCERS, "lb1", {"metadata": {"annotations": {"mode": "fast", "other": "x"}}}, NAMESPACE
    )

    def notes() -> dict[str, str]:
        found = view.annotations(world.get(resources.SERVICES, "envoy-lb1") or {"metadata": {}})
        return {key: value for key, value in found.items() if not key.startswith(names.GROUP)}

    await until(lambda: notes() == {"mode": "fast", "first": "1"}, "allowed ones and defaults")
    theirs = {"metadata": {"annotations": {"theirs": "1"}, "labels": {"theirs": "1"}}}
    await world.kube.patch(resources.SERVICES, "envoy-lb1", theirs, NAMESPACE)
    await world.configure(propagatedAnnotations={"mode": None, "other": ""}, defaultAnnotations={"service": None})
    await until(lambda: notes() == {"other": "x", "theirs": "1"}, "ours are replaced, theirs stay")
    assert view.labels(world.get(resources.SERVICES, "envoy-lb1") or {}).get("theirs") == "1"


async def test_client_addresses_follow_config(world: World) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy() as envoy:
        await until(lambda: "http" in envoy.has[LISTENER], "the listener")
        assert b"proxy_protocol" not in envoy.has[LISTENER]["http"]
        await world.configure(clientAddress={"proxyProtocol": True})
        await until(lambda: b"proxy_protocol" in envoy.has[LISTENER]["http"], "PROXY protocol")
        await world.configure(clientAddress={"proxyProtocol": False})
        await until(lambda: b"proxy_protocol" not in envoy.has[LISTENER]["http"], "no PROXY protocol")


async def disable(world: World, where: str, what: str, *, on: bool) -> None:
    if where == "Config":
        await world.configure(**{what: {"disable": on}})
    else:
        await world.kube.patch(resources.TENANTS, "a", {"spec": {what: {"disable": on}}})


@pytest.mark.parametrize("where", ["Config", "Tenant"])
async def test_disable_and_clear(world: World, where: str) -> None:
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.load_balancer("lb1", 5432, 30100)
    await world.certificate()
    given = {"envoy-ingress": "198.51.100.1", "envoy-lb1": "198.51.100.2"}
    async with world.envoy() as envoy:
        for service, address in given.items():
            await world.ready_pods("envoy-0")
            await world.address(service, address)
        kinds = ((resources.ROUTES, "r1"), (resources.LOAD_BALANCERS, "lb1"))
        await until(lambda: all(world.shown(*kind) for kind in kinds), "addresses")
        services = {name: view.uid(world.get(resources.SERVICES, name) or {}) for name in given}
        for what in ("ingress", "loadBalancer"):
            await disable(world, where, what, on=True)
        await until(lambda: not envoy.has[LISTENER], "no listener is left")
        for kind in kinds:
            await until(lambda kind=kind: not world.shown(*kind), "no address is shown")
            assert world.condition(*kind, "Accepted")["reason"] == "Disabled"
        await until(lambda: not world.kube.objects(resources.INGRESSES), "the copy goes")
        await world.load_balancer("lb2", 5432, 30101)
        await until(lambda: world.condition(resources.LOAD_BALANCERS, "lb2", "Accepted").get("reason"), "lb2 is judged")
        await world.quiet()
        assert world.get(resources.SERVICES, "envoy-lb2") is None, "no Service for what comes meanwhile"
        for what in ("ingress", "loadBalancer"):
            await disable(world, where, what, on=False)
        await until(lambda: envoy.backend("a.example.com") and len(envoy.has[LISTENER]) == 3, "served again")
        await until(lambda: all(world.shown(*kind) for kind in kinds), "addresses again")
        for kind, service in zip(kinds, given, strict=True):
            assert world.shown(*kind) == [{"ip": given[service]}]
            assert view.uid(world.get(resources.SERVICES, service) or {}) == services[service], "the same Service"
        await until(lambda: world.kube.objects(resources.INGRESSES), "the copy is back")
        assert world.get(resources.SERVICES, "envoy-lb2") is not None


async def test_disabled_before_anything_is_there(world: World) -> None:
    await world.configure(ingress={"disable": True}, loadBalancer={"disable": True})
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.load_balancer("lb1", 5432, 30100)
    for kind in ((resources.ROUTES, "r1"), (resources.LOAD_BALANCERS, "lb1")):
        await until(lambda kind=kind: world.condition(*kind, "Accepted").get("reason") == "Disabled", "Disabled")
    await world.quiet()
    assert [
        name
        for item in world.kube.objects(resources.SERVICES, NAMESPACE)
        if (name := view.name(item)).startswith("envoy-")
    ] == []
    assert len(events(world, "Disabled", NAMESPACE)) == 2
