"""A real API server accepts the CRDs, refuses what they forbid, fills in defaults, and loses nothing."""

from __future__ import annotations

import copy
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from kubelb_common.api import KINDS, Config, LoadBalancer
from kubelb_common.api.crd_schema import crds
from kubelb_common.api.record import Record, fields
from kubelb_common.testing.envtest import RealApi

pytestmark = pytest.mark.real_api
ROOT = "/apis/kubelb.k8c.io/v1alpha1"
Answer = tuple[int, dict[str, Any]]


class Server:
    """Plain requests as admin: what the door to a cluster adds is tested elsewhere."""

    def __init__(self, api: RealApi) -> None:
        self._url = api.url
        self._context = ssl.create_default_context(cafile=str(api.folder / "ca.crt"))
        self._context.load_cert_chain(api.folder / "admin.crt", api.folder / "admin.key")

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def create(self, obj: dict[str, Any], *, dry: bool = True) -> Answer:
        plural, namespaced = PLURALS[obj["kind"]]
        scope = f"/namespaces/{obj['metadata'].get('namespace', 'default')}" if namespaced else ""
        return self.ask("POST", f"{ROOT}{scope}/{plural}?fieldValidation=Strict{'&dryRun=All' if dry else ''}", obj)


PLURALS = {kind.info.kind: (kind.info.plural, kind.info.namespaced) for kind in KINDS}


@pytest.fixture(scope="module")
def server(real_api: RealApi) -> Server:
    server = Server(real_api)
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for crd in crds():
        code, answer = server.ask("POST", path, crd)
        assert code in {201, 409}, answer.get("message")
    deadline = time.monotonic() + 30
    for crd in crds():
        wait_established(server, f"{path}/{crd['metadata']['name']}", deadline)
    return server


def wait_established(server: Server, path: str, deadline: float) -> None:
    while time.monotonic() < deadline:
        crd = server.ask("GET", path)[1]
        conditions = {item["type"]: item for item in crd.get("status", {}).get("conditions", [])}
        # NonStructuralSchema would switch off pruning and defaults.
        assert "NonStructuralSchema" not in conditions, conditions["NonStructuralSchema"]
        assert conditions.get("NamesAccepted", {}).get("status") != "False", conditions["NamesAccepted"]
        plural = crd["spec"]["names"]["plural"]
        if (
            conditions.get("Established", {}).get("status") == "True"
            and server.ask("GET", f"{ROOT}/{plural}")[0] == 200
        ):
            return
    pytest.fail(f"{path} is not established: {crd.get('status')}")


def obj(kind: str, *, name: str = "x", **top: Any) -> dict[str, Any]:
    return {"apiVersion": "kubelb.k8c.io/v1alpha1", "kind": kind, "metadata": {"name": name}, **top}


