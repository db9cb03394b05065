"""The generator: same input, same bytes, whatever came before; only what changed is made again."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from kubelb_manager.ir.model import (
    ANY_HOST,
    Cluster,
    Endpoint,
    Fleet,
    Forward,
    Host,
    HttpListener,
    L4Listener,
    Layer,
    Origin,
    PathKind,
    PathMatch,
    Protocol,
    Respond,
    RouteRule,
    RouteTable,
)
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds import routes
from kubelb_manager.xds.filters import literal
from kubelb_manager.xds.generate import Generator, check
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES, TYPES, resource

ORIGIN = Origin("Route", "tenant-a", "r")
NAMES = ("a", "b", "c", "d")


def cluster(name: str, nodes: int = 1, layer: Layer = Layer.L7) -> Cluster:
    return Cluster(name, layer, tuple(Endpoint(f"10.0.0.{i + 1}", 30000) for i in range(nodes)))


def table(host: str, to: str, *paths: str) -> RouteTable:
    rules = tuple(RouteRule(PathMatch(PathKind.EXACT, path), Forward(to), ORIGIN) for path in paths or ("/",))
    return RouteTable(Host(host), rules, Respond(404))


def fleet(tables: list[RouteTable], clusters: list[Cluster], tcp: tuple[L4Listener, ...] = ()) -> Fleet:
    http = (HttpListener("http", 8080, tuple(tables), Respond(404)),)
    return Fleet("tenant-a/shared", http, tcp, tuple(clusters))


paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map(lambda text: "/" + text)
tables = st.builds(
    lambda host, to, some: table(host, to, *some),
    st.sampled_from(("x.example.com", "y.example.com", "*.example.com", "*.deep.example.com", ANY_HOST)),
    st.sampled_from(NAMES),
    st.lists(paths, max_size=3),
)
targets = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(Protocol), st.sampled_from(((), ("10.0.0.0/8",), ("::/0", "0.0.0.0/0")))
)
fleets = st.builds(
    lambda some, nodes, tcp: fleet(
        list({each.host: each for each in some}.values()),
        [cluster(name, nodes) for name in NAMES],
        tuple(L4Listener(f"l4-{port}", port, *to) for port, to in tcp.items()),
    ),
    st.lists(tables, max_size=4),
    st.integers(0, 3),
    st.dictionaries(st.integers(10000, 10003), targets, max_size=3),
)


@given(st.lists(fleets, min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_what_came_before_does_not_show(history):
    generator = Generator()
    for each in history:
        made = generator.table(each)
        assert check(made) == []
    assert made == Generator().table(history[-1])
    assert list(made) == list(TYPES)


@given(fleets, st.randoms())
@settings(deadline=None, max_examples=30)
def test_order_of_the_input_does_not_show(of, random):
    def shuffled(items):
        return tuple(random.sample(items, len(items)))

    http = tuple(HttpListener(each.name, each.port, shuffled(each.tables), each.unknown_host) for each in of.http)
    other = Fleet(of.key, http, shuffled(of.l4), shuffled(of.clusters))
    assert Generator().table(other) == Generator().table(of)


@given(fleets)
@settings(deadline=None, max_examples=30)
def test_joined_bytes_are_protobufs_own(of):
    body = Generator().table(of)[ROUTES]["http"].body
    message = pb.RouteConfiguration.FromString(body)
    assert message.SerializeToString(deterministic=True) == body
    assert [host.name for host in message.virtual_hosts][-1] == ANY_HOST
    domains = [domain for host in message.virtual_hosts for domain in host.domains]
    assert len(domains) == len(set(domains)), "Envoy refuses a domain that appears twice"


def test_a_changed_host_costs_one_virtual_host(monkeypatch):
    made = []
    virtual_host = routes.virtual_host
    monkeypatch.setattr(routes, "virtual_host", lambda t, unknown: made.append(t.host) or virtual_host(t, unknown))
    clusters = [cluster("a"), cluster("b")]
    hosts = [table(f"h{i}.example.com", "a") for i in range(5)]
    generator = Generator()
    before = generator.table(fleet(hosts, clusters))
    made.clear()
    hosts[3] = table("h3.example.com", "b")
    after = generator.table(fleet(hosts, clusters))
    assert made == ["h3.example.com"]
    assert [url for url in TYPES if after[url] is not before[url]] == [ROUTES]


def test_another_unknown_host_reaches_wildcards():
    """A wildcard's virtual host holds the action for hosts of more labels, so it is made again with that."""
    clusters = [cluster("a"), cluster("b")]
    generator = Generator()
    wild = (table("*.example.com", "a"),)
    generator.table(Fleet("k", (HttpListener("http", 8080, wild, Respond(404)),), (), tuple(clusters)))
    of = Fleet("k", (HttpListener("http", 8080, wild, Forward("b")),), (), tuple(clusters))
    assert generator.table(of) == Generator().table(of)


