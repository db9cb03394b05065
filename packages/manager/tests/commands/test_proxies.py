"""What a manager knows of its Envoys, and how `kubelb-manager proxies` asks for it and prints it."""

from __future__ import annotations

import json
from typing import Any

import yaml
from feature_world import World, until
from manager_program import Hub

from kubelb_common.kube import resources
from kubelb_common.kube.errors import Forbidden, ServerError
from kubelb_manager.xds.resources import CLUSTER


async def test_every_envoy_is_seen_by_stream_or_slice(managed: tuple[Hub, World]) -> None:
    world = managed[1]
    await world.onboard()
    await world.route("r1", "a.example.com", {"echo": 30001})
    await world.certificate()
    async with world.envoy(), world.envoy("envoy-1") as bad:
        bad.refuse = lambda url, _name, _body: "no\nsuch\x1b[31mfilter" if url == CLUSTER else None
        await world.ready_pods("envoy-0", "envoy-2")

        def seen() -> dict[str, Any]:
            return {item["pod"]: item for item in world.manager.proxies()["proxies"]}

        await until(lambda: seen().get("envoy-1", {}).get("refusals"), "the refusal is told")
        await until(lambda: seen()["envoy-0"]["ready"] and "envoy-2" in seen(), "the slice is seen")
        found = seen()
        assert list(found) == ["envoy-0", "envoy-1", "envoy-2"]
        assert {item["fleet"] for item in found.values()} == {"tenant-a/shared"}
        flags = {pod: (item["ready"], item["connected"]) for pod, item in found.items()}
        assert flags == {"envoy-0": (True, True), "envoy-1": (False, True), "envoy-2": (True, False)}
        await until(lambda: _is_current(seen()["envoy-0"]), "the good one has acknowledged everything")
        assert found["envoy-1"]["generation"]["acknowledged"] == 0
        (refusal,) = found["envoy-1"]["refusals"]
        assert (refusal["type"], refusal["message"]) == ("Cluster", "no such [31mfilter")
        assert found["envoy-2"]["refusals"] == []
    json.dumps(world.manager.proxies())


def _is_current(item: dict[str, Any]) -> bool:
    return bool(item["generation"]["acknowledged"] == item["generation"]["current"] > 0)


def manager_pod(hub: Hub, name: str, ready: str = "True") -> None:
    metadata = {"name": name, "namespace": "kubelb", "labels": {"app.kubernetes.io/name": "kubelb-manager"}}
    pod = {
        "metadata": metadata,
        "spec": {"containers": [{"name": "manager", "image": "manager"}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }
    hub.kube.put(resources.PODS, pod)


def answers(hub: Hub, pod: str, *entries: dict[str, Any], complete: bool = True) -> None:
    hub.kube.proxied[f"pods/kubelb/{pod}:8081/proxy/proxies"] = {"complete": complete, "proxies": list(entries)}


def entry(pod: str, fleet: str = "tenant-a/shared", **more: Any) -> dict[str, Any]:
    plain = {"ready": True, "connected": True, "generation": {"current": 7, "acknowledged": 7}, "refusals": []}
    return {"fleet": fleet, "pod": pod, "node": "node-1", **plain, **more}


async def test_the_manager_is_asked_through_the_api_server(hub: Hub) -> None:
    manager_pod(hub, "manager-1")
    refusal = {"type": "Listener", "names": ["http"], "message": "bad\x1b[0m filter"}
    behind = entry("envoy-1", "tenant-b/shared", generation={"current": 7, "acknowledged": 5}, refusals=[refusal])
    answers(hub, "manager-1", entry("envoy-0"), behind)
    lines = (await hub.good("proxies")).stdout.splitlines()
    assert lines[0].split() == ["FLEET", "POD", "NODE", "READY", "CONNECTED", "GENERATION", "REFUSALS"]
    assert lines[1].split() == ["tenant-a/shared", "envoy-0", "node-1", "yes", "yes", "7/7", "-"]
    assert lines[2].split()[:6] == ["tenant-b/shared", "envoy-1", "node-1", "yes", "yes", "5/7"]
    assert lines[2].endswith("Listener: bad [0m filter")
    shown = yaml.safe_load((await hub.good("proxies", "--fleet", "tenant-b", "-o", "yaml")).stdout)
    assert [item["pod"] for item in shown["items"]] == ["envoy-1"]
    assert json.loads((await hub.good("proxies", "--fleet", "none", "-o", "json")).stdout) == {"items": []}


async def test_of_several_managers_each_tells_of_its_own(hub: Hub) -> None:
    """A proxy is connected to one of them; the others know it by its slice alone."""
    manager_pod(hub, "manager-1")
    manager_pod(hub, "manager-2")
    manager_pod(hub, "manager-3", ready="False")
    away = {"connected": False, "generation": {"current": 7, "acknowledged": 0}}
    answers(hub, "manager-1", entry("envoy-0"), entry("envoy-1", **away), complete=False)
    answers(hub, "manager-2", entry("envoy-0", **away), entry("envoy-1"), complete=False)
    found = json.loads((await hub.good("proxies", "-o", "json")).stdout)["items"]
    assert [(item["pod"], item["connected"]) for item in found] == [("envoy-0", True), ("envoy-1", True)]
    hub.kube.fail_next("get", "pods/proxy", ServerError(503, "ServiceUnavailable", "no answer"))
    result = await hub.good("proxies", "-o", "json")
    found = json.loads(result.stdout)["items"]
    assert [(item["pod"], item["connected"]) for item in found] == [("envoy-0", False), ("envoy-1", True)]
    assert "manager manager-1 does not answer" in result.stderr


async def test_faults_are_one_line(hub: Hub) -> None:
    async def said() -> str:
        result = await hub.run("proxies")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.count("\n") == 1
        return result.stderr

    assert "no manager is ready in namespace kubelb (0 pods" in await said()
    manager_pod(hub, "manager-1")
    assert "serves no /proxies on port 8081" in await said()
    answers(hub, "manager-1")
    assert "There are no proxies." in (await hub.good("proxies")).stderr
    hub.kube.fail_next("get", "pods/proxy", Forbidden(403, "Forbidden", "you cannot get pods/proxy"))
    assert "you cannot get pods/proxy; this needs the kubeconfig of an admin" in await said()