ENDPOINTS = [
    {"name": "default", "addressesReference": {"name": "default"}, "ports": [{"port": 30080, "protocol": "TCP"}]}
]
INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "web", "namespace": "shop", "annotations": {"a/b": "c"}, "unheardOf": {"deep": [1]}},
    "spec": {"rules": [{"host": "a.example", "unheardOf": [None, 1.5, {"deep": True}]}]},
}
GOOD = [
    obj("Addresses", spec={"addresses": [{"ip": "192.0.2.1"}, {"hostname": "n.example"}, {"ip": "fd00::1"}]}),
    obj("LoadBalancer", spec={"endpoints": ENDPOINTS, "ports": [{"port": 80}], "persistence": {"type": "SourceIP"}}),
    obj("LoadBalancer", spec={"endpoints": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 1}]}]}),
    obj(
        "Route",
        spec={"endpoints": ENDPOINTS, "source": {"kubernetes": {"resource": INGRESS, "services": [{"spec": 1}]}}},
    ),
    obj("SyncSecret", data={"a": "Yg=="}, stringData={"c": "d"}, type="Opaque", immutable=True),
    obj("Config", spec={}),
    obj("Config", spec={"envoyProxy": {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "topology": "global"}}),
    obj("Config", spec={"envoyProxy": {"affinity": {"any": {"thing": 1}}, "tolerations": [{"operator": "Exists"}]}}),
    obj("Tenant", spec={"dns": {"useDNSAnnotations": None, "wildcardDomain": None}, "propagateAllAnnotations": None}),
    obj("Tenant", spec={"hosts": {"allowed": ["*.example.com"]}, "limits": {"routes": 5, "connections": 100}}),
    obj("TenantState", spec={}),
    obj("TenantState"),
]
BAD = [
    (obj("Addresses", spec={"addresses": []}), "spec.addresses"),
    (obj("Addresses", spec={"addresses": [{}]}), "ip or hostname must be set"),
    (obj("Addresses", spec={"addresses": [{"ip": "", "hostname": ""}]}), "ip or hostname must be set"),
    (obj("Addresses", spec={}), "spec.addresses"),
    (obj("Addresses"), "spec"),
    (obj("LoadBalancer", spec={}), "spec.endpoints"),
    (obj("LoadBalancer", spec={"endpoints": []}), "spec.endpoints"),
    (obj("LoadBalancer", spec={"endpoints": [{"addresses": []}]}), "spec.endpoints[0].addresses"),
    (obj("LoadBalancer", spec={"endpoints": [{"addresses": [{"ip": ""}]}]}), "ip or hostname must be set"),
    (obj("LoadBalancer", spec={"endpoints": [{"ports": []}]}), "spec.endpoints[0].ports"),
    (obj("LoadBalancer", spec={"endpoints": [{"ports": [{"name": "a"}]}]}), "spec.endpoints[0].ports[0].port"),
    (obj("LoadBalancer", spec={"endpoints": ENDPOINTS, "ports": [{"port": 0}]}), "spec.ports[0].port"),
    (obj("LoadBalancer", spec={"endpoints": ENDPOINTS, "ports": [{"port": 1, "protocol": "SCTP"}]}), "protocol"),
    (obj("LoadBalancer", spec={"endpoints": ENDPOINTS, "persistence": {"type": "Cookie"}}), "persistence.type"),
    (obj("LoadBalancer", spec={"endpoints": ENDPOINTS, "persistence": {}}), "spec.persistence.type"),
    (obj("Route", spec={"source": {}}), "spec.endpoints"),
    (obj("Route", spec={"endpoints": ENDPOINTS, "source": {"kubernetes": {"resource": "text"}}}), "resource"),
    (obj("Config", spec={"envoyProxy": {"topology": "mesh"}}), "spec.envoyProxy.topology"),
    (obj("Config", spec={"envoyProxy": {"replicas": 0}}), "spec.envoyProxy.replicas"),
    (obj("Config", spec={"envoyProxy": {"headerLimits": {"maxRequestHeadersKb": 8193}}}), "maxRequestHeadersKb"),
    (obj("Config", spec={"envoyProxy": {"gracefulShutdown": {"terminationGracePeriodSeconds": 29}}}), "29"),
    (obj("Config", spec={"envoyProxy": {"gracefulShutdown": {"drainTimeout": "soon"}}}), "drainTimeout"),
    (obj("Config", spec={"envoyProxy": {"resources": {"limits": {"cpu": "much"}}}}), "limits"),
    (obj("Config", spec={"referenceGrants": "Maybe"}), "spec.referenceGrants"),
    (obj("Config", spec={"unheardOf": 1}), "unknown field"),
    (obj("Tenant", spec={"envoyProxy": {"replicas": 0}}), "spec.envoyProxy.replicas"),
    (obj("Tenant", spec={"limits": {"routes": -1}}), "spec.limits.routes"),
    (obj("SyncSecret", data={"a": "no base64!"}), "data.a"),
]