def test_fleets_do_not_mix():
    generator = Generator()
    one = Fleet("tenant-a/shared", (HttpListener("http", 8080, (table("x", "a"),), Respond(404)),), (), (cluster("a"),))
    two = Fleet("tenant-b/shared", (HttpListener("http", 8080, (), Respond(503)),), ())
    generator.table(one)
    assert generator.table(two) == Generator().table(two)
    generator.forget("tenant-a/shared")
    assert generator.table(one) == Generator().table(one)


def test_another_cluster_leaves_the_listener_alone():
    """A changed listener cuts its connections at the end of the drain, so nothing else may change it."""
    generator = Generator()
    before = generator.table(Fleet("k", (), (L4Listener("tcp", 10000, "a"),), (cluster("a", 1, Layer.L4),)))
    other = Cluster("b", Layer.L4, cluster("a", 2).endpoints, proxy_protocol=True, source_affinity=True)
    after = generator.table(Fleet("k", (), (L4Listener("tcp", 10000, "b"),), (other,)))
    assert after[LISTENER] is before[LISTENER]
    assert [after[url] != before[url] for url in (CLUSTER, ENDPOINTS, EXTENSIONS)] == [True] * 3


@pytest.mark.parametrize(
    "changed",
    [{"proxy_protocol": True}, {"source_affinity": True}, {"local_only": True}, {"protocol": Protocol.UDP}],
    ids=str,
)
def test_every_option_of_a_cluster_makes_it_anew(changed):
    generator = Generator()
    plain = cluster("a", 1, Layer.L4)
    generator.table(Fleet("k", (), (), (plain,)))
    other = replace(plain, **changed)
    assert generator.table(Fleet("k", (), (), (other,))) == Generator().table(Fleet("k", (), (), (other,)))


def test_source_ranges_change_the_listener_but_not_its_chain():
    """What chooses the chain may change under connections (seen with Envoy); the chain may not."""
    plain = L4Listener("tcp", 10000, "a")
    tables = [
        Generator().table(Fleet("k", (), (each,), (cluster("a", 1, Layer.L4),)))
        for each in (plain, replace(plain, source_ranges=("10.0.0.0/8",)))
    ]
    open_, narrow = (pb.Listener.FromString(table[LISTENER]["tcp"].body) for table in tables)
    assert narrow.HasField("filter_chain_matcher")
    narrow.ClearField("filter_chain_matcher")
    assert narrow == open_


def test_check_tells_what_is_wrong():
    good = Generator().table(fleet([table("x", "a")], [cluster("a")], (L4Listener("tcp", 10000, "a"),)))
    assert check(good) == []
    assert check({**good, CLUSTER: {}}) == [
        "cluster 'a' is used but does not exist",
        "endpoints 'a' exist but are not used",
    ]
    assert check({**good, ENDPOINTS: {}}) == ["endpoints 'a' are used but do not exist"]
    assert check({**good, ROUTES: {}}) == ["routes 'http' are used but do not exist"]
    left_over = {**good, ROUTES: {**good[ROUTES], "old": resource("old", b"")}}
    assert check(left_over) == ["routes 'old' exist but are not used"]
    misnamed = {**good, CLUSTER: {"a": good[CLUSTER]["a"]._replace(name="z")}}
    assert check(misnamed) == [f"{CLUSTER} 'z' stands under the name 'a'"]


def test_a_formatted_field_shows_percent_signs():
    assert literal("50%START_TIME%") == "50%%START_TIME%%"
    assert (
        b"%%START_TIME%%"
        in Generator()
        .table(Fleet("%START_TIME%", (), (L4Listener("t", 1, "a"),), (cluster("a"),)))[EXTENSIONS]["t"]
        .body
    )
