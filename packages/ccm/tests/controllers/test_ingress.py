"""Ingresses on two fake clusters."""

from __future__ import annotations

import json

import pytest

from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import Forbidden
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime


def shop(name="web", service="web"):
    return builders.ingress(name, "shop").rule("shop.example.com", "/", service, 80)


def web(name="web"):
    return builders.service(name, "shop").port(80, name="http")


def node_ports(service):
    return [port["nodePort"] for port in service["spec"]["ports"]]


async def test_an_ingress_is_exported_with_a_twin_and_gets_its_address(world):
    world.put_service(web())
    ingress = world.put_ingress(shop())
    await world.start()

    twin = world.service("web-nodeport")
    (route,) = world.routes()
    assert route["metadata"]["name"] == ingress["metadata"]["uid"]
    assert names.FINALIZER in route["metadata"]["finalizers"]
    exported = world.route_services()["web"]
    assert node_ports(exported) == node_ports(twin)
    assert "clusterIP" not in exported["spec"]
    live = world.ingress("web")
    assert live["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.10"}]
    assert names.FINALIZER in live["metadata"]["finalizers"]
    assert names.ANNOTATION_STATUS not in live["metadata"].get("annotations", {})


async def test_the_way_to_the_route_is_two_writes_for_a_known_service(world):
    world.put_service(web())
    world.put_ingress(shop("first"))
    await world.start()
    world.manager.paused = True
    world.forget()
    second = world.put_ingress(shop("second"))
    await world.quiet()
    assert world.writes() == [
        "patch ingresses.networking.k8s.io second",
        f"create routes.kubelb.k8c.io {second['metadata']['uid']}",
    ]
    assert [r.verb for r in [*world.tenant.requests(), *world.hub.requests()] if r.verb in ("list", "get")] == []


async def test_idle_means_no_write(world):
    world.put_service(web())
    world.put_ingress(shop())
    world.put_service(builders.service("tcp", "shop").port(5432).load_balancer())
    await world.start()
    assert await world.writes_within(120) == []


async def test_nothing_is_written_by_a_second_pass(world):
    world.put_service(web())
    world.put_ingress(shop())
    world.put_service(builders.service("tcp", "shop").port(5432).load_balancer())
    await world.start()
    await world.stop()
    world.forget()
    await world.start()
    assert world.writes() == []


async def test_another_class_is_left_alone_and_leaving_cleans_up(world):
    world.put_service(web())
    other = builders.ingress("other", "shop", class_="nginx").rule("o.example.com", "/", "web", 80)
    world.put_ingress(other.annotation(names.ANNOTATION_LEGACY_INGRESS_CLASS, "kubelb"))
    await world.start()
    assert world.routes() == []
    assert world.service("web-nodeport") is None

    world.change(resources.INGRESSES, "other", {"spec": {"ingressClassName": "kubelb"}})
    await world.until(lambda: world.ingress("other").get("status", {}).get("loadBalancer", {}).get("ingress"))
    world.change(resources.INGRESSES, "other", {"spec": {"ingressClassName": "nginx"}})
    await world.until(lambda: world.service("web-nodeport") is None and not world.routes())
    await world.quiet()
    live = world.ingress("other")
    assert "finalizers" not in live["metadata"]
    assert not live["status"]["loadBalancer"].get("ingress")


async def test_without_classes_every_ingress_is_ours(world):
    world.options["use_ingress_class"] = False
    world.put_service(web())
    world.put_ingress(builders.ingress("plain", "shop", class_=None).rule("a.example.com", "/", "web", 80))
    await world.start()
    assert len(world.routes()) == 1


async def test_deletion_keeps_its_order(world):
    world.put_service(web())
    world.put_ingress(shop())
    await world.start()
    world.manager.releases = False
    world.delete(resources.INGRESSES, "web")
    await world.quiet(100)
    (route,) = world.routes()
    assert route["metadata"]["deletionTimestamp"]
    assert world.service("web-nodeport") is not None
    assert world.ingress("web") is not None

    world.manager.releases = True
    await world.until(lambda: world.ingress("web") is None)
    assert world.routes() == []
    await world.until(lambda: world.service("web-nodeport") is None)


