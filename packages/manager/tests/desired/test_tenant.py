"""The rights of a tenant's agent, and its kubeconfig."""

from __future__ import annotations

import base64
import json

import yaml

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager.desired import copies, tenant
from kubelb_manager.settings.merged import Settings

TENANT: Object = {"apiVersion": names.API_VERSION, "kind": "Tenant", "metadata": {"name": "primary", "uid": "u"}}


def verbs(role: Object) -> dict[str, set[str]]:
    return {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}


def test_no_verb_on_status_but_get() -> None:
    granted = verbs(tenant.role(TENANT))
    status = {resource: allowed for resource, allowed in granted.items() if resource.endswith("/status")}
    assert len(status) == 5
    assert all(allowed == {"get"} for allowed in status.values())
    assert granted["tenantstates"] == {"get", "list", "watch"}
    assert granted["routes"] == {"create", "delete", "get", "list", "patch", "update", "watch"}


def test_only_our_group_and_no_wildcard() -> None:
    for rule in tenant.role(TENANT)["rules"]:
        assert rule["apiGroups"] == [names.GROUP]
        assert not any("*" in entry for entry in [*rule["resources"], *rule["verbs"]])


def test_an_agent_of_the_original_may_write_status_on_request() -> None:
    assert verbs(tenant.role(TENANT, legacy_agent=True))["routes/status"] == {"get", "patch", "update"}
    assert verbs(tenant.role(TENANT, legacy_agent=True, terminating=True))["routes/status"] == {"get"}


def test_a_leaving_tenant_creates_and_deletes_nothing() -> None:
    granted = verbs(tenant.role(TENANT, terminating=True))
    assert not any({"create", "delete"} & allowed for allowed in granted.values())
    assert "patch" in granted["routes"]


def test_the_kubeconfig_works_for_every_reader() -> None:
    secret = tenant.kubeconfig_secret(TENANT, server="https://[fd00::1]:6443", ca=b"PEM", token="secret")
    text = base64.b64decode(secret["data"][names.CCM_KUBECONFIG_KEY]).decode()
    config = yaml.safe_load(text)
    assert config == json.loads(text)
    assert config["clusters"][0]["cluster"] == {
        "server": "https://[fd00::1]:6443",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
    }
    assert config["contexts"][0]["context"]["namespace"] == "tenant-primary"
    assert config["users"][0]["user"] == {"token": "secret"}


def test_the_state_of_a_tenant() -> None:
    assert tenant.tenant_state_status(Settings(load_balancer_disabled=True), {"edition": "CE"}, terminating=True) == {
        "version": {"edition": "CE"},
        "phase": "Terminating",
        "loadBalancer": {"disable": True},
        "limits": {},
    }


def test_names_of_copies_cannot_collide() -> None:
    assert copies.ingress_name("a-b", "c") != copies.ingress_name("a", "b-c")
    assert copies.ingress_name("a", "b.c") != copies.ingress_name("a", "b-c")
    assert len(copies.ingress_name("a" * 63, "b" * 253)) <= 63
