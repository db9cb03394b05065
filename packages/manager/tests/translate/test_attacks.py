"""One test per attack: what a tenant writes to reach beyond its border, and what becomes of it.

`test_hostile.py` says it of any JSON; here each attack has a name and the answer that it gets.
"""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_manager.ports import declared, table
from kubelb_manager.settings.merged import merged
from kubelb_manager.translate.addresses import address_policy
from kubelb_manager.translate.context import Context, nodes_from, resolved_from
from kubelb_manager.translate.load_balancer import translate_load_balancer
from kubelb_manager.translate.result import Translated
from kubelb_manager.translate.route import translate_route

#: Nodes, pods, services and the API server of the management cluster, and another tenant's nodes.
HUB = ("172.16.0.0/24", "10.42.0.0/16", "10.96.0.0/12", "203.0.113.6", "fd00:10::/64", "10.77.0.1", "10.77.0.2")
OWN_NODE = "10.20.0.1"
BACKEND = {"service": {"name": "web", "port": {"number": 80}}}


def context(*, nodes: tuple[str, ...] = (OWN_NODE,), allowed: tuple[str, ...] = (), **settings: Any) -> Context:
    addresses = [{"metadata": {"name": "default"}, "spec": {"addresses": [{"ip": ip} for ip in nodes]}}]
    return Context(
        "tenant-a",
        nodes=nodes_from(addresses),
        settings=merged(None, {"spec": settings}),
        addresses=address_policy(HUB, allowed),
    )


def ingress(**metadata: Any) -> Object:
    path = {"path": "/", "pathType": "Prefix", "backend": BACKEND}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "site", "namespace": "default", **metadata},
        "spec": {"rules": [{"host": "a.example.com", "http": {"paths": [path]}}]},
    }


def route(resource: Any, endpoints: Any = None, services: Any = None, **metadata: Any) -> Object:
    web = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"port": 80, "nodePort": 30080}]}}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Route",
        "metadata": {"name": "uid", "namespace": "tenant-a", "uid": "route-uid", **metadata},
        "spec": {
            "endpoints": endpoints or [{"addressesReference": {"name": "default"}}],
            "source": {"kubernetes": {"resource": resource, "services": [web] if services is None else services}},
        },
    }


def load_balancer(endpoint: Any, **metadata: Any) -> Object:
    port = {"name": "p", "port": 80, "protocol": "TCP"}
    sets = [{"addresses": [endpoint], "ports": [{**port, "port": 30080}]}]
    return {
        "apiVersion": names.API_VERSION,
        "kind": "LoadBalancer",
        "metadata": {"name": "lb", "namespace": "tenant-a", "uid": "lb-uid", **metadata},
        "spec": {"type": "LoadBalancer", "ports": [port], "endpoints": sets},
    }


def translate_lb(lb: Object, by: Context) -> Translated:
    return translate_load_balancer(lb, by, table.allocate(table.from_status([lb]), declared.wanted(lb)).ports)


def nothing_passes(result: Translated, reason: str) -> None:
    assert (result.part, result.copy, result.services) == (None, None, ())
    assert result.verdicts[0].reason == reason


def refused(result: Translated) -> str:
    """Return the reason of an object that is refused, or of the references that are not resolved."""
    bad = [verdict for verdict in result.verdicts if verdict.status == "False"]
    return bad[0].reason if bad else ""


def endpoints_of(result: Translated) -> set[str]:
    return {end.address for cluster in (result.part.clusters if result.part else ()) for end in cluster.endpoints}


# Kinds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
        ("v1", "Pod"),
        ("v1", "Secret"),
        ("v1", "Namespace"),
        ("apps/v1", "Deployment"),
        ("networking.k8s.io/v1", "IngressClass"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("networking.k8s.io/v1beta1", "Ingress"),
        ("evil.example.com/v1", "Ingress"),
        ("networking.k8s.io/v1", "Ingress\n"),
        (names.API_VERSION, "Tenant"),
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ],
)
def test_foreign_kinds(api_version: str, kind: str) -> None:
    nothing_passes(
        translate_route(route({**ingress(), "apiVersion": api_version, "kind": kind}), context()), "UnsupportedKind"
    )


# What a copy may carry --------------------------------------------------------------------------

EVERYTHING = "**everything"
DANGEROUS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubernetes.io/ingress.class",
    "nginx.ingress.kubernetes.io/configuration-snippet",
    "nginx.ingress.kubernetes.io/server-snippets",
    "haproxy.org/backend-config-snippet",
    "metallb.io/address-pool",
    "metallb.universe.tf/loadBalancerIPs",
    "io.cilium/lb-ipam-ips",
    "kube-vip.io/loadbalancerIPs",
    "service.beta.kubernetes.io/aws-load-balancer-internal",
    "service.kubernetes.io/topology-mode",
    "cloud.google.com/neg",
    "external-dns.alpha.kubernetes.io/target",
    "external-dns.alpha.kubernetes.io/hostname",
    "cert-manager.io/cluster-issuer",
    f"{names.GROUP}/owned-annotations",
    f"{names.GROUP}/anything",
)


