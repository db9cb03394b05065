"""What labs that are reached from the host have in common, as far as it needs no API server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from standins import programs
from standins.stage import until

from kubelb_e2e.clusters.base import PodPlace
from kubelb_e2e.clusters.kubeconfigs import server_of, with_server
from kubelb_e2e.clusters.outside import OutsideLab
from kubelb_e2e.errors import LabError

POD = PodPlace("management", "shop", "envoy-1", "uid")
FORWARD = """
import http.server, os, sys
with open({seen!r}, "w") as file:
    print(os.getpid(), os.environ["KUBECONFIG"], *sys.argv[1:], file=file)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if self.path == "/absent" else 200)
        self.end_headers()
        self.wfile.write(("page " + self.path).encode())
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(f"Forwarding from 127.0.0.1:{{server.server_port}} -> 9001", flush=True)
server.serve_forever()
"""


def lab(folder: Path, kubectl: Path) -> OutsideLab:
    kubeconfigs = {name: folder / f"{name}.kubeconfig" for name in ("management", "tenant-1")}
    return OutsideLab("shop", folder, kubeconfigs, kubectl)


def test_pages_come_through_a_port_that_kubectl_chooses_and_that_is_closed(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    own = lab(tmp_path, programs.python(tmp_path / "kubectl", FORWARD.format(seen=str(seen))))
    assert own.pages(POD, 9001, ["/stats", "/config_dump?all"]) == {
        "/stats": "page /stats",
        "/config_dump?all": "page /config_dump?all",
    }
    pid, kubeconfig, *words = seen.read_text().split()
    assert words == ["port-forward", "--namespace=shop", "pod/envoy-1", ":9001"]
    assert kubeconfig == str(tmp_path / "management.kubeconfig")
    until(lambda: not Path(f"/proc/{pid}").exists(), "it is still there")


def test_a_page_that_is_not_there_is_told(tmp_path: Path) -> None:
    own = lab(tmp_path, programs.python(tmp_path / "kubectl", FORWARD.format(seen=str(tmp_path / "seen"))))
    with pytest.raises(LabError, match=r"^http://127.0.0.1:\d+/absent: HTTP Error 404"):
        own.pages(POD, 9001, ["/absent"])


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'error: pods \"envoy-1\" not found' >&2; exit 1", 'error: pods "envoy-1" not found'),
        ("exit 1", "it ended"),
    ],
)
def test_a_forwarding_that_does_not_begin_is_told(tmp_path: Path, script: str, told: str) -> None:
    own = lab(tmp_path, programs.script(tmp_path / "kubectl", f"#!/bin/sh\n{script}\n"))
    with pytest.raises(LabError) as caught:
        own.pages(POD, 9001, ["/stats"])
    assert str(caught.value) == f"management: kubectl port-forward envoy-1: {told}"


def test_a_command_inherits_what_there_is_and_finds_this_kubectl_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING", "else")
    found = lab(tmp_path, tmp_path / "bin" / "kubectl").environment("tenant-1")
    assert found["SOMETHING"] == "else"
    assert found["PATH"] == f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    assert found["KUBECONFIG"] == str(tmp_path / "tenant-1.kubeconfig")
    assert "KUBECONFIG_CCM_1" not in found, "there is no credential yet"


def test_a_kubeconfig_is_led_to_another_server_and_keeps_the_rest() -> None:
    given = {
        "clusters": [
            {"name": "a", "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority-data": "Y2E="}},
            {"name": "b", "cluster": {"server": "https://10.0.0.2:6443"}},
        ],
        "users": [{"name": "me", "user": {"token": "secret"}}],
    }
    text = with_server(json.dumps(given), "https://127.0.0.1:7000")
    assert server_of(text) == "https://127.0.0.1:7000"
    found = yaml.safe_load(text)
    assert [item["cluster"]["server"] for item in found["clusters"]] == ["https://127.0.0.1:7000"] * 2
    assert found["clusters"][0]["cluster"]["certificate-authority-data"] == "Y2E="
    assert found["users"] == given["users"]
