"""Services of type LoadBalancer on two fake clusters."""

from __future__ import annotations

import json

import pytest

from kubelb_common import names
from kubelb_common.api.crd_schema import crds
from kubelb_common.kube import resources
from kubelb_common.kube.errors import Forbidden, Invalid
from kubelb_common.testing import builders
from kubelb_common.testing.fake_kube import FakeKube

pytestmark = pytest.mark.looptime


def db(name="db"):
    return builders.service(name, "shop").port(5432, name="pg").load_balancer()


def ingress_of(service):
    return service["status"].get("loadBalancer", {}).get("ingress")


async def test_a_service_is_exported_and_gets_its_address(world):
    service = world.put_service(db())
    await world.start()
    (exported,) = world.load_balancers()
    assert exported["metadata"]["name"] == service["metadata"]["uid"]
    assert exported["spec"]["endpoints"][0]["ports"][0]["port"] == service["spec"]["ports"][0]["nodePort"]
    assert exported["metadata"]["labels"][names.LABEL_TENANT] == "tenant-a"
    assert ingress_of(world.service("db")) == [{"ip": "192.0.2.10"}]


async def test_changes_arrive(world):
    world.put_service(db().annotation("a", "1").annotation("b", "1"))
    await world.start()
    world.change(resources.SERVICES, "db", {"metadata": {"annotations": {"a": None, "b": "2"}}})
    renamed = {**world.service("db")["spec"]["ports"][0], "name": "renamed"}
    world.change(resources.SERVICES, "db", {"spec": {"ports": [renamed], "sessionAffinity": "ClientIP"}})
    await world.quiet()
    (exported,) = world.load_balancers()
    assert exported["metadata"]["annotations"] == {"b": "2"}
    assert [port["name"] for port in exported["spec"]["ports"]] == ["renamed"]
    assert exported["spec"]["persistence"] == {"type": "SourceIP"}


async def test_a_lost_label_comes_back(world):
    service = world.put_service(db())
    await world.start()
    patch = {"metadata": {"labels": {names.LABEL_TENANT: None}}}
    world.hub.store.patch(resources.LOAD_BALANCERS, service["metadata"]["uid"], patch, "tenant-a", subresource=None)
    await world.until(lambda: world.load_balancers()[0]["metadata"]["labels"].get(names.LABEL_TENANT) == "tenant-a")


async def test_another_type_cleans_up_at_once(world):
    world.put_service(db())
    await world.start()
    world.manager.releases = False
    world.change(
        resources.SERVICES,
        "db",
        {
            "spec": {
                "type": "ClusterIP",
                "ports": [{"name": "pg", "port": 5432, "nodePort": None}],
                "externalTrafficPolicy": None,
            }
        },
    )
    await world.quiet()
    assert names.FINALIZER in world.service("db")["metadata"]["finalizers"]
    world.manager.releases = True
    await world.until(lambda: "finalizers" not in world.service("db")["metadata"])
    assert world.load_balancers() == []
    assert not ingress_of(world.service("db"))


async def test_deletion_waits_for_the_management_cluster(world):
    world.put_service(db())
    await world.start()
    world.manager.releases = False
    world.delete(resources.SERVICES, "db")
    await world.quiet(60)
    assert world.service("db") is not None
    world.manager.releases = True
    await world.until(lambda: world.service("db") is None)
    assert world.load_balancers() == []


@pytest.mark.parametrize(
    ("use_class", "service_class", "ours"),
    [
        (False, None, True),
        (False, "kubelb", True),
        (False, "metallb", False),
        (True, None, False),
        (True, "kubelb", True),
    ],
)
async def test_classes(world, use_class, service_class, ours):
    world.options["use_loadbalancer_class"] = use_class
    world.put_service(builders.service("db", "shop").port(1).load_balancer(class_=service_class))
    await world.start()
    assert len(world.load_balancers()) == ours
    assert (names.FINALIZER in world.service("db")["metadata"].get("finalizers", [])) == ours


async def test_without_the_cloud_provider_the_status_is_never_ours(world):
    world.options["enable_cloud_provider"] = False
    world.put_service(db())
    await world.start()
    assert world.load_balancers() == []
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}}}
    world.tenant.store.patch(resources.SERVICES, "db", status, "shop", subresource="status")
    await world.quiet()
    (exported,) = world.load_balancers()
    assert exported["spec"]["endpoints"][0]["addresses"] == [{"ip": "203.0.113.5"}]
    assert exported["spec"]["endpoints"][0]["ports"][0]["port"] == 5432
    assert ingress_of(world.service("db")) == [{"ip": "203.0.113.5"}]


async def test_without_node_ports_of_its_own_a_twin_serves(world):
    world.put_service(db().spec(allocateLoadBalancerNodePorts=False))
    await world.start()
    twin = world.service("db-nodeport")
    (exported,) = world.load_balancers()
    assert exported["spec"]["endpoints"][0]["ports"][0]["port"] == twin["spec"]["ports"][0]["nodePort"]
    world.delete(resources.SERVICES, "db")
    await world.until(lambda: world.service("db") is None and world.service("db-nodeport") is None)


async def test_problems_are_told(world):
    world.manager.verdicts["Accepted"] = ("False", "Disabled", "The administrator has disabled LoadBalancers.")
    service = world.put_service(db())
    await world.start()
    told = json.loads(world.service("db")["metadata"]["annotations"][names.ANNOTATION_STATUS])
    assert told["loadBalancer"] == service["metadata"]["uid"]
    assert [event["reason"] for event in world.tenant.objects(resources.EVENTS, "shop")] == ["Disabled"]
    assert names.ANNOTATION_STATUS not in world.load_balancers()[0]["metadata"].get("annotations", {})


