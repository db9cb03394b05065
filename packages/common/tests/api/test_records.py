"""Records: reading and writing are inverses, and errors say where."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelb_common import names
from kubelb_common.api import KINDS, Config, Kind, LoadBalancer, MalformedObject, Route, Tenant, codecs
from kubelb_common.api.loadbalancer import LoadBalancerSpec
from kubelb_common.api.meta import EndpointAddress, EndpointPort, LoadBalancerEndpoints
from kubelb_common.api.record import Record, fields

KEYS = st.text(st.characters(codec="utf-8"), max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
ANY_JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
ANY_OBJECT = st.dictionaries(KEYS, ANY_JSON, max_size=3)


def values(codec: codecs.Codec) -> st.SearchStrategy[Any]:
    """JSON values that the codec accepts."""
    match codec:
        case codecs.Optional(inner):
            return values(inner)
        case codecs.ListOf(item):
            return st.lists(values(item), max_size=2)
        case codecs.MapOf(value):
            return st.dictionaries(KEYS, values(value), max_size=2)
        case codecs.Nested(record):
            return raw_objects(record)
        case codecs.Opaque(objects_only):
            return ANY_OBJECT if objects_only else ANY_JSON
        case codecs.Scalar(kinds):
            strategies = {str: st.text(max_size=5) | st.just(""), int: st.integers(), bool: st.booleans()}
            return st.one_of(strategies[kind] for kind in kinds)
    raise TypeError(codec)


def raw_objects(record: type[Record]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that the record accepts: any subset of its fields, nulls where a default stands, unknown fields."""
    if issubclass(record, Kind):
        fixed = {"apiVersion": st.just(names.API_VERSION), "kind": st.just(record.info.kind)}
    else:
        fixed = {}
    known = fields(record)
    required = {field.json: values(field.codec) for field in known if field.default is None}
    optional = {
        field.json: fixed.get(field.json, st.none() | values(field.codec))
        for field in known
        if field.default is not None
    }
    unknown = st.dictionaries(KEYS.map("x-".__add__), ANY_JSON, max_size=2)
    return st.tuples(unknown, st.fixed_dictionaries(required, optional=optional)).map(lambda pair: pair[0] | pair[1])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_object_survives_a_round_trip(kind: type[Kind]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(raw_objects(kind))
    def check(raw: dict[str, Any]) -> None:
        before = json.dumps(raw, sort_keys=True)
        back = kind.from_dict(raw).to_dict()
        assert back == raw
        assert json.dumps(back, sort_keys=True) == before  # `==` alone takes True for 1
        assert json.dumps(raw, sort_keys=True) == before

    check()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_a_constructor_builds_is_read_back_equal(kind: type[Kind]) -> None:
    assert kind.from_dict(kind().to_dict()).to_dict() == kind().to_dict()


def test_the_source_object_passes_untouched() -> None:
    source = {
        "kind": "Ingress",
        "apiVersion": "networking.k8s.io/v1",
        "spec": {"z": None, "a": [[], {}, 0.5, "\u0000"]},
    }
    raw = {"spec": {"endpoints": [], "source": {"kubernetes": {"resource": source}}}}
    kubernetes = Route.from_dict(raw).spec.source.kubernetes
    assert kubernetes is not None
    assert kubernetes.resource is source
    assert json.dumps(kubernetes.to_dict()["resource"]) == json.dumps(source)


def test_unknown_fields_survive_a_change() -> None:
    raw = {
        "metadata": {"name": "lb", "managedFields": [1]},
        "spec": {"endpoints": [{"ports": [{"port": 1, "weight": 5}]}], "hostname": "", "waf": {"on": True}},
    }
    lb = LoadBalancer.from_dict(raw)
    changed = dataclasses.replace(lb, spec=dataclasses.replace(lb.spec, hostname="a.example", type="LoadBalancer"))
    assert changed.to_dict() == raw | {"spec": raw["spec"] | {"hostname": "a.example", "type": "LoadBalancer"}}


def test_defaults_are_shown_but_not_invented() -> None:
    config = Config.from_dict({"spec": {"envoyProxy": {"gracefulShutdown": {}}}})
    assert config.spec.envoy_proxy.replicas == 3
    assert config.spec.envoy_proxy.topology == "shared"
    assert config.spec.reference_grants == "Enforce"
    assert config.spec.envoy_proxy.graceful_shutdown is not None
    assert config.spec.envoy_proxy.graceful_shutdown.drain_timeout == "60s"
    assert config.to_dict() == {"spec": {"envoyProxy": {"gracefulShutdown": {}}}}


def test_a_constructed_record_writes_its_defaults_and_leaves_out_what_is_empty() -> None:
    endpoints = LoadBalancerEndpoints(addresses=(EndpointAddress(ip="192.0.2.1"),), ports=(EndpointPort(port=30080),))
    assert LoadBalancerSpec(endpoints=(endpoints,)).to_dict() == {
        "endpoints": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 30080}]}],
        "type": "ClusterIP",
    }


