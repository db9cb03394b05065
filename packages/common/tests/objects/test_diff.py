"""Differences: what the server fills in does not count, and patches are minimal."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kubelb_common.objects import diff

KEYS = st.sampled_from("abcd")
SCALARS = st.booleans() | st.integers(0, 2) | st.text("xy", max_size=2)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


@pytest.mark.parametrize(
    ("desired", "live", "expected"),
    [
        ({"a": 1}, {"a": 1, "filled": True}, False),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False),
        ({"ports": [{"port": 80}]}, {"ports": [{"port": 80, "protocol": "TCP"}]}, False),
        ({"ports": [{"port": 80}]}, {"ports": [{"port": 80}, {"port": 81}]}, True),
        ({"ports": [1, 2]}, {"ports": [2, 1]}, True),
        ({"a": 1}, {}, True),
        ({"a": 1}, {"a": "1"}, True),
        ({"a": True}, {"a": 1}, True),
        ({"a": None}, {}, False),
        ({"a": None}, {"a": 1}, True),
        ({"a": {}, "b": []}, {}, False),
        ({"a": {"b": {}}}, {}, False),
        ({"a": {"b": 1}}, {}, True),
        ({"a": {}}, {"a": "text"}, True),
        ({"a": []}, {"a": [1]}, True),
        ({"a": ""}, {}, True),
    ],
)
def test_differs(desired: Any, live: Any, expected: bool) -> None:
    assert diff.differs(desired, live) is expected


def test_exact_paths_see_what_is_no_longer_desired() -> None:
    live = {"spec": {"selector": {"app": "a", "old": "b"}, "clusterIP": "10.0.0.1"}}
    desired = {"spec": {"selector": {"app": "a"}}}
    assert not diff.differs(desired, live)
    assert diff.differs(desired, live, exact=[("spec", "selector")])
    assert diff.differs({"spec": {}}, live, exact=[("spec", "selector")])
    assert not diff.differs({"spec": {}}, {"spec": {"selector": {}}}, exact=[("spec", "selector")])
    assert not diff.differs(desired, desired, exact=[("spec", "selector"), ("metadata", "labels")])


@given(OBJECTS, OBJECTS)
def test_nothing_differs_from_itself_with_additions(desired: dict[str, Any], more: dict[str, Any]) -> None:
    assert not diff.differs(desired, desired)
    assert not diff.differs(desired, more | desired)


@given(OBJECTS, OBJECTS)
@settings(max_examples=300)
def test_a_patch_leads_to_the_new_object_and_is_empty_only_if_equal(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy((old, new))
    patch = diff.merge_patch(old, new)
    assert text(diff.apply_merge_patch(old, patch)) == text(new)
    assert (patch == {}) is (text(old) == text(new))
    assert (old, new) == before


@given(OBJECTS, OBJECTS)
def test_no_part_of_a_patch_can_be_left_out(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = diff.merge_patch(old, new)
    assume(patch)
    for smaller in without_one(patch):
        assert text(diff.apply_merge_patch(old, smaller)) != text(new)


def test_nulls_count_as_absent() -> None:
    assert diff.merge_patch({"a": None}, {"b": None}) == {}
    assert diff.merge_patch({"a": 1}, {"a": None}) == {"a": None}
    assert diff.merge_patch({}, {"a": {"b": None, "c": 1}}) == {"a": {"c": 1}}


def test_a_patch_tells_only_what_changed() -> None:
    old = {"status": {"phase": "Pending", "conditions": [{"type": "Ready"}]}, "spec": {"x": 1}}
    new = {"status": {"phase": "Ready", "conditions": [{"type": "Ready"}]}, "spec": {"x": 1}}
    assert diff.merge_patch(old, new) == {"status": {"phase": "Ready"}}


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def without_one(patch: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object that has one leaf less than `patch`."""
    smaller = []
    for key, value in patch.items():
        rest = {other: item for other, item in patch.items() if other != key}
        if not (isinstance(value, dict) and value):
            smaller.append(rest)
        else:
            smaller += [{**rest, key: item} for item in without_one(value)]
    return smaller
