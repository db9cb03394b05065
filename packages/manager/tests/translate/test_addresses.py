"""The deny list, and the grants below it."""

from __future__ import annotations

import pytest

from kubelb_manager.translate.addresses import address_policy, block, ip_literal


@pytest.mark.parametrize(
    "ip",
    [
        "0.0.0.0",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:1::",
        "fd00:ec2::254",
        "fe80::1",
        "febf::1",
        "ff02::1",
    ],
)
def test_always_denied_in_spite_of_any_grant(ip: str) -> None:
    literal = ip_literal(ip)
    assert literal is not None
    assert address_policy(granted=["0.0.0.0/0", "::/0"]).denies(literal)


@pytest.mark.parametrize(
    "ip", ["10.0.0.1", "172.16.0.1", "192.168.0.1", "1.1.1.1", "fd00::1", "2001:db8::1", "100.64.0.1"]
)
def test_ordinary_addresses_are_not_denied(ip: str) -> None:
    assert not address_policy().denies(ip)
    assert not address_policy().grants(ip)


def test_denied_ranges_stand_above_grants() -> None:
    policy = address_policy(denied=["10.96.0.0/12", "nonsense"], granted=["10.0.0.0/8", "192.0.2.1"])
    assert policy.denies("10.96.0.1")
    assert not policy.denies("10.0.0.1")
    assert policy.grants("10.0.0.1")
    assert policy.grants("192.0.2.1")
    assert not policy.grants("192.0.2.2")
    assert not policy.grants("fd00::1")


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0", "010.0.0.1", "0x7f000001", "2130706433", "127.1", "fe80::1%eth0", "::1/128", "1" * 100, " 10.0.0.1"],
)
def test_what_is_no_literal(text: str) -> None:
    assert ip_literal(text) is None


def test_literals_are_canonical() -> None:
    assert ip_literal("FD00:0:0:0::1") == "fd00::1"


def test_a_block_keeps_both_ends() -> None:
    assert block("10.0.0.7/30") == (4, 10 * 2**24 + 4, 10 * 2**24 + 7)
