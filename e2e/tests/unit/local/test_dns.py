from __future__ import annotations

from pathlib import Path

from dnslib import QTYPE, RCODE, DNSRecord

from kubelb_common.kube.port import Object
from kubelb_common.runtime.store import Store
from kubelb_e2e.clusters.local import dns, model
from kubelb_e2e.clusters.local.zone import LabZone, ServiceZone
from kubelb_e2e.clusters.slices import BY_SERVICE, service_of_slice


def service(name: str, **spec: object) -> Object:
    return {"metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": spec}


def endpoints(*items: Object) -> Object:
    labels = {"kubernetes.io/service-name": "db"}
    return {"metadata": {"name": "db-1", "namespace": "shop", "labels": labels}, "endpoints": list(items)}


def zones() -> list[ServiceZone | LabZone]:
    services, slices = Store(), Store()
    slices.add_index(BY_SERVICE, service_of_slice)
    services.upsert(service("web", clusterIP="10.96.0.7", clusterIPs=["10.96.0.7", "fd00::7"]))
    services.upsert(service("db", clusterIP="None", clusterIPs=["None"]))
    services.upsert(service("out", type="ExternalName", externalName="web.shop.svc.cluster.local"))
    lost = service("lost", type="ExternalName", externalName="www.example.org.")
    services.upsert(lost)
    balanced = service("lb", type="LoadBalancer", clusterIPs=["10.96.0.8"])
    balanced["status"] = {"loadBalancer": {"ingress": [{"ip": "10.99.200.4"}]}}
    services.upsert(balanced)
    slices.upsert(
        endpoints(
            {"addresses": ["10.244.1.3"], "conditions": {"ready": True}, "hostname": "db-0"},
            {"addresses": ["10.244.1.4"], "conditions": {"ready": False}},
            {"addresses": ["10.244.1.2"], "conditions": {}},
        )
    )
    lab = LabZone(model.plan("x", Path("/x"), tenants=1, nodes=1, binaries=Path("/b")))
    lab.services = services
    return [ServiceZone(services, slices), lab]


def ask(name: str, kind: str = "A") -> tuple[str, list[str]]:
    packed = dns.respond(zones(), DNSRecord.question(name, kind).pack())
    assert packed is not None
    response = DNSRecord.parse(packed)
    return RCODE[response.header.rcode], [str(item.rdata) for item in response.rr]


def test_services_have_their_cluster_address_in_both_spellings_and_any_case() -> None:
    for name in ("web.shop.svc.cluster.local", "web.shop.svc", "WEB.Shop.SVC.cluster.LOCAL."):
        assert ask(name) == ("NOERROR", ["10.96.0.7"])
    assert ask("web.shop.svc", "AAAA") == ("NOERROR", ["fd00::7"])


def test_a_known_name_without_that_type_is_empty_not_absent() -> None:
    assert ask("lb.shop.svc", "AAAA") == ("NOERROR", [])
    assert ask("web.shop.svc", "MX") == ("NOERROR", [])


def test_a_headless_service_has_its_ready_endpoints() -> None:
    assert ask("db.shop.svc") == ("NOERROR", ["10.244.1.2", "10.244.1.3"])
    assert ask("db-0.db.shop.svc.cluster.local") == ("NOERROR", ["10.244.1.3"])
    assert ask("db-9.db.shop.svc.cluster.local") == ("NXDOMAIN", [])


def test_an_external_name_is_an_alias_that_is_followed_here() -> None:
    assert ask("out.shop.svc") == ("NOERROR", ["web.shop.svc.cluster.local.", "10.96.0.7"])
    assert ask("lost.shop.svc") == ("NOERROR", ["www.example.org."])


def test_the_lab_zone_names_clusters_nodes_and_balanced_services() -> None:
    assert ask("tenant-1.lab.test") == ("NOERROR", ["10.99.0.11"])
    assert ask("management-node-1.lab.test") == ("NOERROR", ["10.99.10.1"])
    assert ask("lb.shop.lab.test") == ("NOERROR", ["10.99.200.4"])
    assert ask("web.shop.lab.test") == ("NXDOMAIN", [])


def test_nothing_else_exists() -> None:
    for name in ("www.example.org", "nope.shop.svc", "web.other.svc", "svc", "cluster.local", "."):
        assert ask(name) == ("NXDOMAIN", []), name


def test_what_is_no_query_gets_no_answer() -> None:
    assert dns.respond(zones(), b"") is None
    assert dns.respond(zones(), b"\x00" * 5) is None
    response = DNSRecord.question("web.shop.svc").reply().pack()
    assert dns.respond(zones(), response) is None


def test_every_type_of_question_can_be_asked() -> None:
    assert ask("web.shop.svc", "ANY") == ("NOERROR", ["10.96.0.7", "fd00::7"])
    assert QTYPE.ANY == 255
