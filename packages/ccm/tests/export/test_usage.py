"""Which node ports an export needs, and when it needs less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubelb_ccm.export.usage import given_up, holds, needs_node_ports, used_services
from kubelb_common import names

SERVICES = ("shop/a", "shop/b")
PORTS = st.lists(st.sampled_from([30001, 30002]), max_size=2, unique=True)


def service(ref, ports):
    namespace, name = ref.split("/")
    found = [{"port": 80 + number, "nodePort": port} for number, port in enumerate(ports)]
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"ports": found}}


def route(asked, listed, *, programmed, cluster="here"):
    told = {ref: {"name": ref, "ports": [{"nodePort": port} for port in ports]} for ref, ports in listed.items()}
    condition = {"type": "Programmed", "status": str(programmed), "observedGeneration": 1}
    return {
        "kind": "Route",
        "metadata": {"name": "r", "generation": 1, "labels": {names.LABEL_ORIGIN_CLUSTER: cluster}},
        "spec": {"source": {"kubernetes": {"services": [service(ref, ports) for ref, ports in asked.items()]}}},
        "status": {"resources": {"services": told}, "conditions": [condition]},
    }


BY_SERVICE = st.dictionaries(st.sampled_from(SERVICES), PORTS)
ROUTES = st.none() | st.builds(route, BY_SERVICE, BY_SERVICE, programmed=st.booleans())


@given(ROUTES, ROUTES, st.sampled_from(SERVICES), PORTS)
def test_a_need_that_ends_is_always_told(old, new, ref, ports):
    twin = service(ref, ports)
    before, after = (found is not None and needs_node_ports(found, ref, twin) for found in (old, new))
    if before and not after:
        assert ref in given_up(old, new)


@given(ROUTES)
def test_nothing_is_given_up_by_what_is_added_or_stays(found):
    assert given_up(None, found) == given_up(found, found) == frozenset()
    assert found is None or {hold.service for hold in holds(found)} <= set(used_services(found))


def test_the_managers_first_words_give_nothing_up():
    asked = {"shop/a": [30001]}
    silent = route(asked, {}, programmed=False)
    accepted = route(asked, {"shop/a": [30001]}, programmed=False)
    assert given_up(silent, accepted) == given_up(accepted, route(asked, asked, programmed=True)) == frozenset()


def test_node_ports_are_needed_until_the_manager_lets_go():
    asked = {"shop/a": [30001]}
    old = route(asked, asked, programmed=True)
    switched = route({"shop/b": [30002]}, {"shop/a": [30001], "shop/b": [30002]}, programmed=True)
    assert given_up(old, switched) == frozenset()
    assert given_up(switched, route({"shop/b": [30002]}, {"shop/b": [30002]}, programmed=True)) == {"shop/a"}
    assert given_up(old, None) == {"shop/a"}


def test_an_export_that_becomes_another_clusters_needs_nothing_here():
    asked = {"shop/a": [30001]}
    old = route(asked, asked, programmed=True)
    assert given_up(old, route(asked, asked, programmed=True, cluster="there")) == {"shop/a"}
