"""`kubelb-manager tenants`: what people type and read, against a manager that runs."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from pathlib import Path

import pytest
import yaml
from feature_world import RELEASE_SECONDS, World, until
from manager_program import Hub, invoke

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import Forbidden

Managed = tuple[Hub, World]


async def added(managed: Managed, *flags: str, name: str = "shop") -> World:
    """Add a tenant; play the token controller meanwhile."""
    hub, world = managed
    adding = asyncio.create_task(hub.good("tenants", "add", name, *flags))
    await world.fill_token("kubelb-ccm", "t0ken", names.tenant_namespace(name))
    result = await adding
    assert "is made" in result.stderr
    return world


async def test_a_tenant_is_added_and_its_credential_waited_for(managed: Managed) -> None:
    world = await added(managed, "--host", "*.shop.example.com", "--legacy-agent")
    tenant = world.kube.peek(resources.TENANTS, "shop")
    assert tenant is not None
    assert tenant["spec"] == {"hosts": {"allowed": ["*.shop.example.com"]}, "legacyAgent": True}
    listed = (await managed[0].good("tenants", "list")).stdout.splitlines()
    assert listed[0].split() == ["NAME", "PHASE", "NAMESPACE", "TOKEN", "OLD", "TOKEN", "UNTIL", "AGE", "PROBLEM"]
    assert listed[1].split()[:4] == ["shop", "Ready", "tenant-shop", "1"]
    as_json = json.loads((await managed[0].good("tenants", "list", "-o", "json")).stdout)
    as_yaml = yaml.safe_load((await managed[0].good("tenants", "list", "-o", "yaml")).stdout)
    assert as_json == as_yaml
    assert as_json["items"][0]["status"]["credential"]["secret"] == "kubelb-ccm"


async def test_the_kubeconfig_is_printed_as_a_file_or_as_the_agents_secret(managed: Managed, tmp_path: Path) -> None:
    await added(managed)
    hub = managed[0]
    plain = (await hub.good("tenants", "kubeconfig", "shop")).stdout
    assert json.loads(plain)["users"][0]["user"]["token"] == "t0ken"
    secret = yaml.safe_load((await hub.good("tenants", "kubeconfig", "shop", "--secret")).stdout)
    assert secret["metadata"] == {"name": "kubelb-cluster", "namespace": "kubelb"}
    assert secret["stringData"] == {"kubelb": plain}
    target = tmp_path / "shop.kubeconfig"
    target.write_text("readable by all")
    assert (await hub.good("tenants", "kubeconfig", "shop", "--to", str(target))).stdout == ""
    assert target.read_text() == plain
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


async def test_a_rotation_is_asked_for_and_waited_for(managed: Managed) -> None:
    world = await added(managed)
    hub = managed[0]
    rotating = asyncio.create_task(hub.good("tenants", "rotate", "shop", "--overlap", "1h"))
    await world.fill_token("kubelb-ccm-2", "fresh", "tenant-shop")
    result = await rotating
    assert "has token 2, the one before it is accepted until" in result.stderr
    assert "kubelb-manager tenants kubeconfig shop --secret" in result.stderr
    printed = json.loads((await hub.good("tenants", "kubeconfig", "shop")).stdout)
    assert printed["users"][0]["user"]["token"] == "fresh"
    rotating = asyncio.create_task(hub.good("tenants", "rotate", "shop", "--now"))
    await world.fill_token("kubelb-ccm-3", "third", "tenant-shop")
    assert "the one before it is revoked" in (await rotating).stderr
    left = [item["metadata"]["name"] for item in world.kube.objects(resources.SECRETS, "tenant-shop")]
    assert left == ["kubelb-ccm-3", "kubelb-ccm-kubeconfig"]


async def test_a_tenant_is_removed_after_a_question(managed: Managed) -> None:
    world = await added(managed)
    hub = managed[0]
    result = await hub.run("tenants", "remove", "shop", input_="n\n")
    assert result.exit_code == 1
    assert "tenant 'shop' serves 0 LoadBalancers and 0 Routes" in result.stderr
    assert world.kube.peek(resources.TENANTS, "shop") is not None
    await hub.good("tenants", "remove", "shop", input_="y\n")
    assert world.kube.peek(resources.TENANTS, "shop") is None
    assert world.kube.peek(resources.NAMESPACES, "tenant-shop") is None


async def test_several_are_removed_without_waiting(managed: Managed) -> None:
    world = await added(managed)
    await added(managed, name="blog")
    await managed[0].good("tenants", "remove", "shop", "blog", "--yes", "--no-wait")
    await until(lambda: not world.kube.objects(resources.TENANTS), "both are gone", seconds=RELEASE_SECONDS)


@pytest.mark.parametrize("name", ["tenant-a", "A", "a" * 57, "a.b", "-a"])
def test_a_name_that_cannot_be_is_wrong_usage(name: str) -> None:
    result = invoke("tenants", "add", "--kubeconfig", "/nonexistent", "--", name)
    assert result.exit_code == 2
    assert "NAME" in result.stderr


async def test_faults_are_one_line(hub: Hub) -> None:
    cases = {
        ("tenants", "kubeconfig", "shop"): "there is no tenant 'shop'; there are: none",
        ("tenants", "rotate", "shop"): "there is no tenant 'shop'",
        ("tenants", "remove", "shop", "--yes"): "there is no tenant 'shop'",
    }
    for args, text in cases.items():
        result = await hub.run(*args)
        assert (result.exit_code, result.stdout) == (1, ""), args
        assert result.stderr.count("\n") == 1
        assert text in result.stderr
    result = await hub.run("tenants", "add", "shop", "--timeout", "1s")
    assert result.exit_code == 1
    assert "not looked at yet" in result.stderr.splitlines()[-1]
    assert "exists already" in (await hub.run("tenants", "add", "shop")).stderr
    assert "has no kubeconfig yet" in (await hub.run("tenants", "kubeconfig", "shop")).stderr
    assert "it has token none" in (await hub.run("tenants", "rotate", "shop", "--timeout", "1s")).stderr
    hub.kube.fail_next("list", resources.TENANTS, Forbidden(403, "Forbidden", "you cannot list tenants"))
    assert "you cannot list tenants; this needs the kubeconfig of an admin" in (await hub.run("tenants", "list")).stderr
    hub.kube.hide(resources.TENANTS)
    assert "kubelb-manager crds | kubectl apply -f -" in (await hub.run("tenants", "list")).stderr
    hub.kube.stop()
    result = await hub.run("tenants", "list")
    assert result.exit_code == 1
    assert "check that the API server runs" in result.stderr
    assert invoke("tenants", "list").exit_code == 1
    assert "no API server is configured" in invoke("tenants", "list").stderr


async def test_two_rotations_at_once_are_told(hub: Hub) -> None:
    body = {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": {"name": "shop"}, "spec": {}}
    hub.kube.put(resources.TENANTS, body)

    def other() -> None:
        notes = {"metadata": {"annotations": {names.ANNOTATION_TOKEN_GENERATION: "2"}}}
        hub.kube.store.patch(resources.TENANTS, "shop", notes, None, subresource=None)

    hub.kube.before_next("patch", resources.TENANTS, other)
    assert "was changed at the same moment" in (await hub.run("tenants", "rotate", "shop")).stderr
    await hub.good("tenants", "rotate", "shop", "--no-wait", "--overlap", "90s")
    (tenant,) = hub.kube.objects(resources.TENANTS)
    assert tenant["metadata"]["annotations"] == {
        names.ANNOTATION_TOKEN_GENERATION: "3",
        names.ANNOTATION_TOKEN_OVERLAP: "90s",
    }


async def test_a_kubeconfig_that_is_none_is_said(hub: Hub) -> None:
    hub.kube.put(
        resources.TENANTS,
        {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": {"name": "shop"}, "spec": {}},
    )
    hub.kube.put(resources.NAMESPACES, {"metadata": {"name": "tenant-shop"}})
    broken = {"kubelb": base64.b64encode(b"\xff").decode()}
    hub.kube.put(
        resources.SECRETS, {"metadata": {"name": "kubelb-ccm-kubeconfig", "namespace": "tenant-shop"}, "data": broken}
    )
    result = await hub.run("tenants", "kubeconfig", "shop")
    assert result.exit_code == 1
    assert "Secret tenant-shop/kubelb-ccm-kubeconfig holds no kubeconfig" in result.stderr


async def test_shells_complete_commands_and_names(hub: Hub) -> None:
    for name in ("shop", "shoes", "blog"):
        body = {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": {"name": name}, "spec": {}}
        hub.kube.put(resources.TENANTS, body)

    async def complete(line: str, word: str) -> list[str]:
        env = {"_KUBELB_MANAGER_COMPLETE": "fish_complete", "COMP_WORDS": line, "COMP_CWORD": word}
        result = await asyncio.to_thread(invoke, KUBECONFIG=str(hub.kubeconfig), **env)
        return [entry.partition(",")[2].split("\t")[0] for entry in result.stdout.splitlines() if entry]

    assert "rotate" in await complete("kubelb-manager tenants", "ro")
    assert await complete("kubelb-manager tenants rotate", "sh") == ["shoes", "shop"]
    hub.kube.stop()
    assert await complete("kubelb-manager tenants rotate", "sh") == []
    for shell in ("bash", "zsh", "fish"):
        assert "_KUBELB_MANAGER_COMPLETE" in invoke("completion", shell).stdout


@pytest.mark.parametrize("command", ["list", "add", "kubeconfig", "rotate", "remove"])
def test_help_teaches_by_examples(command: str) -> None:
    result = invoke("tenants", command, "--help")
    assert result.exit_code == 0
    assert f"kubelb-manager tenants {command}" in result.stdout.replace("Usage: kubelb-manager", "")
