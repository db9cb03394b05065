"""What is carried over from a live object, and when nothing is written."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager.desired import envoy_fleet, service, tenant
from kubelb_manager.desired.live import prepared, updated
from kubelb_manager.settings.annotations import AnnotationPolicy
from kubelb_manager.settings.merged import EnvoySettings, Settings

TENANT: Object = {
    "apiVersion": names.API_VERSION,
    "kind": "Tenant",
    "metadata": {"name": "primary", "uid": "tenant-uid"},
}
AGENT = envoy_fleet.Agent("manager", "token")


def load_balancer(*, kind: str = "LoadBalancer", annotations: dict[str, str] | None = None) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "LoadBalancer",
        "metadata": {"name": "lb", "namespace": "tenant-primary", "uid": "lb-uid", "annotations": annotations or {}},
        "spec": {"type": kind},
    }


def wanted_service(
    *ports: Object, kind: str = "LoadBalancer", lb_class: str = "", annotations: dict[str, str] | None = None
) -> Object:
    settings = Settings(load_balancer_class=lb_class, annotations=AnnotationPolicy(propagate_all=True))
    return service.load_balancer(load_balancer(kind=kind, annotations=annotations), settings=settings, ports=ports)


HTTP = service.service_port("http", 80, 12000)
HTTPS = service.service_port("https", 443, 12001)


def stored(wanted: Object) -> Object:
    """Return what an API server makes of a new object."""
    live = prepared(wanted)
    live["metadata"].update(uid="uid", resourceVersion="1", creationTimestamp="2026-01-01T00:00:00Z")
    if live["kind"] == "Service":
        live["spec"].update(
            clusterIP="10.96.0.9", clusterIPs=["10.96.0.9"], ipFamilies=["IPv4"], sessionAffinity="None"
        )
        if live["spec"]["type"] == "LoadBalancer":
            live["spec"].update(healthCheckNodePort=32000, allocateLoadBalancerNodePorts=True)
            for number, port in enumerate(live["spec"]["ports"]):
                port["nodePort"] = 31000 + number
        live["status"] = {"loadBalancer": {}}
    return live


def changed(live: Object, wanted: Object) -> Object:
    result = updated(live, wanted)
    assert result is not None
    assert result["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
    assert updated(result, wanted) is None
    return result


ALL = [
    wanted_service(HTTP),
    wanted_service(HTTP, kind="ClusterIP"),
    service.ingress(TENANT, "tenant-primary", settings=Settings(load_balancer_class="x")),
    tenant.namespace(TENANT),
    tenant.service_account(TENANT),
    tenant.role(TENANT),
    tenant.role_binding(TENANT),
    tenant.token_secret(TENANT),
    tenant.kubeconfig_secret(TENANT, server="https://x", ca=b"ca", token="t"),
    tenant.tenant_state(TENANT),
    envoy_fleet.xds_secret(TENANT, "tenant-primary", "shared", certificate=b"c", key=b"k", ca=b"a"),
    envoy_fleet.workload(
        TENANT,
        "tenant-primary",
        "shared",
        bootstrap="{}",
        image="envoy",
        agent=AGENT,
        settings=EnvoySettings(node_selector={"a": "b"}),
    ),
]


@pytest.mark.parametrize("wanted", ALL, ids=lambda item: f"{item['kind']}-{item['metadata']['name']}")
def test_nothing_is_written_when_all_is_as_wanted(wanted: Object) -> None:
    live = stored(wanted)
    before = copy.deepcopy(live)
    assert updated(live, wanted) is None
    assert live == before


def test_node_ports_survive_by_name_and_by_number() -> None:
    live = stored(wanted_service(HTTP, HTTPS))
    renamed = {**HTTP, "name": "web"}
    moved = {**HTTPS, "port": 8443}
    ports = changed(live, wanted_service(moved, renamed))["spec"]["ports"]
    assert [(port["port"], port["nodePort"]) for port in ports] == [(8443, 31001), (80, 31000)]


def test_a_new_port_has_no_node_port_yet() -> None:
    ports = changed(stored(wanted_service(HTTP)), wanted_service(HTTP, HTTPS))["spec"]["ports"]
    assert [port.get("nodePort") for port in ports] == [31000, None]


def test_what_the_server_filled_in_stays() -> None:
    spec = changed(stored(wanted_service(HTTP)), wanted_service(HTTPS))["spec"]
    assert (spec["clusterIP"], spec["healthCheckNodePort"]) == ("10.96.0.9", 32000)


def test_the_class_is_set_at_creation_only() -> None:
    live = stored(wanted_service(HTTP))
    assert updated(live, wanted_service(HTTP, lb_class="later")) is None
    classed = stored(wanted_service(HTTP, lb_class="first"))
    assert changed(classed, wanted_service(HTTPS, lb_class="other"))["spec"]["loadBalancerClass"] == "first"
    turned = changed(stored(wanted_service(HTTP, kind="ClusterIP")), wanted_service(HTTP, lb_class="now"))
    assert turned["spec"]["loadBalancerClass"] == "now"


def test_a_service_that_is_no_load_balancer_any_more_loses_what_belongs_to_one() -> None:
    spec = changed(stored(wanted_service(HTTP, lb_class="x")), wanted_service(HTTP, kind="ClusterIP"))["spec"]
    assert spec["type"] == "ClusterIP"
    assert not {
        "loadBalancerClass",
        "healthCheckNodePort",
        "allocateLoadBalancerNodePorts",
        "externalTrafficPolicy",
    } & set(spec)
    assert "nodePort" not in spec["ports"][0]
    assert spec["clusterIP"] == "10.96.0.9"


def test_foreign_metadata_stays_and_ours_goes_when_it_is_not_wanted() -> None:
    live = stored(wanted_service(HTTP, annotations={"ours/a": "1", "ours/b": "2"}))
    live["metadata"]["annotations"]["foreign/x"] = "3"
    live["metadata"]["labels"]["foreign"] = "y"
    live["metadata"]["finalizers"] = ["service.kubernetes.io/load-balancer-cleanup"]
    live["metadata"]["ownerReferences"].append({"kind": "Other", "uid": "other"})
    metadata = changed(live, wanted_service(HTTP, annotations={"ours/b": "4"}))["metadata"]
    assert metadata["annotations"] == {"ours/b": "4", "foreign/x": "3", names.ANNOTATION_OWNED: "ours/b"}
    assert metadata["labels"]["foreign"] == "y"
    assert metadata["finalizers"] == live["metadata"]["finalizers"]
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["lb-uid", "other"]
    metadata = changed(live, wanted_service(HTTP))["metadata"]
    assert metadata["annotations"] == {"foreign/x": "3"}


def test_a_lost_label_and_owner_come_back() -> None:
    live = stored(wanted_service(HTTP))
    del live["metadata"]["labels"]
    live["metadata"]["ownerReferences"] = []
    metadata = changed(live, wanted_service(HTTP))["metadata"]
    assert metadata["labels"][names.LABEL_LB_NAME] == "lb"
    assert metadata["ownerReferences"][0]["uid"] == "lb-uid"


def workload(**settings: Any) -> Object:
    return envoy_fleet.workload(
        TENANT,
        "tenant-primary",
        "shared",
        bootstrap="{}",
        image="envoy",
        agent=AGENT,
        settings=EnvoySettings(**settings),
    )


def test_defaults_of_the_server_are_no_difference_but_a_removed_field_is() -> None:
    live = stored(workload(node_selector={"a": "b"}))
    live["spec"]["revisionHistoryLimit"] = 10
    live["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    assert updated(live, workload(node_selector={"a": "b"})) is None
    assert "nodeSelector" not in changed(live, workload())["spec"]["template"]["spec"]


def test_a_foreign_change_of_a_workload_is_undone() -> None:
    live = stored(workload())
    live["spec"]["replicas"] = 0
    assert changed(live, workload())["spec"]["replicas"] == 3


def test_a_widened_role_is_narrowed_again() -> None:
    live = stored(tenant.role(TENANT))
    live["rules"].append({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
    assert changed(live, tenant.role(TENANT))["rules"] == tenant.role(TENANT)["rules"]


def _ports_of(live_ports: list[Object], wanted_ports: list[Object]) -> list[Object]:
    def made(ports: list[Object]) -> Object:
        metadata = {"name": "s", "namespace": "tenant-a", "labels": {}}
        return {"kind": "Service", "metadata": metadata, "spec": {"type": "LoadBalancer", "ports": ports}}

    changed = updated(made(live_ports), made(wanted_ports)) or made(live_ports)
    return [(port.get("name", ""), port["port"], port["protocol"]) for port in changed["spec"]["ports"]]


def _port(name: str, number: int, protocol: str = "TCP") -> Object:
    return {**({"name": name} if name else {}), "port": number, "protocol": protocol}


def test_a_port_keeps_its_name_for_kube_proxy() -> None:
    before = [_port("a", 53), _port("b", 53, "UDP")]
    assert _ports_of(before, [_port("y", 53, "UDP"), _port("x", 53)]) == [("b", 53, "UDP"), ("a", 53, "TCP")]
    assert _ports_of(before, [*before, _port("c", 80)]) == [("a", 53, "TCP"), ("b", 53, "UDP"), ("c", 80, "TCP")]


def test_a_name_that_another_port_has_now_is_given_up() -> None:
    before = [_port("a", 53), _port("b", 80)]
    wanted = [_port("x", 53), _port("a", 443)]
    assert _ports_of(before, wanted) == [("x", 53, "TCP"), ("a", 443, "TCP")]
    assert _ports_of([_port("", 53)], [_port("x", 53), _port("y", 54)]) == [("x", 53, "TCP"), ("y", 54, "TCP")]
