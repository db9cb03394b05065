"""What of a context an object depends on: nodes that move cost the objects that refer to them, and no others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubelb_manager.settings.merged import Settings
from kubelb_manager.translate.context import Context, given_addresses, moved_nodes, refers_to

NODES = (("default", given_addresses([{"ip": "10.0.0.1"}])), ("own", given_addresses([{"ip": "10.0.0.1"}])))
HERE = Context("tenant-a", nodes=NODES)


def test_addresses_that_changed_are_named() -> None:
    moved = replace(HERE, nodes=(NODES[0], ("own", given_addresses([{"ip": "10.0.0.2"}]))))
    assert moved_nodes(HERE, moved) == {"own"}
    assert moved_nodes(HERE, replace(HERE, nodes=NODES[:1])) == {"own"}
    assert moved_nodes(HERE, replace(HERE)) == frozenset()


def test_anything_else_concerns_all() -> None:
    assert moved_nodes(HERE, replace(HERE, settings=Settings(load_balancer_disabled=True))) is None
    assert moved_nodes(HERE, replace(HERE, nodes=(), resolved=(("x", ()),))) is None


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        (None, {"default"}),
        ([], {"default"}),
        ([{"addressesReference": {"name": "own"}}, {"addressesReference": {"name": "default"}}], {"own", "default"}),
        ([{"addressesReference": {"name": "own"}}, {"addresses": [{"ip": "10.0.0.1"}]}], None),
        ([{"addressesReference": {"name": 3}}], None),
        (["x"], None),
        ("x", {"default"}),
    ],
)
def test_what_an_object_refers_to(endpoints: object, expected: set[str] | None) -> None:
    assert refers_to({"spec": {"endpoints": endpoints}}) == expected