@pytest.mark.parametrize("good", GOOD, ids=lambda item: f"{item['kind']}-{json.dumps(item.get('spec', {}))[:40]}")
def test_good_objects_are_accepted_as_they_are(server: Server, good: dict[str, Any]) -> None:
    code, answer = server.create(good)
    assert code == 201, answer.get("message")
    record = next(kind for kind in KINDS if kind.info.kind == good["kind"])
    assert record.from_dict(answer).to_dict() == answer


@pytest.mark.parametrize(("bad", "told"), BAD, ids=lambda item: item if isinstance(item, str) else item["kind"])
def test_bad_objects_are_refused(server: Server, bad: dict[str, Any], told: str) -> None:
    code, answer = server.create(bad)
    assert code in {400, 422}, answer
    assert told in answer["message"]


def test_what_a_route_embeds_is_stored_to_the_letter(server: Server) -> None:
    context = {"generation": 3, "cluster": "uid", "namespaces": {"shop": {"a": "b"}}, "laterFact": [{"x": 1}]}
    source = {"resource": INGRESS, "services": [{"kind": "Service", "odd": {"deep": []}}], "context": context}
    route = obj("Route", name="route-1", spec={"endpoints": ENDPOINTS, "source": {"kubernetes": source}})
    assert server.create(route, dry=False)[0] == 201
    path = f"{ROOT}/namespaces/default/routes/route-1"
    live = server.ask("GET", path)[1]
    assert live["spec"]["source"]["kubernetes"] == source
    status = {
        "resources": {
            "services": {"shop/web": {"kind": "Service", "ports": [{"port": 80, "nodePort": 30080}], "conditions": []}},
            "route": {"kind": "Ingress", "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}, "odd": 1}},
        },
        "conditions": [
            {
                "type": "Programmed",
                "status": "True",
                "reason": "Programmed",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
                "observedGeneration": 1,
            }
        ],
    }
    code, answer = server.ask("PUT", f"{path}/status", live | {"status": status})
    assert code == 200, answer
    stored = copy.deepcopy(answer["status"])
    assert stored["resources"]["services"]["shop/web"]["ports"][0].pop("protocol") == "TCP"  # the core API's default
    assert stored == status
    assert answer["metadata"]["generation"] == 1
    twice = live | {"status": {"conditions": status["conditions"] * 2}, "metadata": answer["metadata"]}
    assert server.ask("PUT", f"{path}/status", twice)[0] == 422


def test_the_spec_cannot_be_changed_through_status_nor_status_through_the_object(server: Server) -> None:
    created = server.create(obj("LoadBalancer", name="lb-1", spec={"endpoints": ENDPOINTS}), dry=False)[1]
    path = f"{ROOT}/namespaces/default/loadbalancers/lb-1"
    changed = created | {"spec": {**created["spec"], "type": "LoadBalancer"}, "status": {"loadBalancer": {}}}
    status = server.ask("PUT", f"{path}/status", changed)[1]
    assert status["spec"] == created["spec"]
    both = server.ask("PUT", path, status | {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}})[1]
    assert both["status"] == {"loadBalancer": {}}


def test_defaults_of_the_server_are_those_of_the_records(server: Server) -> None:
    raw = obj("Config", spec={"envoyProxy": {"gracefulShutdown": {}, "overloadManager": {}, "podMonitor": {}}})
    live = Config.from_dict(server.create(raw)[1])
    assert shown(live.spec.envoy_proxy) == shown(Config.from_dict(raw).spec.envoy_proxy)
    assert live.spec.reference_grants == Config().spec.reference_grants
    lb = obj("LoadBalancer", spec={"endpoints": ENDPOINTS})
    assert LoadBalancer.from_dict(server.create(lb)[1]).spec.type == LoadBalancer.from_dict(lb).spec.type


def shown(record: Record) -> dict[str, Any]:
    """What the attributes of a record show, whether a field was given or filled in."""
    attributes = {field.json: getattr(record, field.attribute) for field in fields(type(record))}
    return {key: shown(value) if isinstance(value, Record) else value for key, value in attributes.items()}
