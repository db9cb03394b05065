"""What the fleets' NetworkPolicy lets out, judged by an evaluator of the API's own rules."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kubelb_manager.desired.network_policy import fleet_policy
from kubelb_manager.translate.addresses import ALWAYS_DENIED, AddressPolicy, address_policy
from kubelb_manager.translate.egress import egress

NODES = ("192.0.2.10", "192.0.2.11", "2001:db8::10")
#: The management cluster's nodes, pods and services; another tenant's node.
FOREIGN = ("10.0.0.0/24", "10.244.0.0/16", "10.96.0.0/12", "192.0.2.77")


def rules(*granted: str, nodes: tuple[str, ...] = NODES, denied: tuple[str, ...] = FOREIGN) -> list[dict[str, Any]]:
    reach = egress(nodes, [address_policy(denied=denied, granted=granted)])
    found: list[dict[str, Any]] = fleet_policy("tenant-a", reach, manager_namespace="kubelb", owner=None)["spec"][
        "egress"
    ]
    return found


def lets_out(found: list[dict[str, Any]], ip: str, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection to an address outside the cluster passes; peers that are pods are none."""
    return any(_to(rule, ip) and _on(rule, port, protocol) for rule in found)


def _to(rule: dict[str, Any], ip: str) -> bool:
    if not rule.get("to"):
        return True  # anywhere
    address = ipaddress.ip_address(ip)
    for peer in rule["to"]:
        block = peer.get("ipBlock")
        if block and address in ipaddress.ip_network(block["cidr"]):
            return not any(address in ipaddress.ip_network(cidr) for cidr in block.get("except", ()))
    return False


def _on(rule: dict[str, Any], port: int, protocol: str) -> bool:
    if not rule.get("ports"):
        return True
    return any(p["protocol"] == protocol and p["port"] <= port <= p.get("endPort", p["port"]) for p in rule["ports"])


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_node_ports_of_the_tenants_nodes_and_nothing_else(protocol: str) -> None:
    found = rules()
    for ip in NODES:
        assert lets_out(found, ip, 30000, protocol)
        assert lets_out(found, ip, 32767, protocol)
        assert not any(lets_out(found, ip, port, protocol) for port in (22, 6443, 10250, 29999, 32768))
    assert not any(lets_out(found, ip, 30000, protocol) for ip in ("192.0.2.12", "192.0.2.77", "10.0.0.1", "1.1.1.1"))


def test_a_tenant_without_nodes_reaches_nothing() -> None:
    """A rule without peers would mean anywhere."""
    assert not any(lets_out(rules(nodes=()), ip, port) for ip in (*NODES, "1.1.1.1") for port in (443, 30000))


@pytest.mark.parametrize("granted", [("0.0.0.0/0", "::/0"), ("10.0.0.0/8", "169.254.0.0/16", "192.0.2.0/24")])
def test_no_grant_opens_what_nobody_may_reach(granted: tuple[str, ...]) -> None:
    found = rules(*granted)
    inside = ("10.0.0.1", "10.244.3.4", "10.96.0.1", "192.0.2.77", "169.254.169.254", "127.0.0.1", "fd00:ec2::254")
    assert not any(lets_out(found, ip, port) for ip in inside for port in (80, 443, 6443, 30000))
    assert lets_out(found, "192.0.2.10", 22)
    assert lets_out(found, "10.200.0.1", 5432)


@given(
    st.ip_addresses(v=4) | st.ip_addresses(v=6), st.sampled_from(["0.0.0.0/0", "::/0", "192.0.2.0/24", "10.0.0.0/8"])
)
def test_it_lets_out_what_the_address_policy_permits(address: Any, granted: str) -> None:
    policy = address_policy(denied=FOREIGN, granted=[granted])
    ip = str(address)
    assume(getattr(address, "ipv4_mapped", None) is None)  # no packet has such an address
    allowed = not policy.denies(ip) and policy.grants(ip)
    assert lets_out(rules(granted, nodes=()), ip, 443) is allowed


def test_a_grant_of_which_all_parts_are_denied_opens_nothing() -> None:
    found = rules("10.0.0.0/8", "::ffff:192.0.2.0/120", nodes=(), denied=("10.0.0.0/9", "10.128.0.0/9"))
    assert not any("ipBlock" in peer for rule in found for peer in rule["to"])


def test_what_is_always_denied_is_no_node() -> None:
    for block in ALWAYS_DENIED:
        ip = str(ipaddress.ip_address(block.first) if block.version == 4 else ipaddress.IPv6Address(block.first))
        assert egress([ip], [AddressPolicy()]).nodes == ()
