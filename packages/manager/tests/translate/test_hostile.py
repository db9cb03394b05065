"""Whatever a tenant writes, translation answers and never raises, and nothing unchecked gets through."""

from __future__ import annotations

import copy
import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubelb_common.kube.port import Object
from kubelb_manager import untrusted
from kubelb_manager.ir import checks
from kubelb_manager.ir.model import ANY_HOST
from kubelb_manager.ports import declared, table
from kubelb_manager.translate.context import Context, nodes_from
from kubelb_manager.translate.load_balancer import translate_load_balancer
from kubelb_manager.translate.merge import merge
from kubelb_manager.translate.result import Translated
from kubelb_manager.translate.route import translate_route

CONTEXT = Context(
    "tenant-a",
    nodes=nodes_from([{"metadata": {"name": "default"}, "spec": {"addresses": [{"ip": "10.20.0.1"}]}}]),
)
HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?")

# Text with what has a meaning somewhere on the way, lone surrogates included.
text = st.one_of(
    st.sampled_from(
        [
            "",
            "/",
            "/%00",
            "/%",
            "web",
            "*.example.com",
            "Exact",
            "\ud800",
            "1" * 5000,
            "*",
            "::1",
            "127.0.0.1",
            "10.20.0.1",
        ]
    ),
    st.text(max_size=20),
)
scalar = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text)
anything = st.recursive(
    scalar,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=12,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value below `node`."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def almost(draw: st.DrawFn, model: Any) -> Any:
    """Return `model` with up to three values replaced, removed, or (in a list) doubled."""
    value = copy.deepcopy(model)
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(value))
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        inside = value
        for step in way:
            inside = inside[step]
        change = draw(st.sampled_from(["text", "anything", "remove", "double"]))
        if change == "remove":
            del inside[last]
        elif change == "double" and isinstance(inside, list):
            inside.append(copy.deepcopy(inside[last]))
        else:
            inside[last] = draw(text if change == "text" else anything)
    return value


PATH = {"path": "/x", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "site", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {
        "defaultBackend": {"service": {"name": "web", "port": {"name": "http"}}},
        "rules": [{"host": "a.example.com", "http": {"paths": [PATH]}}],
        "tls": [{"hosts": ["a.example.com"]}],
    },
}
SERVICE = {
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}]},
}
ENDPOINTS = {
    "addresses": [{"ip": "10.20.0.1", "hostname": "x"}],
    "ports": [{"name": "http", "port": 30080, "protocol": "TCP"}],
}


def route(resource: Any, services: Any, endpoints: Any) -> Object:
    return {
        "metadata": {"name": "uid", "namespace": "tenant-a", "creationTimestamp": "2026-06-01T00:00:00Z"},
        "spec": {"endpoints": endpoints, "source": {"kubernetes": {"resource": resource, "services": services}}},
    }


def check(result: Translated) -> None:
    assert [verdict.type for verdict in result.verdicts] == ["Accepted", "ResolvedRefs"]
    for verdict in result.verdicts:
        assert verdict.reason
        assert verdict.message.isascii()
        assert verdict.message.isprintable()
    if not result.accepted:
        assert (result.part, result.copy, result.services) == (None, None, ())
        return
    assert result.part is not None
    fleet = merge("tenant-a/shared", [result.part]).fleet
    assert checks.problems(fleet) == ()
    for listener in fleet.http:
        for entry in listener.tables:
            assert entry.host == ANY_HOST or HOST.fullmatch(entry.host)
            for rule in entry.rules:
                assert rule.match.value.startswith("/")
                assert not set(rule.match.value) & set("?#\0\n\r")
                rule.match.value.encode()
    for cluster in fleet.clusters:
        assert re.fullmatch(r"[a-z0-9./+-]+", cluster.name)
        for end in cluster.endpoints:
            assert not CONTEXT.addresses.denies(str(ipaddress.ip_address(end.address)))
            assert end.port in CONTEXT.addresses.node_ports


@given(anything)
@example({"spec": {"source": {"kubernetes": {"resource": {"apiVersion": [], "kind": {}}}}}})
def test_any_json_as_a_route(value: Any) -> None:
    check(translate_route(value, CONTEXT))


@settings(max_examples=500)
@given(almost(INGRESS), almost([SERVICE]), almost([{"addressesReference": {"name": "default"}}]))
def test_almost_an_ingress(resource: Any, services: Any, endpoints: Any) -> None:
    check(translate_route(route(resource, services, endpoints), CONTEXT))


LOAD_BALANCER = {
    "metadata": {"name": "lb", "namespace": "tenant-a", "annotations": {"a": "b"}, "labels": {"a": "b"}},
    "spec": {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "persistence": {"type": "SourceIP"},
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [ENDPOINTS],
    },
    "status": {"service": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 12345}]}},
}


def translate_lb(value: Any) -> None:
    ports = table.allocate(table.from_status([value]), declared.wanted(value)).ports
    check(translate_load_balancer(value, CONTEXT, ports))
    declared.status_ports(value, ports, value)


@given(anything)
def test_any_json_as_a_load_balancer(value: Any) -> None:
    translate_lb(value)


@settings(max_examples=500)
@given(almost(LOAD_BALANCER))
def test_almost_a_load_balancer(value: Any) -> None:
    translate_lb(value)


@given(anything)
def test_any_json_as_addresses(value: Any) -> None:
    for _, given_list in nodes_from([{"metadata": {"name": "default"}, "spec": {"addresses": value}}, value]):
        for ip in given_list.ips:
            ipaddress.ip_address(ip)


def test_object_names_are_what_the_api_takes():
    """A name's parts may be longer than a label of DNS; a host's may not."""
    for name in ("n" * 253, "a" * 64 + ".b", "a.b-1.c"):
        assert untrusted.is_object_name(name), name
    for name in ("", "n" * 254, "a..b", "a.", ".a", "-a", "a-", "A", "a/b", "a\n", "\u0131"):
        assert not untrusted.is_object_name(name), name
    assert not untrusted.is_subdomain("a" * 64 + ".b")
