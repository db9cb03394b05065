"""What an Envoy claims and what its certificate must say."""

from __future__ import annotations

import pytest

from kubelb_manager.delivery.identity import NodeIdentity, certificate_uri, parse_node, refusal

NODE = NodeIdentity("tenant-a", "shared", "envoy-0")


def test_node():
    assert parse_node("tenant-a/shared/envoy-0") == NODE
    assert NODE.fleet_key == "tenant-a/shared"


@pytest.mark.parametrize(
    "text",
    ["", "a", "a/b", "a/b/", "/b/c", "a/b/c/d", "A/b/c", "a/../c", "a/b/c\n", "a/b /c", "a/b%/c", f"{'a' * 300}/b/c"],
)
def test_no_node(text):
    assert parse_node(text) is None


def test_only_its_own_fleet():
    own = certificate_uri("tenant-a", "shared")
    assert refusal(NODE, (own,)) is None
    assert refusal(NODE, ("spiffe://other", own)) is None
    assert own in refusal(NODE, ())
    for namespace, fleet in (("tenant-b", "shared"), ("tenant-a", "other"), ("tenant-a", "shared2")):
        assert certificate_uri(namespace, fleet) in refusal(NODE, (certificate_uri(namespace, fleet),))
