"""What the real Envoy makes of our listeners and routes."""

from __future__ import annotations

import re

import pytest

from kubelb_manager.delivery.cache import Cache
from kubelb_manager.ir.model import Forward, Respond

pytestmark = pytest.mark.real_envoy


async def test_hosts_paths_and_misses(lab):
    a, b, default, unknown = [await lab.upstream(name) for name in ("a", "b", "default", "unknown")]
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port = lab.free_port()
    clusters = [lab.cluster(up.name, up.port) for up in (a, b, default, unknown)]
    to_a, to_b, to_default, to_unknown = Forward("a"), Forward("b"), Forward("default"), Forward("unknown")
    rules = (("Exact", "/exact", to_b), ("Prefix", "/a/b", to_b), ("Prefix", "/a", to_a))
    tables = [
        lab.table("one.example.com", to_a, *rules, miss=to_default),
        lab.table("exact.wild.org", to_b, ("Prefix", "/only", to_b)),
        lab.table("*.wild.org", to_a, ("Prefix", "/w", to_a), miss=to_default),
        lab.table("*.deep.wild.org", to_b),
        lab.table("refused.example.com", Respond(503)),
    ]
    generation = lab.publish(cache, lab.fleet(port, tables, clusters, unknown=to_unknown))
    envoy = await lab.envoy(xds_port)
    await lab.until(envoy.is_ready, "Envoy ready")
    await lab.routed(cache, generation)

    expected = {
        ("one.example.com", "/a"): (200, "a /a"),
        ("one.example.com", "/a/x?q=1"): (200, "a /a/x?q=1"),
        ("one.example.com", "/ab"): (200, "default /ab"),
        ("one.example.com", "/a/b"): (200, "b /a/b"),
        ("one.example.com", "/exact"): (200, "b /exact"),
        ("one.example.com", "/exact/no"): (200, "default /exact/no"),
        ("one.example.com", "/a/../exact"): (200, "b /exact"),
        ("one.example.com", "/a%2Fb//c"): (200, "default /a%2Fb//c"),
        ("one.example.com:80", "/a"): (200, "a /a"),
        ("one.example.com:8080", "/a"): (200, "a /a"),
        ("one.example.com:", "/a"): (200, "a /a"),
        ("ONE.Example.COM", "/a"): (200, "a /a"),
        ("one.example.com.", "/a"): (200, "a /a"),
        ("One.example.com.:8080", "/a"): (200, "a /a"),
        ("refused.example.com", "/"): (503, ""),
        ("exact.wild.org", "/only"): (200, "b /only"),
        ("exact.wild.org", "/w"): (404, ""),
        ("x.wild.org", "/w"): (200, "a /w"),
        ("X.WILD.org", "/w"): (200, "a /w"),
        ("x.wild.org:8080", "/w"): (200, "a /w"),
        ("x.wild.org:", "/w"): (200, "a /w"),
        ("x.wild.org.", "/w"): (200, "a /w"),
        ("X.wild.org.:443", "/w"): (200, "a /w"),
        ("x.wild.org", "/miss"): (200, "default /miss"),
        ("x.y.wild.org", "/w"): (200, "unknown /w"),
        ("wild.org", "/w"): (200, "unknown /w"),
        ("x.wildXorg", "/w"): (200, "unknown /w"),
        ("x.deep.wild.org", "/w"): (200, "b /w"),
        ("y.x.deep.wild.org", "/w"): (200, "unknown /w"),
        ("nothing.org", "/"): (200, "unknown /"),
        ("[::1]:8080", "/"): (200, "unknown /"),
    }
    seen = {}
    for host, path in expected:
        answer = await lab.request(port, host, path)
        seen[host, path] = (answer.status, answer.body)
    assert seen == expected


async def test_what_passes_to_the_application_and_back(lab):
    up = await lab.upstream("a")
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port = lab.free_port()
    generation = lab.publish(
        cache, lab.fleet(port, [lab.table("h.example.com", Forward("a"))], [lab.cluster("a", up.port)])
    )
    await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    forged = "X-Forwarded-For: 9.9.9.9\r\nX-Envoy-Max-Retries: 9\r\nX-Forwarded-Client-Cert: By=me\r\n"
    answer = await lab.request(port, "h.example.com:8080", extra=forged)
    assert answer.status == 200
    assert "server: mine" in answer.headers
    assert "x-envoy" not in answer.headers
    text = up.seen[-1].lower()
    # Envoy writes its own address for a client on loopback.
    assert re.search(r"x-forwarded-for: 9\.9\.9\.9,[0-9.]+\r\n", text)
    assert "host: h.example.com:8080\r\n" in text
    assert "x-envoy-max-retries" not in text
    assert "x-forwarded-client-cert" not in text
    assert "x-request-id: " in text
    assert (await lab.request(port, "h.example.com", extra="under_score: 1\r\n")).status == 400
    unknown = await lab.request(port, "other.example.com")
    assert (unknown.status, unknown.body) == (404, "")


async def test_a_dead_node_is_tried_elsewhere(lab):
    up = await lab.upstream("a")
    cache = Cache()
    _, xds_port = await lab.xds(cache)
    port = lab.free_port()
    dead = lab.free_port()
    generation = lab.publish(
        cache, lab.fleet(port, [lab.table("h.example.com", Forward("a"))], [lab.cluster("a", dead, up.port)])
    )
    await lab.envoy(xds_port)
    await lab.routed(cache, generation)
    statuses = [(await lab.request(port, "h.example.com")).status for _ in range(10)]
    assert statuses == [200] * 10
