"""Where a reference to a tenant's Secret leads."""

from __future__ import annotations

from typing import Any

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.runtime.store import Store
from kubelb_manager.desired.sync_secret import Refused, secret
from kubelb_manager.gather import synced


def store(*secrets: Object) -> Store:
    out = Store()
    out.add_index(synced.BY_ORIGIN, synced.origins)
    for item in secrets:
        out.upsert(item)
    return out


def copy(
    uid: str, namespace: str, name: str, *, tenant: str = "tenant-a", created: str = "2026-01-01T00:00:00Z"
) -> Object:
    labels = {names.LABEL_ORIGIN_NAMESPACE: namespace, names.LABEL_ORIGIN_NAME: names.label_value(name)}
    notes = {names.ANNOTATION_ORIGIN_NAME: name} if names.label_value(name) != name else {}
    metadata: dict[str, Any] = {"name": "s", "namespace": tenant, "uid": uid, "labels": labels, "annotations": notes}
    out = secret({"apiVersion": names.API_VERSION, "kind": "SyncSecret", "metadata": metadata})
    assert not isinstance(out, Refused)
    out["metadata"]["creationTimestamp"] = created
    return out


def test_by_origin_within_the_tenant() -> None:
    found = store(copy("u1", "shop", "tls"), copy("u2", "blog", "tls"), copy("u3", "shop", "tls", tenant="tenant-b"))
    assert synced.find(found, "tenant-a", "shop", "tls")["metadata"]["name"] == "u1"
    assert synced.find(found, "tenant-a", "blog", "tls")["metadata"]["name"] == "u2"
    assert synced.find(found, "tenant-b", "shop", "tls")["metadata"]["name"] == "u3"
    assert synced.find(found, "tenant-b", "blog", "tls") is None


def test_never_by_raw_name() -> None:
    own = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kubelb-ccm", "namespace": "tenant-a"}}
    forged = copy("u1", "shop", "tls")
    del forged["metadata"]["ownerReferences"]
    found = store(own, forged)
    assert synced.find(found, "tenant-a", "tenant-a", "kubelb-ccm") is None
    assert synced.find(found, "tenant-a", "shop", "tls") is None
    assert synced.find(found, "tenant-a", "shop", "u1") is None


def test_long_names_are_told_apart() -> None:
    one, two = "x" * 100 + "-one", "x" * 100 + "-two"
    found = store(copy("u1", "shop", one), copy("u2", "shop", two))
    assert synced.find(found, "tenant-a", "shop", two)["metadata"]["name"] == "u2"
    assert synced.find(found, "tenant-a", "shop", names.label_value(one)) is None


def test_of_two_that_claim_one_origin_the_older_counts() -> None:
    found = store(copy("u1", "shop", "tls", created="2026-01-02T00:00:00Z"), copy("u2", "shop", "tls"))
    assert synced.find(found, "tenant-a", "shop", "tls")["metadata"]["name"] == "u2"
