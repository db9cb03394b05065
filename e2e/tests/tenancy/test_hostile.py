"""What a tenant writes directly, with its own credential, into its own namespace."""

from __future__ import annotations

import copy

from kubelb_common.kube import resources
from kubelb_common.kube.errors import NotFound
from kubelb_e2e.scenario import Environment


async def test_hostile_routes_are_refused_and_harm_nobody(env: Environment) -> None:
    """A foreign kind, and a host with code in it: a condition says so, the tenant's other objects go on."""
    tenant, host = env.tenant, env.host("good")
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    address = await env.served(tenant, "web", host)
    good = await env.route_of(tenant, "web")

    def hostile(name: str) -> dict:
        body = {"apiVersion": good["apiVersion"], "kind": "Route", "metadata": {"name": name}}
        return {**body, "spec": copy.deepcopy(good["spec"])}

    foreign, coded, loopback = hostile("foreign"), hostile("coded"), hostile("loopback")
    source = foreign["spec"]["source"]["kubernetes"]["resource"]
    source.update(apiVersion="rbac.authorization.k8s.io/v1", kind="ClusterRoleBinding")
    rule = coded["spec"]["source"]["kubernetes"]["resource"]["spec"]["rules"][0]
    rule["host"] = 'x"] = os.execute("id") --.example.com'
    loopback["spec"]["endpoints"] = [{"name": "default", "addresses": [{"ip": "127.0.0.1"}]}]
    expected = {"foreign": "UnsupportedKind", "coded": "InvalidHost", "loopback": "AddressNotAllowed"}
    async with env.traffic.load(address, host) as tally:
        for route in (foreign, coded, loopback):
            await tenant.agent.create(resources.ROUTES, route, tenant.hub_namespace)
        for name, reason in expected.items():

            async def refused(name: str = name, reason: str = reason) -> None:
                found = await env.condition(resources.ROUTES, name, tenant.hub_namespace, "Accepted")
                assert found.get("status") == "False", f"{name}: {found}"
                assert found["reason"] == reason, f"{name}: {found}"

            await env.wait.eventually("refused", refused)
        for name in expected:
            await tenant.agent.delete(resources.ROUTES, name, tenant.hub_namespace)

        async def gone() -> None:
            for name in expected:
                try:
                    await env.management.get(resources.ROUTES, name, tenant.hub_namespace)
                except NotFound:
                    continue
                raise AssertionError(f"Route {name} is still there")

        await env.wait.eventually("removed", gone)
    assert tally.failures == 0, str(tally)


async def test_missing_service_is_said_in_the_tenant(env: Environment) -> None:
    """An Ingress that names a Service that is not there: said by annotation and Event, others unharmed."""
    tenant, good, bad = env.tenant, env.host("good"), env.host("bad")
    await tenant.app("echo")
    await tenant.ingress("fine", (good, "/", "echo"))
    await tenant.ingress("typo", (bad, "/", "ekko"), (bad, "/fine", "echo"))
    address = await env.served(tenant, "fine", good)
    await env.served(tenant, "typo", bad, "/fine")

    async def said() -> None:
        found = await tenant.get(resources.INGRESSES, "typo")
        text = found["metadata"].get("annotations", {}).get("kubelb.k8c.io/status", "")
        assert "BackendNotFound" in text, f"annotation: {text!r}"
        assert "ekko" in text, text
        events = await tenant.client.list(resources.EVENTS, tenant.namespace)
        mine = [event for event in events.items if event["involvedObject"]["name"] == "typo"]
        assert any(event["reason"] == "BackendNotFound" for event in mine), [event["reason"] for event in mine]

    await env.wait.eventually("status", said)
    assert (await env.traffic.get(address, bad)).status == 503
    assert (await env.traffic.get(address, good)).status == 200
    await tenant.service("ekko", app="echo")

    async def mended() -> None:
        answer = await env.traffic.get(address, bad)
        assert answer.status == 200, answer.status
        found = await tenant.get(resources.INGRESSES, "typo")
        assert "kubelb.k8c.io/status" not in (found["metadata"].get("annotations") or {})

    await env.wait.eventually("served", mended)