async def test_nothing_is_given_up_while_the_management_cluster_is_away(world):
    world.put_service(web())
    world.put_ingress(shop())
    await world.start()
    world.hub.stop()
    world.delete(resources.INGRESSES, "web")
    await world.quiet(300)
    assert world.service("web-nodeport") is not None
    assert world.ingress("web") is not None
    world.hub.start()
    await world.until(lambda: world.ingress("web") is None and world.service("web-nodeport") is None)
    assert world.routes() == []


async def test_an_object_deleted_while_the_agent_was_away_is_cleaned_up(world):
    world.put_service(web())
    world.put_ingress(shop())
    world.put_ingress(shop("stays"))
    await world.start()
    await world.stop()
    world.delete(resources.INGRESSES, "web")
    world.put_service(web("api"))
    world.put_ingress(shop("new", "api"))
    await world.start()
    await world.until(lambda: world.ingress("web") is None)
    await world.quiet()
    origins = {route["metadata"]["labels"][names.LABEL_ORIGIN_NAME] for route in world.routes()}
    assert origins == {"stays", "new"}
    assert world.service("web-nodeport") is not None


async def test_a_shared_twin_goes_with_its_last_user(world):
    world.put_service(web())
    world.put_ingress(shop("one"))
    world.put_ingress(shop("two"))
    await world.start()
    before = node_ports(world.service("web-nodeport"))
    world.delete(resources.INGRESSES, "one")
    await world.until(lambda: world.ingress("one") is None)
    await world.quiet()
    assert node_ports(world.service("web-nodeport")) == before
    world.delete(resources.INGRESSES, "two")
    await world.until(lambda: world.service("web-nodeport") is None)


async def test_after_a_switch_the_old_twin_waits_for_the_management_cluster(world):
    world.put_service(web("blue"))
    world.put_service(web("green"))
    world.put_ingress(shop("web", "blue"))
    await world.start()
    world.manager.sticky = True
    world.put_ingress(shop("web", "green"))
    await world.quiet(200)
    assert set(world.route_services()) == {"green"}
    assert world.service("blue-nodeport") is not None
    world.manager.sticky = False
    await world.until(lambda: world.service("blue-nodeport") is None)
    assert world.service("green-nodeport") is not None


async def test_a_manager_without_conditions_gets_a_minute(world):
    world.manager.conditions = False
    world.put_service(web("blue"))
    world.put_service(web("green"))
    world.put_ingress(shop("web", "blue"))
    await world.start()
    world.put_ingress(shop("web", "green"))
    await world.quiet(50)
    assert world.service("blue-nodeport") is not None
    await world.until(lambda: world.service("blue-nodeport") is None, 20)
    assert world.service("green-nodeport") is not None


async def test_a_missing_service_is_left_out_until_it_appears(world):
    world.put_ingress(shop())
    await world.start()
    assert world.route_services() == {}
    world.put_service(web())
    await world.until(lambda: "web" in world.route_services())
    assert node_ports(world.route_services()["web"]) == node_ports(world.service("web-nodeport"))


async def test_a_recreated_service_keeps_its_node_port(world):
    world.put_service(web())
    world.put_ingress(shop())
    await world.start()
    before = node_ports(world.service("web-nodeport"))
    world.manager.paused = True
    world.delete(resources.SERVICES, "web")
    await world.quiet()
    assert world.service("web-nodeport") is not None, "the port stays taken while an Envoy may use it"
    world.put_service(web())
    await world.until(lambda: "web" in world.route_services())
    await world.quiet()
    after = world.service("web-nodeport")
    assert "deletionTimestamp" not in after["metadata"]
    assert node_ports(world.route_services()["web"]) == node_ports(after) == before


async def test_a_deleted_twin_comes_back_with_its_node_port(world):
    world.put_service(web())
    world.put_ingress(shop())
    await world.start()
    before = node_ports(world.service("web-nodeport"))
    world.delete(resources.SERVICES, "web-nodeport")
    await world.quiet()
    after = world.service("web-nodeport")
    assert "deletionTimestamp" not in after["metadata"]
    assert node_ports(after) == before == node_ports(world.route_services()["web"])


