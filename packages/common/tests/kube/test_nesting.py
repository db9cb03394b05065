"""Deep JSON is cut where a reader's stack would end, and nothing else is touched."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubelb_common.kube.nesting import DEPTH, decode, pruned

texts = st.text(max_size=6) | st.sampled_from(["{", "}", '"', "\\", "[]", '\\"}'])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=20,
)


def cut(value: Any, most: int) -> Any:
    """The meaning, by recursion."""
    if not isinstance(value, (dict, list)):
        return value
    if most == 0:
        return None
    if isinstance(value, dict):
        return {key: cut(item, most - 1) for key, item in value.items()}
    return [cut(item, most - 1) for item in value]


@given(anything, st.integers(1, 4), st.booleans())
def test_what_lies_deeper_is_null(value: Any, most: int, plain: bool) -> None:
    body = json.dumps(value, ensure_ascii=plain).encode()
    assert json.loads(pruned(body, most)) == cut(value, most)


def test_any_depth_is_read_and_siblings_survive() -> None:
    for depth in (DEPTH, 2_000, 100_000):
        body = b'{"a":[' + b'{"x":"}","n":' * depth + b"1" + b',"y":"{"}' * depth + b'],"b":{"c":"kept"}}'
        found = decode(json.loads, body)
        assert found["b"] == {"c": "kept"}
        levels, inner = 0, found["a"][0]
        while isinstance(inner, dict):
            levels, inner = levels + 1, inner["n"]
        assert levels == (depth if depth == DEPTH else DEPTH - 2)
        assert inner == (1 if depth == DEPTH else None)
