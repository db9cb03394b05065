"""What a SyncSecret becomes, whatever it holds."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager.desired.sync_secret import TYPES, Refused, is_replaceable, secret

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def sync_secret(metadata: Object | None = None, **content: Any) -> Object:
    own = {"name": "s", "namespace": "tenant-a", "uid": "u-1", **(metadata or {})}
    return {"apiVersion": names.API_VERSION, "kind": "SyncSecret", "metadata": own, **content}


def made(*args: Any, **kwargs: Any) -> Object:
    out = secret(sync_secret(*args, **kwargs))
    assert not isinstance(out, Refused), out.message
    return out


@given(st.dictionaries(st.sampled_from(["data", "stringData", "type", "immutable", "other"]), JSON), JSON, JSON)
def test_odd_content_never_raises_and_nothing_of_it_but_values_passes(content: Object, labels: Any, notes: Any) -> None:
    out = secret(sync_secret({"labels": labels, "annotations": notes}, **content))
    if isinstance(out, Refused):
        assert out.message
        return
    assert out["type"] in TYPES
    assert set(out) <= {"apiVersion", "kind", "metadata", "type", "data", "immutable"}
    assert set(out["metadata"]) <= {"name", "namespace", "labels", "annotations", "ownerReferences"}
    for value in out["data"].values():
        assert base64.b64encode(base64.b64decode(value)).decode() == value


def test_base64_is_read_as_go_reads_it() -> None:
    """An agent of the original may have written it under a CRD that checks less."""
    assert made(data={"a": "TVE9\nPQ==\r\n", "b": ""})["data"] == {"a": "TVE9PQ==", "b": ""}
    out = secret(sync_secret(data={"good": "MQ==", "bad": "%%%"}))
    assert isinstance(out, Refused)
    assert "bad" in out.message
    assert "%%%" not in out.message, "what may be a secret is not repeated"


def test_a_full_name_passes_only_where_its_label_is_shortened() -> None:
    full = "x" * 100
    labels = {names.LABEL_ORIGIN_NAME: names.label_value(full), names.LABEL_ORIGIN_NAMESPACE: "shop"}
    notes = {names.ANNOTATION_ORIGIN_NAME: full, "cert-manager.io/issuer": "theirs"}
    assert made({"labels": labels, "annotations": notes})["metadata"]["annotations"] == {
        names.ANNOTATION_ORIGIN_NAME: full
    }
    for wrong in (full + "y", "../../etc", 'a"b', ""):
        found = made({"labels": labels, "annotations": {names.ANNOTATION_ORIGIN_NAME: wrong}})
        assert "annotations" not in found["metadata"], wrong


def test_what_can_become_what() -> None:
    one, two = made(data={"a": "MQ=="}), made(data={"a": "Mg=="})
    frozen = made(data={"a": "MQ=="}, immutable=True)
    assert is_replaceable(one, two)
    assert is_replaceable(one, frozen)
    assert is_replaceable(frozen, frozen)
    assert not is_replaceable(frozen, one)
    assert not is_replaceable(frozen, made(data={"a": "Mg=="}, immutable=True))
    assert not is_replaceable(one, made(data={"a": "MQ=="}, type="kubernetes.io/tls"))
    assert is_replaceable({"type": "Opaque", "immutable": True}, made(immutable=True)), "no data is empty data"