async def test_a_twin_follows_its_service_and_keeps_its_node_ports(world):
    world.put_service(web().port(81, name="admin"))
    world.put_ingress(shop())
    await world.start()
    before = {port["name"]: port["nodePort"] for port in world.service("web-nodeport")["spec"]["ports"]}
    world.put_service(
        web().selector(app="v2").port(8081, name="admin").port(82, name="extra").spec(sessionAffinity="ClientIP")
    )
    await world.until(lambda: len(world.service("web-nodeport")["spec"]["ports"]) == 3)
    twin = world.service("web-nodeport")
    after = {port["name"]: port["nodePort"] for port in twin["spec"]["ports"]}
    assert (after["http"], after["admin"]) == (before["http"], before["admin"])
    assert twin["spec"]["selector"] == {"app": "v2"}
    assert twin["spec"]["sessionAffinity"] == "None"
    await world.quiet()
    assert {port["name"]: port["nodePort"] for port in world.route_services()["web"]["spec"]["ports"]} == after


async def test_a_service_of_somebody_else_is_never_touched(world):
    world.put_service(web())
    theirs = world.put_service(builders.service("web-nodeport", "shop").port(80).type("NodePort"))
    world.put_ingress(shop())
    await world.start()
    assert world.service("web-nodeport") == theirs
    told = json.loads(world.ingress("web")["metadata"]["annotations"][names.ANNOTATION_STATUS])
    assert told["conditions"][0]["reason"] == "NodePortServiceNameTaken"
    assert await world.writes_within(300) == []
    world.delete(resources.SERVICES, "web-nodeport")
    await world.until(lambda: names.ANNOTATION_STATUS not in world.ingress("web")["metadata"].get("annotations", {}))
    assert node_ports(world.route_services()["web"])


async def test_a_refused_twin_is_told_and_tried_again(world):
    refusal = Forbidden(403, "Forbidden", "exceeded quota: services.nodeports")
    world.tenant.fail_next("create", resources.SERVICES, refusal, name="web-nodeport")
    world.put_service(web())
    world.put_ingress(shop())
    await world.start()
    told = json.loads(world.ingress("web")["metadata"]["annotations"][names.ANNOTATION_STATUS])
    assert "exceeded quota" in told["conditions"][0]["message"]
    await world.until(lambda: world.service("web-nodeport"), 300)


async def test_services_with_node_ports_are_used_as_they_are(world):
    world.put_service(web("np").type("NodePort"))
    world.put_service(web("headless").headless())
    external = builders.service("away", "shop").type("ExternalName").selector()
    world.put_service(external.spec(externalName="example.org", ports=[{"port": 80, "protocol": "TCP"}]))
    world.put_ingress(shop("a", "np").rule("h.example.com", "/", "headless", 80).rule("e.example.com", "/", "away", 80))
    await world.start()
    found = world.route_services()
    assert node_ports(found["np"]) == node_ports(world.service("np"))
    assert world.service("np-nodeport") is None
    assert node_ports(found["headless"]) == node_ports(world.service("headless-nodeport"))
    assert found["away"]["spec"]["type"] == "ExternalName"
    assert world.service("away-nodeport") is None


async def test_endpoints_of_a_service_without_selector_are_mirrored(world):
    world.put_service(web().selector())
    (slice_,) = world.tenant.put(
        resources.ENDPOINT_SLICES,
        builders.endpoint_slice("web", "shop").endpoint("10.1.0.1").port(8080, name="http").build(),
    )
    world.put_ingress(shop())
    await world.start()

    def mirrored():
        found = world.tenant.objects(resources.ENDPOINT_SLICES, "shop")
        return [item for item in found if item["metadata"]["labels"]["kubernetes.io/service-name"] == "web-nodeport"]

    (mirror,) = mirrored()
    assert mirror["endpoints"] == slice_["endpoints"]
    world.tenant.store.patch(
        resources.ENDPOINT_SLICES, "web-1", {"endpoints": [{"addresses": ["10.1.0.2"]}]}, "shop", subresource=None
    )
    await world.until(lambda: mirrored()[0]["endpoints"] == [{"addresses": ["10.1.0.2"]}])
    assert await world.writes_within(60) == []
    world.delete(resources.ENDPOINT_SLICES, "web-1")
    await world.until(lambda: not mirrored())


