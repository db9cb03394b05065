"""Joined bytes are what protobuf itself would write."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from kubelb_manager.delivery import wire
from kubelb_manager.delivery.messages import Request, Response
from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import CLUSTER, resource
from kubelb_manager.xds.wire import varint

names = st.text(st.characters(codec="utf-8"), max_size=200)
bodies = st.binary(max_size=300)


@given(st.lists(st.builds(resource, names, bodies)), st.lists(names), names)
def test_encode(resources, removed, nonce):
    data = wire.encode(Response(CLUSTER, nonce, tuple(resources), tuple(removed)))
    message = pb.DeltaDiscoveryResponse(type_url=CLUSTER, nonce=nonce, removed_resources=removed)
    for each in resources:
        packed = pb.AnyMessage(type_url=CLUSTER, value=each.body)
        message.resources.add(name=each.name, version=each.version, resource=packed)
    assert pb.DeltaDiscoveryResponse.FromString(data) == message


@given(st.integers(0, 1 << 40))
def test_varint(number):
    value = pb.UInt32Value if number < 1 << 32 else None
    data = varint(number)
    assert sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data)) == number
    if value is not None and number:
        assert value(value=number).SerializeToString() == b"\x08" + data


def test_decode():
    message = pb.DeltaDiscoveryRequest(
        type_url=CLUSTER,
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"c": "1"},
        response_nonce="7",
    )
    message.node.id = "x"
    incoming = wire.decode(message.SerializeToString())
    assert incoming == (Request(CLUSTER, ("a",), ("b",), {"c": "1"}, "7", None), "x")
    message.error_detail.message = ""
    assert wire.decode(message.SerializeToString()).request.error == ""


def test_no_such_message():
    with pytest.raises(ValueError, match="not a DeltaDiscoveryRequest"):
        wire.decode(b"\xff\xff")