def test_a_copy_carries_nothing_but_the_allowed_fields() -> None:
    """Foreign namespace, owners, finalizers, labels of ours, class, status and TLS do not pass the border."""
    resource = ingress(
        namespace="kube-system",
        uid="forged",
        resourceVersion="1",
        generateName="x",
        ownerReferences=[{"apiVersion": "v1", "kind": "Namespace", "name": "kube-system", "uid": "u"}],
        finalizers=["kubelb.k8c.io/cleanup", "never.example.com/gone"],
        labels={names.LABEL_MANAGED_BY: "me", names.LABEL_FLEET: "other", "app": "x"},
        annotations=dict.fromkeys(DANGEROUS, "x"),
        managedFields=[{}],
        deletionTimestamp="2026-01-01T00:00:00Z",
    )
    resource["spec"] |= {
        "ingressClassName": "nginx",
        "tls": [{"hosts": ["a.example.com"], "secretName": "kube-root"}],
        "surprise": {"deep": 1},
    }
    resource["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["namespace"] = "kube-system"
    resource["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    result = translate_route(route(resource), context(propagateAllAnnotations=True))
    made = result.copy
    assert made is not None
    metadata = made["metadata"]
    assert metadata["namespace"] == "tenant-a"
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["route-uid"]
    assert set(metadata) <= {"name", "namespace", "labels", "annotations", "ownerReferences"}
    assert metadata["labels"][names.LABEL_MANAGED_BY] == names.MANAGED_BY
    assert set(metadata["labels"]) <= {
        names.LABEL_MANAGED_BY,
        names.LABEL_ORIGIN_NAMESPACE,
        names.LABEL_ORIGIN_NAME,
        names.LABEL_ORIGIN_KIND,
    }
    assert not set(metadata.get("annotations", {})) & set(DANGEROUS)
    assert set(made) == {"apiVersion", "kind", "metadata", "spec"}
    text = json.dumps(made["spec"])
    for word in ("tls", "secretName", "surprise", "kube-system"):
        assert word not in text
    assert made["spec"].get("ingressClassName", names.CLASS) == names.CLASS


@pytest.mark.parametrize("key", DANGEROUS)
def test_dangerous_annotations(key: str) -> None:
    """Not one of them, even where the admin lets everything pass."""
    annotations = {key: "x", "plain.example.com/note": "kept"}
    result = translate_route(route(ingress(annotations=annotations)), context(propagateAllAnnotations=True))
    assert result.copy is not None
    assert result.copy["metadata"]["annotations"] == {"plain.example.com/note": "kept"}
    result = translate_lb(
        load_balancer({"ip": OWN_NODE}, annotations=annotations), context(propagateAllAnnotations=True)
    )
    assert result.copy is not None
    assert key not in result.copy["metadata"].get("annotations", {})


@pytest.mark.parametrize("field", ["name", "namespace"])
@pytest.mark.parametrize("value", [None, "", "..", "a/b", "Kube-System", "a" * 300, "x\n", {"a": 1}, ["a"]])
def test_names_that_are_none(field: str, value: Any) -> None:
    nothing_passes(translate_route(route(ingress(**{field: value})), context()), "InvalidMetadata")


def test_a_service_in_the_hub_is_decided_by_us() -> None:
    lb = load_balancer(
        {"ip": OWN_NODE},
        labels={names.LABEL_FLEET: "tenant-b.shared", names.LABEL_TENANT: "tenant-b", names.LABEL_LB_NAME: "theirs"},
        ownerReferences=[{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}],
        finalizers=["never.example.com/gone"],
    )
    lb["spec"] |= {
        "externalIPs": ["203.0.113.1"],
        "selector": {"app": "api-server"},
        "loadBalancerClass": "mine",
    }
    made = translate_lb(lb, context()).copy
    assert made is not None
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == ["lb-uid"]
    assert "finalizers" not in made["metadata"]
    assert made["metadata"]["namespace"] == "tenant-a"
    for field in ("externalIPs", "loadBalancerIP", "loadBalancerClass"):
        assert field not in made["spec"]
    assert "api-server" not in json.dumps(made["spec"])
    assert "tenant-b" not in json.dumps(made)
    lb["spec"]["loadBalancerIP"] = "203.0.113.1"
    assert translate_lb(lb, context()).copy is None, "an address is the administrator's to give"


def test_an_address_in_the_hub_is_not_taken_without_a_grant() -> None:
    lb = load_balancer({"ip": OWN_NODE})
    lb["spec"]["loadBalancerIP"] = "203.0.113.1"
    nothing_passes(translate_lb(lb, context()), "AddressNotUsable")


# Endpoints ---------------------------------------------------------------------------------------

FORBIDDEN = {
    "loopback": ("127.0.0.1", "127.255.255.254", "::1"),
    "this host": ("0.0.0.0", "::"),
    "link-local": ("169.254.1.1", "fe80::1"),
    "metadata": ("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    "multicast and broadcast": ("224.0.0.1", "255.255.255.255", "ff02::1"),
    "mapped": ("::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1", "::ffff:0:127.0.0.1", "::ffff:10.20.0.1"),
    "NAT64": ("64:ff9b::7f00:1", "64:ff9b:1::a2a:1", "2002:7f00:1::1", "2001:0:4136:e378::1"),
    "the hub's nodes": ("172.16.0.7",),
    "the hub's pods": ("10.42.3.4", "fd00:10::5"),
    "the hub's services": ("10.96.0.1", "10.111.255.255"),
    "the hub's API server": ("203.0.113.6",),
    "another tenant's nodes": ("10.77.0.1", "10.77.0.2"),
}
ATTACKS = [(what, ip) for what, ips in FORBIDDEN.items() for ip in ips]


@pytest.mark.parametrize(("what", "ip"), ATTACKS)
def test_forbidden_endpoints(what: str, ip: str) -> None:
    """Inline, as a node, and with a grant over everything: never an endpoint."""
    for by in (context(), context(allowed=("0.0.0.0/0", "::/0")), context(nodes=(OWN_NODE, ip))):
        inline = [{"addresses": [{"ip": ip}]}]
        nothing_passes(translate_route(route(ingress(), inline), by), "AddressNotAllowed")
        nothing_passes(translate_lb(load_balancer({"ip": ip}), by), "AddressNotAllowed")
        nothing_passes(translate_lb(load_balancer({"hostname": ip}), by), "AddressNotAllowed")
    as_node = translate_route(route(ingress()), context(nodes=(ip,)))
    assert endpoints_of(as_node) == set(), what
    assert refused(as_node) == "AddressNotAllowed"


@pytest.mark.parametrize(
    "text", ["0x7f000001", "2130706433", "0177.0.0.1", "127.1", "[::1]", "::1%lo", "127.0.0.1:80", " 127.0.0.1"]
)
def test_odd_spellings_of_addresses(text: str) -> None:
    nothing_passes(translate_lb(load_balancer({"ip": text}), context()), "InvalidAddress")


@pytest.mark.parametrize("port", [22, 443, 2379, 6443, 9001, 10250, 19000, 29999, 32768])
def test_ports_that_are_no_node_ports(port: int) -> None:
    """Envoy's admin interface, kubelets, etcd: no port but node ports without a grant."""
    lb = load_balancer({"ip": OWN_NODE})
    lb["spec"]["endpoints"][0]["ports"][0]["port"] = port
    nothing_passes(translate_lb(lb, context()), "PortNotAllowed")
    web = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [{"port": 80, "nodePort": port}]}}
    assert endpoints_of(translate_route(route(ingress(), services=[web]), context())) == set()


@pytest.mark.parametrize(("what", "ip"), ATTACKS)
def test_a_name_that_comes_to_resolve_there(what: str, ip: str) -> None:
    """Rebinding: what a name stands for is judged each time that it was resolved."""
    granted = ("10.50.0.0/16",)
    lb, l7 = (
        load_balancer({"hostname": "db.example.com"}),
        route(ingress(), [{"addresses": [{"hostname": "db.example.com"}]}]),
    )

    def by(*ips: str) -> Context:
        return Context(
            "tenant-a", addresses=address_policy(HUB, granted), resolved=resolved_from({"db.example.com": ips})
        )

    assert endpoints_of(translate_lb(lb, by("10.50.0.1"))) == {"10.50.0.1"}
    for after in (by(ip), by("10.50.0.1", ip)):
        nothing_passes(translate_lb(lb, after), "AddressNotAllowed")
        nothing_passes(translate_route(l7, after), "AddressNotAllowed")
    nodes = nodes_from([{"metadata": {"name": "default"}, "spec": {"addresses": [{"hostname": "node.example.com"}]}}])
    rebound = Context(
        "tenant-a", nodes=nodes, addresses=address_policy(HUB), resolved=resolved_from({"node.example.com": [ip]})
    )
    assert endpoints_of(translate_route(route(ingress()), rebound)) == set(), what


# Size ----------------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    value: Any = "end"
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("place", ["spec", "rules", "backend", "metadata", "services", "endpoints", "labels", "status"])
def test_deep_nesting(place: str) -> None:
    """As deep as anything comes through the client (`kube.nesting`), and deeper."""
    for depth in (100, 5000):
        resource, deep = ingress(), nested(depth)
        made = route(resource)
        match place:
            case "spec":
                resource["spec"]["x"] = deep
            case "rules":
                resource["spec"]["rules"].append(deep)
            case "backend":
                resource["spec"]["defaultBackend"] = deep
            case "metadata":
                resource["metadata"]["annotations"] = deep
            case "services":
                made["spec"]["source"]["kubernetes"]["services"].append(deep)
            case "endpoints":
                made["spec"]["endpoints"].append(deep)
            case "labels":
                made["metadata"]["labels"] = deep
            case "status":
                made["status"] = deep
        assert translate_route(made, context()).verdicts


@pytest.mark.parametrize(
    "huge",
    [
        {"rules": [{"host": f"h{number}.example.com"} for number in range(20_000)]},
        {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": BACKEND}] * 20_000}}]},
        {"rules": [{"host": "a" * 1_000_000}]},
        {"rules": [{"http": {"paths": [{"path": "/" * 1_000_000, "pathType": "Prefix", "backend": BACKEND}]}}]},
    ],
    ids=["rules", "paths", "host", "path"],
)
def test_huge_objects_are_refused_quickly(huge: Any) -> None:
    resource = {**ingress(), "spec": huge}
    began = time.process_time()
    result = translate_route(route(resource), context())
    assert not result.accepted
    assert max(len(verdict.message) for verdict in result.verdicts) < 500
    assert time.process_time() - began < 2


def test_many_addresses_and_sets() -> None:
    many = [{"ip": f"10.20.{number // 250}.{number % 250}"} for number in range(20_000)]
    assert not translate_route(route(ingress(), [{"addresses": many}]), context()).accepted
    assert refused(translate_route(route(ingress(), [{"addresses": many[:1]}] * 1000), context())) == "TooLarge"


# What a tenant forges --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        {names.LABEL_ORIGIN_NAMESPACE: "kube-system", names.LABEL_ORIGIN_NAME: "kube-dns"},
        {names.LABEL_MANAGED_BY: "me", names.LABEL_FLEET: "tenant-b.shared", names.LABEL_TENANT: "tenant-b"},
        {names.LABEL_LB_NAME: "theirs", names.LABEL_LB_NAMESPACE: "tenant-b"},
        {names.LABEL_ORIGIN_NAMESPACE: {"a": 1}, names.LABEL_ORIGIN_NAME: ["b"]},
        "no labels at all",
    ],
)
def test_forged_origin_labels(labels: Any) -> None:
    """What we go by in the management cluster is set by us, whatever the object carries."""
    lb = translate_lb(load_balancer({"ip": OWN_NODE}, labels=labels), context())
    assert lb.copy is not None
    plain = translate_lb(load_balancer({"ip": OWN_NODE}), context()).copy
    assert plain is not None
    forged, honest = lb.copy["metadata"]["labels"], plain["metadata"]["labels"]
    assert {key: value for key, value in forged.items() if "origin" not in key} == honest
    assert (lb.copy["spec"], lb.copy["metadata"]["name"]) == (plain["spec"], plain["metadata"]["name"])
    l7 = translate_route(route(ingress(), labels=labels), context())
    assert l7.copy is not None
    assert l7.copy["metadata"]["labels"][names.LABEL_ORIGIN_NAMESPACE] == "default"


