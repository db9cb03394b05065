"""Looking into raw objects never raises, whatever they hold."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb_common.objects import view

FIELDS = [
    "metadata", "kind", "apiVersion", "name", "namespace", "uid", "labels", "annotations", "finalizers", "generation",
    "deletionTimestamp", "creationTimestamp", "ownerReferences", "controller", "resourceVersion",
]  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
)
READERS = [
    view.kind, view.api_group, view.name, view.namespace, view.uid, view.resource_version, view.generation, view.labels,
    view.content, view.annotations, view.owner_references, view.controller, view.deletion_time, view.deleting, view.creation_time,
    view.finalizers,
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=4))
def test_no_reader_raises(obj: dict[str, Any]) -> None:
    for reader in READERS:
        reader(obj)


def test_the_list_of_readers_is_complete() -> None:
    takes_obj = {
        function
        for _, function in inspect.getmembers(view, inspect.isfunction)
        if list(inspect.signature(function).parameters) == ["obj"] and not function.__name__.startswith("_")
    }
    assert takes_obj == set(READERS)


def test_get_walks_objects_and_lists() -> None:
    service = {"spec": {"ports": [{"port": 80}], "selector": None, "zero": 0}}
    assert view.get(service, "spec", "ports", 0, "port") == 80
    assert view.get(service, "spec", "ports", 1, "port", default=1) == 1
    assert view.get(service, "spec", "selector", default={}) == {}
    assert view.get(service, "spec", "zero", default=5) == 0
    assert view.get(service, "spec", "ports", "port", default="-") == "-"
    assert view.get(service, "spec", "zero", "deeper") is None


def test_metadata() -> None:
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "b", "uid": "u", "generation": 3, "labels": {"x": "y", "odd": 1}},
    }
    assert (view.name(obj), view.namespace(obj), view.uid(obj), view.generation(obj)) == ("a", "b", "u", 3)
    assert (view.api_group(obj), view.api_group({"apiVersion": "v1"})) == ("apps", "")
    assert view.labels(obj) == {"x": "y"}


def test_owner_references() -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}}
    other = view.owner_reference(owner | {"kind": "Secret"}, controller=False)
    owned = {"metadata": {"ownerReferences": [other, view.owner_reference(owner)]}}
    assert (view.controller(owned) or {})["kind"] == "ConfigMap"
    assert view.controller({"metadata": {"ownerReferences": [other]}}) is None


def test_finalizers() -> None:
    obj = {"kind": "X", "metadata": {"name": "a", "finalizers": ["one"], "resourceVersion": "7"}}
    two = view.with_finalizer(obj, "two")
    assert view.finalizers(two) == ["one", "two"]
    assert view.finalizers(view.with_finalizer(two, "two")) == ["one", "two"]
    assert view.finalizers(obj) == ["one"]
    assert view.without_finalizers(two, ["one", "two", "three"])["metadata"] == {"name": "a", "resourceVersion": "7"}
    assert view.has_finalizer(two, "two")
    assert not view.has_finalizer(obj, "two")
    assert view.finalizer_patch(obj, []) == {"metadata": {"finalizers": None, "resourceVersion": "7"}}


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_survive(time: datetime) -> None:
    assert view.parse_time(view.format_time(time)) == time.replace(microsecond=0)
    assert view.parse_time(view.format_micro_time(time)) == time


def test_time_formats_are_those_of_kubernetes() -> None:
    time = datetime(2026, 1, 2, 4, 5, 6, 7000, tzinfo=timezone(timedelta(hours=1)))
    assert view.format_time(time) == "2026-01-02T03:05:06Z"
    assert view.format_micro_time(time) == "2026-01-02T03:05:06.007000Z"
    assert view.parse_time("2026-01-02T04:05:06+01:00") == datetime(2026, 1, 2, 3, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "0001-01-01T00:00:00+01:00"]
)
def test_what_is_no_time_reads_as_none(text: str) -> None:
    assert view.parse_time(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("1h30m", 5400), ("0.5s", 0.5), ("250ms", 0.25), ("1m0.5s", 60.5), ("10µs", 1e-5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert view.parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "60", "s", "-5s", "5 s", "1d", "5sx"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        view.parse_duration(text)


def test_content_is_what_is_wanted_of_any_kind() -> None:
    head = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "status": {"phase": "x"}}
    assert view.content({**head, "data": {"a": "MQ=="}, "type": "Opaque"}) == {"data": {"a": "MQ=="}, "type": "Opaque"}
    assert view.content({**head, "spec": {"a": 1}}) == {"spec": {"a": 1}}