async def test_what_has_no_effect_is_told_too(world):
    world.manager.verdicts["PartiallyInvalid"] = ("True", "PortNotFound", "No port belongs to the port 81/TCP.")
    world.put_service(db())
    await world.start()
    told = json.loads(world.service("db")["metadata"]["annotations"][names.ANNOTATION_STATUS])
    assert [item["type"] for item in told["conditions"]] == ["PartiallyInvalid"]
    assert ingress_of(world.service("db")) == [{"ip": "192.0.2.10"}], "the rest is served"
    del world.manager.verdicts["PartiallyInvalid"]
    await world.until(lambda: names.ANNOTATION_STATUS not in world.service("db")["metadata"].get("annotations", {}))


async def test_a_failed_event_spoils_nothing(world):
    world.tenant.fail_next("create", resources.EVENTS, Forbidden(403, "Forbidden", "no"), times=100)
    world.manager.verdicts["Accepted"] = ("False", "Disabled", "no")
    world.put_service(db())
    await world.start()
    assert names.ANNOTATION_STATUS in world.service("db")["metadata"]["annotations"]


async def test_objects_made_by_hand_are_left_alone(world):
    spec = {"endpoints": [{"addresses": [{"ip": "10.0.0.9"}], "ports": [{"port": 30000}]}]}
    meta = {"name": "by-hand", "namespace": "tenant-a"}
    world.hub.put(
        resources.LOAD_BALANCERS,
        {"apiVersion": names.API_VERSION, "kind": "LoadBalancer", "metadata": meta, "spec": spec},
    )
    await world.start()
    assert len(world.load_balancers()) == 1


async def test_what_the_hub_refuses_is_told_and_asked_again_at_leisure(world):
    """A protocol that no LoadBalancer knows, say SCTP: the tenant reads why, and the hub is left in peace."""
    refusal = Invalid(422, "Invalid", "spec.ports[0].protocol: Unsupported value")
    world.hub.fail_next("create", resources.LOAD_BALANCERS, refusal, times=3)
    world.put_service(db())
    await world.start()
    said = json.loads(world.service("db")["metadata"]["annotations"][names.ANNOTATION_STATUS])
    assert said["conditions"][0]["reason"] == "ExportRefused"
    assert "Unsupported value" in said["conditions"][0]["message"]
    assert world.load_balancers() == []
    assert sum("loadbalancers" in each for each in await world.writes_within(59.0)) <= 1
    await world.until(world.load_balancers, seconds=300.0)
    await world.until(lambda: names.ANNOTATION_STATUS not in world.service("db")["metadata"].get("annotations", {}))


async def test_ports_that_cannot_be_served_are_told_and_the_rest_is_served(world):
    world.put_service(db().port(132, name="sig", protocol="SCTP"))
    await world.start()
    (exported,) = world.load_balancers()
    assert [port["port"] for port in exported["spec"]["ports"]] == [5432]
    told = json.loads(world.service("db")["metadata"]["annotations"][names.ANNOTATION_STATUS])
    assert [(item["type"], item["reason"]) for item in told["conditions"]] == [
        ("PartiallyInvalid", "UnsupportedProtocol")
    ]
    assert "132/SCTP" in told["conditions"][0]["message"]
    assert ingress_of(world.service("db")) == [{"ip": "192.0.2.10"}]


async def test_a_service_of_which_nothing_can_be_served_is_told(world):
    world.put_service(builders.service("sig", "shop").port(132, protocol="SCTP").load_balancer())
    await world.start()
    assert world.load_balancers() == []
    told = json.loads(world.service("sig")["metadata"]["annotations"][names.ANNOTATION_STATUS])
    assert [(item["type"], item["reason"]) for item in told["conditions"]] == [("Accepted", "UnsupportedProtocol")]


async def test_source_ranges_and_address_travel(world):
    world.put_service(db().spec(loadBalancerSourceRanges=["10.0.0.0/8 "], loadBalancerIP="198.51.100.9"))
    await world.start()
    (exported,) = world.load_balancers()
    assert exported["spec"]["sourceRanges"] == ["10.0.0.0/8"]
    assert exported["spec"]["loadBalancerIP"] == "198.51.100.9"


async def test_source_ranges_are_not_opened_by_an_older_management_cluster(world):
    """CRDs of the original drop the field: the object goes, and the tenant is told why."""
    older = crds()
    spec = next(crd for crd in older if crd["spec"]["names"]["kind"] == "LoadBalancer")["spec"]["versions"][0]
    del spec["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["sourceRanges"]
    world.hub = world.manager.hub = FakeKube(namespaces=["tenant-a"], crds=older)
    world.put_service(db().spec(loadBalancerSourceRanges=["10.0.0.0/8"]))
    world.put_service(db("open"))
    await world.start()
    assert [item["metadata"]["labels"][names.LABEL_ORIGIN_NAME] for item in world.load_balancers()] == ["open"]
    told = json.loads(world.service("db")["metadata"]["annotations"][names.ANNOTATION_STATUS])
    assert [item["reason"] for item in told["conditions"]] == ["NotKept"]
    world.change(resources.SERVICES, "open", {"spec": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}})
    await world.until(lambda: world.load_balancers() == [])