def test_forged_status_with_ten_thousand_entries() -> None:
    """An old agent may write status: no more is taken by it than one object may have, and nobody chokes."""
    entries = [{"port": n % 60_000 + 1, "protocol": "TCP", "targetPort": 10_000 + n} for n in range(10_000)]
    forged = load_balancer({"ip": OWN_NODE})
    forged["status"] = {
        "service": {"ports": entries},
        "conditions": [{"type": f"T{n}", "status": "True"} for n in range(10_000)],
        "loadBalancer": {"ingress": [{"ip": "203.0.113.9"}] * 10_000},
    }
    honest = load_balancer({"ip": OWN_NODE})
    honest["metadata"] = {**honest["metadata"], "name": "other"}
    began = time.process_time()
    known = table.from_status([forged, honest])
    assert len(known) <= table.MAX_ENTRIES == declared.MAX_PORTS
    assert declared.wanted(honest)[0] in table.allocate(known, declared.wanted(honest)).ports
    result = translate_lb(forged, context())
    assert result.accepted
    assert "203.0.113.9" not in json.dumps(result.copy)
    assert time.process_time() - began < 2


def test_nothing_of_an_object_is_changed() -> None:
    """Translation reads shared objects: what it was given is as it was."""
    made = route(ingress(annotations={"a": "b"}))
    before = copy.deepcopy(made)
    translate_route(made, context(propagateAllAnnotations=True))
    assert made == before
