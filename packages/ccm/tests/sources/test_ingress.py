"""What an Ingress names and means, for every shape that an API server lets pass."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubelb_ccm.export.meta import Destination
from kubelb_ccm.export.route import route
from kubelb_ccm.sources.adapter import ServiceRef
from kubelb_ccm.sources.ingress import IngressAdapter
from kubelb_common.testing import builders

names = st.text("abc", min_size=1, max_size=3)
backend = st.one_of(
    st.fixed_dictionaries({"service": st.fixed_dictionaries({"name": names, "port": st.just({"number": 80})})}),
    st.just({"resource": {"apiGroup": "k8s.example.com", "kind": "Bucket", "name": "static"}}),
)
path = st.fixed_dictionaries(
    {"pathType": st.sampled_from(["Prefix", "Exact", "ImplementationSpecific"]), "backend": backend},
    optional={"path": st.sampled_from(["/", "/a", ""])},
)
rule = st.fixed_dictionaries(
    {},
    optional={
        "host": st.sampled_from(["a.example.com", "*.example.com", ""]),
        "http": st.one_of(st.none(), st.fixed_dictionaries({"paths": st.lists(path, max_size=3)})),
    },
)
spec = st.fixed_dictionaries(
    {},
    optional={
        "ingressClassName": st.sampled_from(["kubelb", "nginx", ""]),
        "defaultBackend": backend,
        "rules": st.one_of(st.none(), st.lists(rule, max_size=4)),
        "tls": st.lists(st.just({"hosts": ["a.example.com"]}), max_size=1),
    },
)


@given(spec)
def test_odd_but_valid_ingresses_never_raise(spec):
    source = builders.ingress("web", "shop").uid("u").build()
    source["spec"] = spec
    adapter = IngressAdapter()
    adapter.in_scope(source)
    found = adapter.services(source)
    said = repr(spec)
    assert all(ref.namespace == "shop" and f"'name': '{ref.name}'" in said for ref in found)
    assert route(source, [], Destination("tenant-a", "c"))["spec"]["source"]["kubernetes"]["resource"]["spec"] == spec


def test_all_backends_are_found_once():
    source = builders.ingress("web", "shop").rule("a", "/", "x", 80).rule("b", "/", "x", 81).default_backend("y", 80)
    assert IngressAdapter().services(source.build()) == {ServiceRef("shop", "x"), ServiceRef("shop", "y")}


def test_an_ingress_without_spec_names_nothing():
    source = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "w", "namespace": "s"}}
    assert IngressAdapter().services(source) == frozenset()
    assert not IngressAdapter().in_scope(source)


def test_only_the_class_field_counts():
    legacy = builders.ingress("w", class_=None).annotation("kubernetes.io/ingress.class", "kubelb").build()
    assert not IngressAdapter().in_scope(legacy)
    assert IngressAdapter(use_class=False).in_scope(legacy)


def route_with(generated_name, accepted="True", observed=2):
    made = {"generatedName": generated_name, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    conditions = [{"type": "Accepted", "status": accepted, "observedGeneration": observed}]
    return {"metadata": {"generation": 2}, "status": {"resources": {"route": made}, "conditions": conditions}}


def test_the_answer_counts_once_something_was_made_of_the_source():
    adapter = IngressAdapter()
    assert adapter.answer({"metadata": {}}) is None
    assert adapter.answer(route_with("")) is None
    assert adapter.answer(route_with("copy")) == {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    assert adapter.answer(route_with("", accepted="False")) == {"loadBalancer": {}}
    assert adapter.answer(route_with("", accepted="False", observed=1)) is None


def test_a_status_is_patched_only_if_it_differs():
    adapter = IngressAdapter()
    answer = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    source = builders.ingress("w").status(**answer).build()
    assert adapter.status_patch(source, answer) is None
    assert adapter.status_patch(source, {"loadBalancer": {}}) == {"status": {"loadBalancer": {"ingress": None}}}
    assert adapter.status_patch(builders.ingress("w").build(), {"loadBalancer": {}}) is None
