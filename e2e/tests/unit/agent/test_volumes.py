"""Projection of volumes, and their atomic writing."""

from __future__ import annotations

import base64
import os

import pytest

from kubelb_e2e.clusters.local.agent import atomic, fields, podvolumes, volumes
from kubelb_e2e.clusters.local.agent.atomic import File
from kubelb_e2e.clusters.local.agent.env import MissingReference

POD = {
    "metadata": {"name": "p", "namespace": "n", "labels": {"b": "2", "a": "1"}},
    "spec": {"dnsPolicy": "ClusterFirst"},
}


class Objects:
    def config_map(self, name):
        return {"metadata": {"name": name}, "data": {"a": "1", "b": "2"}} if name == "conf" else None

    def secret(self, name):
        return {"metadata": {"name": name}, "data": {"s": base64.b64encode(b"x").decode()}} if name == "sec" else None


CONTEXT = volumes.VolumeContext(
    POD, fields.Facts("n", ("h",), ("ip",)), Objects(), lambda asked: f"token-{asked.audience}"
)


def test_whole_config_map_with_default_mode():
    files = volumes.project({"name": "v", "configMap": {"name": "conf", "defaultMode": 0o400}}, CONTEXT)
    assert files == {"a": File(b"1", 0o400), "b": File(b"2", 0o400)}


def test_projected_volume_of_all_sources():
    sources = [
        {"configMap": {"name": "conf", "items": [{"key": "b", "path": "d/b", "mode": 0o600}]}},
        {"secret": {"name": "sec"}},
        {"serviceAccountToken": {"path": "token", "audience": "x", "expirationSeconds": 600}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"secret": {"name": "none", "optional": True}},
    ]
    volume = {"name": "v", "projected": {"sources": sources}}
    assert volumes.project(volume, CONTEXT) == {
        "d/b": File(b"2", 0o600),
        "s": File(b"x", 0o644),
        "token": File(b"token-x", 0o600),
        "labels": File(b'a="1"\nb="2"', 0o644),
    }
    assert volumes.token_requests(volume) == [volumes.TokenRequest("x", 600)]


@pytest.mark.parametrize(
    "volume", [{"configMap": {"name": "none"}}, {"configMap": {"name": "conf", "items": [{"key": "z", "path": "z"}]}}]
)
def test_missing_source_is_named(volume):
    with pytest.raises(MissingReference):
        volumes.project(volume, CONTEXT)


def test_update_swaps_all_files_at_once(tmp_path):
    assert atomic.write(tmp_path, {"a": File(b"1", 0o644), "d/x": File(b"1", 0o644)})
    held = os.open(tmp_path / "..data" / "a", os.O_RDONLY)
    assert not atomic.write(tmp_path, {"a": File(b"1", 0o644), "d/x": File(b"1", 0o644)})
    assert atomic.write(tmp_path, {"a": File(b"2", 0o600), "c": File(b"3", 0o644)})
    assert os.read(held, 9) == b"1"
    os.close(held)
    assert (tmp_path / "a").read_bytes() == b"2"
    assert sorted(entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("..")) == ["a", "c"]
    assert len([entry for entry in tmp_path.iterdir() if entry.name.startswith("..")]) == 2


def test_resolv_conf_and_hosts():
    text = podvolumes.resolv_conf(POD, "10.99.1.10")
    assert "nameserver 10.99.1.10\nsearch n.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5" in text
    own = {"spec": {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}, "metadata": {"name": "p"}}
    assert podvolumes.resolv_conf(own, "10.99.1.10") == "nameserver 1.1.1.1\n"
    assert "10.1.1.1 p\n" in podvolumes.hosts(POD, ["10.1.1.1"])
