from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb_common.kube.port import Object
from kubelb_common.runtime.keys import ObjectKey
from kubelb_common.runtime.store import Change, Store


def config_map(name: str, namespace: str = "a", version: str = "1", **labels: str) -> Object:
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": version}
    return {"metadata": {**metadata, "labels": labels}}


def app_label(obj: Object) -> list[str]:
    return [value for key, value in obj["metadata"]["labels"].items() if key == "app"]


def names(objects: list[Object]) -> list[str]:
    return [obj["metadata"]["name"] for obj in objects]


def test_lists_sorted_by_key_and_by_namespace() -> None:
    store = Store()
    for name, namespace in [("z", "a"), ("b", "ab"), ("a", "a"), ("c", "b"), ("d", "")]:
        store.upsert(config_map(name, namespace))
    assert names(store.list()) == ["d", "a", "z", "b", "c"]
    assert names(store.list("a")) == ["a", "z"]
    assert names(store.list("")) == ["d"]
    assert store.list("nowhere") == []


def test_cluster_scoped_objects_are_found_without_a_namespace() -> None:
    store = Store()
    node = {"metadata": {"name": "n1"}}
    store.upsert(node)
    assert store.get(None, "n1") is node
    assert store.get_key(ObjectKey("", "n1")) is node
    assert str(ObjectKey.of(node)) == "n1"
    assert ObjectKey.parse("ns/x") == ObjectKey("ns", "x")


def test_index_follows_changes_and_removals() -> None:
    store = Store()
    store.upsert(config_map("early", app="web"))
    store.add_index("app", app_label)
    store.upsert(config_map("b", app="web"))
    store.upsert(config_map("a", app="web"))
    assert names(store.by_index("app", "web")) == ["a", "b", "early"]
    store.upsert(config_map("a", app="api"))
    store.remove(ObjectKey("a", "b"))
    assert names(store.by_index("app", "web")) == ["early"]
    assert names(store.by_index("app", "api")) == ["a"]
    assert store.by_index("app", "none") == []


def test_an_index_tells_whether_and_one_by_one() -> None:
    store = Store()
    store.add_index("app", app_label)
    assert not store.has("app", "web")
    store.upsert(config_map("b", app="web"))
    store.upsert(config_map("a", app="web"))
    assert store.has("app", "web")
    assert names(list(store.each("app", "web"))) == names(store.by_index("app", "web"))
    store.remove(ObjectKey("a", "a"))
    store.upsert(config_map("b", app="api"))
    assert not store.has("app", "web")
    assert list(store.each("app", "web")) == []
    with pytest.raises(KeyError):
        store.has("none", "web")


def test_an_index_name_is_taken_once() -> None:
    store = Store()
    store.add_index("app", app_label)
    with pytest.raises(ValueError, match="app"):
        store.add_index("app", app_label)


def test_an_index_that_raises_for_one_object_leaves_the_others() -> None:
    store = Store()
    store.add_index("app", app_label)
    store.upsert({"metadata": {"name": "odd"}})
    store.upsert(config_map("good", app="web"))
    assert names(store.by_index("app", "web")) == ["good"]
    assert len(store) == 2


def test_replace_all_reports_differences_only() -> None:
    store = Store()
    kept, changed, gone = config_map("kept"), config_map("changed"), config_map("gone")
    for obj in (kept, changed, gone):
        store.upsert(obj)
    newer, fresh = config_map("changed", version="2"), config_map("fresh")
    changes = store.replace_all([fresh, newer, config_map("kept")])
    assert changes == [Change(gone, None), Change(changed, newer), Change(None, fresh)]
    assert store.get("a", "kept") is kept


def test_replace_all_sees_a_recreated_object_with_the_same_version() -> None:
    store = Store()
    store.upsert(config_map("x"))
    again = config_map("x")
    again["metadata"]["uid"] = "other"
    assert len(store.replace_all([again])) == 1


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["x", "y"]), st.sampled_from(["put", "del", "all"])))
)
def test_any_history_leaves_what_a_plain_dict_would_hold(steps: list[tuple[str, str, str]]) -> None:
    store, model = Store(), dict[ObjectKey, Object]()
    store.add_index("app", app_label)
    for number, (name, label, step) in enumerate(steps):
        obj = config_map(name, version=str(number), app=label)
        key = ObjectKey.of(obj)
        if step == "put":
            assert store.upsert(obj) is model.get(key)
            model[key] = obj
        elif step == "del":
            assert store.remove(key) is model.pop(key, None)
        else:
            store.replace_all([obj])
            model = {key: obj}
    assert store.list() == [model[key] for key in sorted(model)]
    for label in "xy":
        expected = [model[key] for key in sorted(model) if app_label(model[key]) == [label]]
        assert store.by_index("app", label) == expected