async def test_problems_are_told_once_and_taken_back(world):
    world.manager.verdicts["ResolvedRefs"] = ("False", "BackendNotFound", "The Service shop/web does not exist.")
    ingress = world.put_ingress(shop())
    await world.start()
    await world.quiet(30)
    (event,) = world.tenant.objects(resources.EVENTS, "shop")
    assert (event["type"], event["reason"]) == ("Warning", "BackendNotFound")
    assert event["involvedObject"]["uid"] == ingress["metadata"]["uid"]
    told = json.loads(world.ingress("web")["metadata"]["annotations"][names.ANNOTATION_STATUS])
    assert told["route"] == ingress["metadata"]["uid"]
    (route,) = world.routes()
    assert "annotations" not in route["spec"]["source"]["kubernetes"]["resource"]["metadata"]
    world.manager.verdicts.clear()
    await world.until(lambda: names.ANNOTATION_STATUS not in world.ingress("web")["metadata"].get("annotations", {}))


async def test_an_ingress_that_is_not_accepted_any_more_loses_its_address(world):
    world.put_service(web())
    world.put_ingress(shop())
    await world.start()
    world.manager.verdicts["Accepted"] = ("False", "HostNotAllowed", "no")
    await world.until(lambda: not world.ingress("web")["status"]["loadBalancer"].get("ingress"))


async def test_a_sources_status_change_writes_no_route(world):
    world.put_service(web())
    world.put_ingress(shop())
    await world.start()
    world.forget()
    world.change(resources.INGRESSES, "web", {"metadata": {"annotations": {names.ANNOTATION_STATUS: "spoiled"}}})
    await world.quiet()
    assert world.writes() == ["patch ingresses.networking.k8s.io web"]


async def test_only_routes_of_this_cluster_are_removed(world):
    mine = world.tenant.peek(resources.NAMESPACES, "kube-system")["metadata"]["uid"]

    def route(name, cluster):
        labels = {names.LABEL_ORIGIN_NAMESPACE: "shop", names.LABEL_ORIGIN_NAME: "gone"}
        labels[names.LABEL_ORIGIN_KIND] = "Ingress.networking.k8s.io"
        if cluster:
            labels[names.LABEL_ORIGIN_CLUSTER] = cluster
        spec = {"endpoints": [{"addressesReference": {"name": "default"}}]}
        body = {"metadata": {"name": name, "namespace": "tenant-a", "labels": labels}, "spec": spec}
        world.hub.put(resources.ROUTES, {"apiVersion": names.API_VERSION, "kind": "Route", **body})

    route("ours", mine)
    route("foreign", "another-cluster")
    route("unknown", None)
    await world.start()
    await world.until(lambda: len(world.routes()) == 2)
    assert {found["metadata"]["name"] for found in world.routes()} == {"foreign", "unknown"}


async def test_the_tombstone_releases_finalizers(world):
    world.put_service(web())
    world.put_ingress(shop())
    world.put_service(builders.service("tcp", "shop").port(5432).load_balancer())
    await world.start()
    world.manager.paused = True
    world.delete(resources.INGRESSES, "web")
    await world.quiet()
    assert world.ingress("web") is not None
    state = {
        "apiVersion": names.API_VERSION,
        "kind": "TenantState",
        "metadata": {"name": "default", "namespace": "tenant-a"},
    }
    world.hub.put(resources.TENANT_STATES, {**state, "status": {"phase": "Terminating"}})
    await world.until(lambda: world.ingress("web") is None and world.service("web-nodeport") is None)
    assert "finalizers" not in world.service("tcp")["metadata"]
    assert await world.writes_within(60) == []
