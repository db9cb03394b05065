"""What `kubelb-ccm status` finds in two clusters with a running agent between them."""

from __future__ import annotations

import pytest

from kubelb_ccm.options import Options
from kubelb_ccm.status.facts import Cluster, summary
from kubelb_ccm.status.read import gathered
from kubelb_ccm.status.show import text
from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.errors import Forbidden, Invalid
from kubelb_common.testing import builders

pytestmark = pytest.mark.looptime
TENANT_NS = "tenant-a"
OPTIONS = Options("a", node_address_type="InternalIP")
READY = {"phase": "Ready", "version": {"gitVersion": "v0.1.0", "edition": "CE"}}


def tenant_state(world, **status):
    meta = {"name": "default", "namespace": TENANT_NS}
    world.hub.put(resources.TENANT_STATES, {"metadata": meta, "spec": {}, "status": {**READY, **status}})


async def seen(world, options=OPTIONS):
    world.forget()
    told = summary(await gathered(options, world.tenant, world.hub))
    assert world.writes() == []
    return told


def lines(told):
    return {
        item["object"]: (item["state"], [problem["reason"] for problem in item["problems"]]) for item in told["objects"]
    }


async def started(world):
    tenant_state(world)
    world.put_service(builders.service("web", "shop").port(80))
    await world.start()


async def test_all_is_well(world):
    await started(world)
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    world.put_service(builders.service("tcp", "blog").type("LoadBalancer").port(443))
    await world.quiet(3)
    told = await seen(world)
    assert told["problems"] == []
    assert lines(told) == {"shop/web": ("Served", []), "blog/tcp": ("Served", [])}
    assert [item["address"] for item in told["objects"]] == ["192.0.2.10", "192.0.2.10"]
    assert [item["reachable"] for item in told["clusters"]] == [True, True]
    assert told["manager"] == {"version": "v0.1.0", "edition": "CE"}
    assert told["nodes"] == {
        "total": 1,
        "ready": 1,
        "addressType": "InternalIP",
        "addresses": ["10.0.0.1"],
        "exported": ["10.0.0.1"],
    }
    shown = text(told)
    assert "Wrong" not in shown
    assert "1 of 1 ready, 1 addresses exported" in shown


async def test_what_the_manager_refuses_is_told_with_its_reason(world):
    await started(world)
    world.manager.verdicts["Accepted"] = ("False", "HostNotAllowed", "a.example.com is not yours")
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.quiet(3)
    told = await seen(world)
    assert lines(told) == {"shop/web": ("Refused", ["HostNotAllowed"])}
    assert told["problems"] == ["Ingress shop/web: HostNotAllowed"]
    assert "a.example.com is not yours" in text(told)


async def test_what_is_accepted_and_not_served(world):
    await started(world)
    world.manager.verdicts["ResolvedRefs"] = ("False", "BackendNotFound", "no Service web")
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.quiet(3)
    assert lines(await seen(world)) == {"shop/web": ("NotServed", ["BackendNotFound"])}


async def test_what_the_management_cluster_does_not_take(world):
    await started(world)
    world.hub.fail_next("create", resources.ROUTES, Invalid(422, "Invalid", "spec is bad"), times=9)
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.quiet(3)
    assert lines(await seen(world)) == {"shop/web": ("Refused", ["ExportRefused"])}


async def test_what_is_not_judged_yet_is_not_wrong(world):
    await started(world)
    world.manager.paused = True
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.quiet(3)
    told = await seen(world)
    assert lines(told) == {"shop/web": ("Pending", [])}
    assert told["problems"] == []


async def test_an_agent_that_does_not_run(world):
    await started(world)
    world.put_ingress(builders.ingress("old", "shop").rule("a.example.com", "/", "web", 80))
    await world.quiet(3)
    await world.stop()
    world.put_ingress(builders.ingress("new", "shop").rule("b.example.com", "/", "web", 80))
    world.change(resources.INGRESSES, "old", {"metadata": {"finalizers": None}})
    world.delete(resources.INGRESSES, "old")
    world.tenant.put(resources.NODES, builders.node("node-2", "10.0.0.2").build())
    told = await seen(world)
    assert lines(told) == {"shop/new": ("NotExported", ["NotExported"]), "shop/old": ("LeftOver", ["NoSource"])}
    assert [item for item in told["problems"] if "node addresses" in item]


async def test_a_manager_of_the_original_says_nothing(world):
    world.manager.conditions = False
    await started(world)
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.quiet(3)
    assert lines(await seen(world)) == {"shop/web": ("Served", [])}


async def test_objects_of_other_classes_are_not_ours(world):
    await started(world)
    world.put_ingress(builders.ingress("web", "shop", class_="nginx").rule("a.example.com", "/", "web", 80))
    assert lines(await seen(world)) == {}


async def test_a_load_balancer_of_a_person_is_no_left_over(world):
    await started(world)
    spec = {"endpoints": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 30080}]}]}
    world.hub.put(resources.LOAD_BALANCERS, {"metadata": {"name": "mine", "namespace": TENANT_NS}, "spec": spec})
    told = await seen(world)
    assert (lines(told), told["problems"]) == ({}, [])


async def test_another_cluster_on_the_same_tenant(world):
    await started(world)
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.quiet(3)
    (route,) = world.routes()
    labels = {**route["metadata"]["labels"], names.LABEL_ORIGIN_CLUSTER: "other", names.LABEL_ORIGIN_NAME: "theirs"}
    meta = {"name": "x", "namespace": TENANT_NS, "labels": labels}
    world.hub.put(resources.ROUTES, {"metadata": meta, "spec": route["spec"]})
    told = await seen(world)
    assert lines(told) == {"shop/web": ("Served", [])}
    assert [item for item in told["problems"] if "another cluster" in item]


async def test_a_tenant_that_is_removed(world):
    await started(world)
    tenant_state(world, phase="Terminating")
    told = await seen(world)
    assert told["phase"] == "Terminating"
    assert [item for item in told["problems"] if "being removed" in item]


async def test_a_manager_that_says_nothing_of_the_tenant(world):
    await world.start()
    assert [item for item in (await seen(world))["problems"] if "--cluster-name" in item]


async def test_no_usable_node(world):
    await started(world)
    told = await seen(world, Options("a", node_address_type="Hostname"))
    assert [item for item in told["problems"] if "--node-address-type" in item]


@pytest.mark.parametrize("name", ["tenant", "management"])
async def test_a_cluster_that_is_away(world, name):
    await started(world)
    world.put_ingress(builders.ingress("web", "shop").rule("a.example.com", "/", "web", 80))
    await world.quiet(3)
    (world.tenant if name == "tenant" else world.hub).stop()
    told = summary(await gathered(OPTIONS, world.tenant, world.hub))
    assert {item["name"]: item["reachable"] for item in told["clusters"]}[name] is False
    (problem,) = told["problems"]
    assert problem.startswith(f"{name} cluster: ")
    assert "not reachable" in text(told)


async def test_rights_that_are_missing(world):
    await started(world)
    world.hub.fail_next("list", resources.ROUTES, Forbidden(403, "Forbidden", "no"))
    (problem,) = summary(await gathered(OPTIONS, world.tenant, world.hub))["problems"]
    assert "routes.kubelb.k8c.io cannot be read" in problem


async def test_a_kubeconfig_that_cannot_be_used(world):
    await started(world)
    broken = Cluster("management", problems=("kubeconfig x: is empty",))
    told = summary(await gathered(OPTIONS, world.tenant, broken))
    assert told["problems"] == ["management cluster: kubeconfig x: is empty"]
