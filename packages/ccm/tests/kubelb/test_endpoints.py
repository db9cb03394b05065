"""What `--endpoints` takes, and what the LoadBalancer of it looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb_ccm.kubelb.draft import Draft, load_balancer
from kubelb_ccm.kubelb.endpoints import Endpoint, EndpointError, parse
from kubelb_common import names
from kubelb_common.api.loadbalancer import LoadBalancer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7:30080", [("192.0.2.7", 30080)]),
        (" 192.0.2.7:30080 , 192.0.2.8:30081,", [("192.0.2.7", 30080), ("192.0.2.8", 30081)]),
        ("192.0.2.7:1,192.0.2.7:1", [("192.0.2.7", 1)]),
        ("[2001:db8::7]:30080", [("2001:db8::7", 30080)]),
        ("[2001:DB8:0::7]:30080", [("2001:db8::7", 30080)]),
        ("App.example.com:443", [("app.example.com", 443)]),
        ("node-1:65535", [("node-1", 65535)]),
    ],
)
def test_good(text, expected):
    assert parse(text) == tuple(Endpoint(*item) for item in expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no endpoint"),
        (",", "no endpoint"),
        ("192.0.2.7", "no port"),
        (":80", "no port"),
        ("192.0.2.7:", "is no port"),
        ("192.0.2.7:0", "between 1 and 65535"),
        ("192.0.2.7:65536", "between 1 and 65535"),
        ("192.0.2.7:http", "is no port"),
        ("192.0.2.7:\u0663", "is no port"),
        ("2001:db8::7", "[2001:db8::7]:PORT"),
        ("2001:db8::7:30080:80:80:80:80", "in brackets"),
        ("[192.0.2.7]:80", "no IPv6 address"),
        ("[fe80::1%eth0]:80", "no IPv6 address"),
        ("192.0.2.300:80", "neither"),
        ("a_b:80", "neither"),
        ("http://192.0.2.7:80", "brackets"),
    ],
)
def test_bad(text, said):
    with pytest.raises(EndpointError) as caught:
        parse(text)
    assert said in str(caught.value)


@given(st.lists(st.tuples(st.ip_addresses(), st.integers(1, 65535)), min_size=1, unique=True))
def test_what_is_written_is_read(pairs):
    text = ",".join(f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}" for ip, port in pairs)
    assert parse(text) == tuple(Endpoint(str(ip), port) for ip, port in pairs)


@given(st.text())
def test_whatever_is_typed_is_read_or_refused(text):
    try:
        found = parse(text)
    except EndpointError:
        return
    assert found
    assert all(0 < item.port <= 65535 and item.host for item in found)


def made(text: str, **more: object) -> dict:
    return load_balancer(Draft("web", parse(text), 8080, **more), "tenant-a")  # type: ignore[arg-type]


def test_port_names_are_equal_on_both_sides():
    spec = made("192.0.2.7:30080,192.0.2.8:30081,[2001:db8::9]:30080,x.example.com:30080", protocol="tcp")["spec"]
    assert spec["ports"] == [{"name": "tcp", "port": 8080, "protocol": "TCP"}]
    assert [item["name"] for item in spec["endpoints"]] == ["default", "default-2"]
    assert [item["ports"] for item in spec["endpoints"]] == [
        [{"name": "tcp", "port": 30080, "protocol": "TCP"}],
        [{"name": "tcp", "port": 30081, "protocol": "TCP"}],
    ]
    assert spec["endpoints"][0]["addresses"] == [
        {"ip": "192.0.2.7"},
        {"ip": "2001:db8::9"},
        {"hostname": "x.example.com"},
    ]


def test_udp_is_a_protocol_of_both_sides():
    spec = made("192.0.2.7:30053", protocol="udp")["spec"]
    assert spec["ports"][0]["protocol"] == spec["endpoints"][0]["ports"][0]["protocol"] == "UDP"


def test_it_is_marked_as_ours():
    metadata = made("192.0.2.7:30080", protocol="tcp")["metadata"]
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "kubelb-cli"
    assert metadata["labels"][names.LABEL_TENANT] == "tenant-a"
    assert metadata["annotations"] == {"kubelb.k8c.io/cli-generated": "true"}


def test_http_has_a_host_name_in_any_case():
    asked = "kubelb.k8c.io/request-wildcard-domain"
    assert made("192.0.2.7:30080")["metadata"]["annotations"][asked] == "true"
    named = made("192.0.2.7:30080", hostname="a.example.com")
    assert named["spec"]["hostname"] == "a.example.com"
    assert asked not in named["metadata"]["annotations"]


def test_the_contract_knows_every_field():
    obj = made("192.0.2.7:30080,[2001:db8::7]:1", hostname="a.example.com", type="LoadBalancer")
    assert LoadBalancer.from_dict(obj).to_dict()["spec"] == obj["spec"]