def test_a_tenant_tells_null_from_false() -> None:
    inherit = Tenant.from_dict({"spec": {"dns": {"useDNSAnnotations": None}}}).spec.dns
    override = Tenant.from_dict({"spec": {"dns": {"useDNSAnnotations": False, "wildcardDomain": ""}}}).spec.dns
    assert (inherit.use_dns_annotations, inherit.wildcard_domain) == (None, None)
    assert (override.use_dns_annotations, override.wildcard_domain) == (False, "")


def test_ip_wins_over_hostname() -> None:
    assert EndpointAddress(ip="192.0.2.1", hostname="a.example").address == "192.0.2.1"
    assert EndpointAddress(hostname="a.example").address == "a.example"


def test_records_without_mappings_can_be_keys() -> None:
    assert len({EndpointPort(port=1), EndpointPort.from_dict({"port": 1}), EndpointPort(port=2)}) == 2


@pytest.mark.parametrize(
    ("kind", "raw", "path", "found", "expected"),
    [
        (LoadBalancer, {"spec": {"ports": [{"port": 1}, {"port": "80"}]}}, "spec.ports[1].port", "'80'", "an integer"),
        (LoadBalancer, {"spec": {"ports": [{"port": True}]}}, "spec.ports[0].port", "boolean", "an integer"),
        (LoadBalancer, {"spec": {"ports": [{}]}}, "spec.ports[0].port", "nothing", "an integer"),
        (LoadBalancer, {"spec": {"ports": [{"port": None}]}}, "spec.ports[0].port", "null", "an integer"),
        (LoadBalancer, {"spec": {"endpoints": {}}}, "spec.endpoints", "an object", "a list"),
        (LoadBalancer, {"spec": {"endpoints": [None]}}, "spec.endpoints[0]", "null", "an object"),
        (LoadBalancer, {"spec": []}, "spec", "a list", "an object"),
        (LoadBalancer, {"metadata": {"labels": {"a": 1}}}, "metadata.labels[a]", "an integer 1", "a string"),
        (LoadBalancer, {"kind": "Route"}, "kind", "'Route'", "LoadBalancer"),
        (LoadBalancer, {"apiVersion": "kubelb.k8c.io/v1"}, "apiVersion", "v1", names.API_VERSION),
        (
            Route,
            {"spec": {"source": {"kubernetes": {"resource": "x"}}}},
            "spec.source.kubernetes.resource",
            "x",
            "object",
        ),
        (Config, {"spec": {"envoyProxy": {"replicas": 1.5}}}, "spec.envoyProxy.replicas", "1.5", "an integer"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(
    kind: type[Kind], raw: dict[str, Any], path: str, found: str, expected: str
) -> None:
    with pytest.raises(MalformedObject) as error:
        kind.from_dict(raw)
    assert error.value.path == path
    assert found in error.value.found
    assert expected in error.value.expected
    assert str(error.value).startswith(f"{path}: found ")


@given(ANY_JSON)
@settings(deadline=None)
def test_nothing_but_malformed_object_is_raised(raw: Any) -> None:
    for kind in KINDS:
        for candidate in (raw, {"spec": raw}, {"metadata": raw, "status": raw}):
            try:
                assert kind.from_dict(candidate).to_dict() == candidate
            except MalformedObject:
                continue
