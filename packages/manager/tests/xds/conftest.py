"""Fleets written as YAML, and the real Envoy as judge of what is made of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kubelb_manager.bootstrap.render import BootstrapOptions, render
from kubelb_manager.ir.model import (
    Action,
    ClientAddress,
    Cluster,
    Endpoint,
    Fleet,
    Forward,
    HeaderLimits,
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
    Share,
)
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.readable import readable
from kubelb_manager.xds.resources import ResourceTable

ROOT = Path(__file__).parents[4]


def read_fleet(raw: dict[str, Any]) -> Fleet:
    """`forward: cluster` or `respond: status`; rules are one-key mappings `Prefix: /path` with an action beside it."""
    return Fleet(
        raw["key"],
        tuple(_http(each) for each in raw.get("http", ())),
        tuple(_l4(each) for each in raw.get("l4", ())),
        tuple(_cluster(each) for each in raw.get("clusters", ())),
        HeaderLimits(**raw.get("header_limits", {})),
        tuple((namespace, Share(**share)) for namespace, share in sorted(raw.get("shares", {}).items())),
    )


def _l4(raw: dict[str, Any]) -> L4Listener:
    protocol, ranges = Protocol(raw.pop("protocol", "TCP")), tuple(raw.pop("source_ranges", ()))
    return L4Listener(protocol=protocol, source_ranges=ranges, **raw)


def _cluster(raw: dict[str, Any]) -> Cluster:
    protocol = Protocol(raw.pop("protocol", "TCP"))
    endpoints = tuple(Endpoint(address, port, protocol) for address, port in raw.pop("endpoints"))
    return Cluster(layer=Layer(raw.pop("layer")), endpoints=endpoints, protocol=protocol, **raw)


def _http(raw: dict[str, Any]) -> HttpListener:
    tables = tuple(_table(each) for each in raw["tables"])
    client = dict(raw.get("client", {}))
    client["trusted_cidrs"] = tuple((address, length) for address, length in client.get("trusted_cidrs", ()))
    return HttpListener(raw["name"], raw["port"], tables, _action(raw["unknown_host"]), ClientAddress(**client))


def _table(raw: dict[str, Any]) -> RouteTable:
    origin = Origin("Route", "tenant-a", "0b5c2f5e-0000-4000-8000-000000000001")
    rules = tuple(
        RouteRule(PathMatch(PathKind(kind), rule[kind]), _action(rule), origin)
        for rule in raw["rules"]
        for kind in PathKind
        if kind in rule
    )
    return RouteTable(Host(raw["host"]), rules, _action(raw["miss"]))


def _action(raw: dict[str, Any]) -> Action:
    return Forward(raw["forward"]) if "forward" in raw else Respond(raw["respond"])


def envoy_says(table: ResourceTable, folder: Path) -> str:
    """Return what `envoy --mode validate` has against a table; an empty text if nothing.

    Routes, extensions and endpoints come over the stream in life; here they stand in listeners and in static clusters
    of their own, so that they are looked at too.
    """
    binary = next(
        (
            each
            for each in (os.environ.get("ENVOY"), str(ROOT / ".tools/envoy/envoy/_bin/envoy"), shutil.which("envoy"))
            if each and os.access(each, os.X_OK)
        ),
        None,
    )
    if binary is None:
        pytest.fail("no Envoy: set ENVOY or run `make setup`")
    config = json.loads(render(BootstrapOptions(tls=None, node_id="tenant-a/shared/pod")))
    static = config["static_resources"]
    shown = readable(table)
    static["clusters"] += shown["Cluster"] + [_static_cluster(each) for each in shown["ClusterLoadAssignment"]]
    static["listeners"] += shown["Listener"] + [_inline_listener(each) for each in shown["RouteConfiguration"]]
    static["listeners"] += [
        _http_listener(each, 2 + number)
        if "LocalRateLimit" in each["typed_config"]["@type"]
        else _filter_listener(each, 2 + number)
        for number, each in enumerate(shown["TypedExtensionConfig"])
    ]
    path = folder / "all.json"
    path.write_text(json.dumps(config))
    arguments = [binary, "--mode", "validate", "-c", str(path), "-l", "warning", "--use-dynamic-base-id"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _static_cluster(assignment: dict[str, Any]) -> dict[str, Any]:
    name = f"endpoints of {assignment['cluster_name']}"
    return {"name": name, "type": "STATIC", "load_assignment": assignment}


def _http_listener(extension: dict[str, Any], port: int) -> dict[str, Any]:
    """Return a listener whose HTTP filter stands in it; Envoy finds it by its type."""
    made = _inline_listener({"name": extension["name"]}, [extension])
    made["address"]["socket_address"]["port_value"] = port
    return made


def _inline_listener(routes: dict[str, Any], filters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    manager = pb.HttpConnectionManager(stat_prefix="inline", http_filters=[])
    router = pb.HttpFilter(name="envoy.filters.http.router", typed_config=pb.any_of(pb.Router()))
    manager.http_filters.append(router)
    raw = pb.MessageToDict(manager, preserving_proto_field_name=True) | {"route_config": routes}
    raw["http_filters"] = [*(filters or []), *raw["http_filters"]]
    kind = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": {"@type": kind, **raw}}
    return {
        "name": f"routes of {routes['name']}",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [network]}],
    }


def _filter_listener(extension: dict[str, Any], port: int) -> dict[str, Any]:
    return {
        "name": f"extension {extension['name']}",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [extension]}],
    }


class Tools:
    read_fleet = staticmethod(read_fleet)
    readable = staticmethod(readable)
    envoy_says = staticmethod(envoy_says)


@pytest.fixture
def tools() -> type[Tools]:
    return Tools
