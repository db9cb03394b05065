"""Each violation is found and named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubelb_manager.ir.checks import InvalidFleetError, problems, require
from kubelb_manager.ir.model import (
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

ORIGIN = Origin("Route", "tenant-a", "uid")
RULE = RouteRule(PathMatch(PathKind.PREFIX, "/"), Forward("web"), ORIGIN)
TABLE = RouteTable(Host("a.example.com"), (RULE,), Respond(404))
HTTP = HttpListener("http", 8080, (TABLE,), Respond(404))
FLEET = Fleet(
    "tenant-a/shared",
    http=(HTTP,),
    l4=(L4Listener("tcp", 10000, "db"),),
    clusters=(Cluster("db", Layer.L4, ()), Cluster("web", Layer.L7, ())),
)


def test_a_good_fleet_has_no_problems() -> None:
    assert problems(FLEET) == ()
    assert require(FLEET) is FLEET


@pytest.mark.parametrize(
    ("fleet", "problem"),
    [
        (replace(FLEET, clusters=FLEET.clusters[:1]), "cluster web is missing"),
        (replace(FLEET, clusters=FLEET.clusters[1:]), "cluster db is missing"),
        (replace(FLEET, clusters=(*FLEET.clusters, *FLEET.clusters[:1])), "cluster db appears 2 times"),
        (replace(FLEET, l4=(L4Listener("tcp", 8080, "db"),)), "port 8080/TCP appears 2 times"),
        (
            replace(FLEET, l4=(L4Listener("udp", 10000, "db", Protocol.UDP),)),
            "listener udp is UDP, its cluster db is not",
        ),
        (replace(FLEET, l4=(L4Listener("http", 10000, "db"),)), "listener http appears 2 times"),
        (
            replace(FLEET, http=(replace(HTTP, tables=(TABLE, TABLE)),)),
            "listener http: host a.example.com appears 2 times",
        ),
        (
            replace(FLEET, http=(replace(HTTP, tables=(replace(TABLE, rules=(RULE, RULE)),)),)),
            "host a.example.com: match Prefix / appears 2 times",
        ),
        (
            replace(
                FLEET,
                http=(
                    replace(
                        HTTP,
                        tables=(replace(TABLE, rules=(replace(RULE, match=PathMatch(PathKind.EXACT, "x")),)),),
                    ),
                ),
            ),
            "host a.example.com: path 'x' does not begin with /",
        ),
        (replace(FLEET, http=(replace(HTTP, unknown_host=Forward("gone")),)), "cluster gone is missing"),
        (
            replace(FLEET, http=(replace(HTTP, tables=(replace(TABLE, miss=Forward("lost")),)),)),
            "cluster lost is missing",
        ),
    ],
)
def test_a_violation_is_named(fleet: Fleet, problem: str) -> None:
    assert problems(fleet) == (problem,)
    with pytest.raises(InvalidFleetError, match=r"^fleet tenant-a/shared: "):
        require(fleet)


def test_one_number_serves_tcp_and_udp() -> None:
    dns = Cluster("dns", Layer.L4, (Endpoint("10.0.0.1", 30053, Protocol.UDP),), Protocol.UDP)
    both = (*FLEET.l4, L4Listener("dns", 10000, "dns", Protocol.UDP))
    assert problems(replace(FLEET, l4=both, clusters=(*FLEET.clusters, dns))) == ()
