"""Hosts, paths, default backends, wildcards: what an Ingress means, by traffic."""

from __future__ import annotations

import pytest

from kubelb_common.kube import resources
from kubelb_e2e.clusters.base import Capability
from kubelb_e2e.scenario import Environment


async def test_basic(env: Environment) -> None:
    """An Ingress in a tenant is answered through Envoy in the management cluster."""
    tenant, host = env.tenant, env.host()
    await tenant.app("echo")
    await tenant.ingress("web", (host, "/", "echo"))
    address = await env.served(tenant, "web", host)
    async with env.traffic.load(address, host) as tally:
        await env.wait.consistently("short", lambda: None)
    assert tally.requests > 100, str(tally)
    assert tally.failures == 0, str(tally)
    assert (await env.traffic.get(address, f"other.{host}")).status == 404


async def test_two_hosts_three_paths_default_backend(env: Environment) -> None:
    """Each path goes to its own Service; a miss goes to the Ingress' default backend."""
    tenant, one, two = env.tenant, env.host("one"), env.host("two")
    for name in ("a", "b", "c", "fallback"):
        await tenant.app(name)
    await tenant.ingress(
        "web", (one, "/", "a"), (one, "/b", "b"), (two, "/c", "c"), (two, "=/exact", "a"), default="fallback"
    )
    address = await env.served(tenant, "web", one)
    await env.served(tenant, "web", two, "/c")
    expected = {
        (one, "/"): "a-",
        (one, "/x/y"): "a-",
        (one, "/b"): "b-",
        (one, "/b/deeper"): "b-",
        (one, "/bee"): "a-",
        (two, "/c"): "c-",
        (two, "/exact"): "a-",
        (two, "/exact/not"): "fallback-",
        (two, "/"): "fallback-",
        ("unknown.example.org", "/"): "fallback-",
    }
    for (host, path), pod in expected.items():
        answer = await env.traffic.get(address, host, path)
        assert answer.status == 200, f"{host}{path}: {answer.status} {answer.error}"
        assert answer.pod.startswith(pod), f"{host}{path} was answered by {answer.pod!r}, expected pod {pod}*"


async def test_wildcard_host(env: Environment) -> None:
    """A wildcard covers exactly one label, and an exact host beside it keeps its own misses."""
    tenant, base = env.tenant, env.host("wild")
    await tenant.app("echo")
    await tenant.app("exact")
    await tenant.ingress("web", (f"*.{base}", "/", "echo"), (f"known.{base}", "/only", "exact"))
    address = await env.served(tenant, "web", f"any.{base}")
    for host in (f"other.{base}", f"OTHER.{base.upper()}", f"other.{base}:80", f"other.{base}."):
        answer = await env.traffic.get(address, host)
        assert answer.status == 200, f"{host}: {answer.status} {answer.error}"
    for host, path in ((f"a.b.{base}", "/"), (base, "/"), (f"known.{base}", "/")):
        answer = await env.traffic.get(address, host, path)
        assert answer.status == 404, f"{host}{path}: {answer.status}, expected 404"
    answer = await env.traffic.get(address, f"known.{base}", "/only")
    assert answer.pod.startswith("exact-"), answer.pod


async def test_several_ingresses_share_a_host(env: Environment) -> None:
    """Two objects, one host: each serves its paths; of equal matches the older one stands."""
    tenant, host = env.tenant, env.host("shared")
    await tenant.app("a")
    await tenant.app("b")
    await tenant.ingress("older", (host, "/a", "a"), (host, "/both", "a"))
    address = await env.served(tenant, "older", host, "/a")
    await tenant.ingress("younger", (host, "/b", "b"), (host, "/both", "b"))
    await env.served(tenant, "younger", host, "/b")
    assert (await env.traffic.get(address, host, "/both")).pod.startswith("a-")
    await tenant.delete(resources.INGRESSES, "older")
    await env.wait.eventually("removed", lambda: tenant.gone(resources.INGRESSES, "older"))

    async def younger_serves_both() -> None:
        answer = await env.traffic.get(address, host, "/both")
        assert answer.pod.startswith("b-"), f"{answer.status} from {answer.pod}"

    await env.wait.eventually("served", younger_serves_both)


@pytest.mark.needs(Capability.LOAD)
async def test_switch_backend_under_load(env: Environment) -> None:
    """An Ingress moves from Service a to b while requests flow: none fails, and b's pods answer in the end."""
    tenant, host = env.tenant, env.host("switch")
    await tenant.app("a")
    await tenant.app("b")
    await tenant.ingress("web", (host, "/", "a"))
    address = await env.served(tenant, "web", host)
    async with env.traffic.load(address, host, rate=300) as tally:
        live = await tenant.get(resources.INGRESSES, "web")
        live["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "b"
        await tenant.client.replace(resources.INGRESSES, live, tenant.namespace)

        async def b_answers() -> None:
            answer = await env.traffic.get(address, host)
            assert answer.pod.startswith("b-"), f"{answer.status} from {answer.pod}"

        await env.wait.eventually("served", b_answers)
        # The old twin goes only when no Envoy has its cluster; requests flow meanwhile.
        await env.wait.eventually("removed", lambda: tenant.gone(resources.SERVICES, "a-nodeport"))
    assert tally.failures == 0, str(tally)
    assert tally.requests > 300, str(tally)
