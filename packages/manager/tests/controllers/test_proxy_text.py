"""Envoy's text shows a tenant no name but its own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb_manager.controllers.proxy_text import own_words, printable, reduced
from kubelb_manager.translate.context import Context
from kubelb_manager.translate.route import translate_route

label = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,4})?", fullmatch=True)
host = st.tuples(label, label).map(".".join)
cluster = st.tuples(label, label, label).map(lambda names: f"tenant-{names[0]}/{names[1]}/{names[2]}/80/30001/l7")
name = host | cluster | st.ip_addresses().map(str) | st.from_regex(r"[A-Za-z0-9+/]{20,40}", fullmatch=True)
glue = st.sampled_from(["Error", "duplicate listener", "'", '"', ": ", " [", "]", ",", "(x)", "\n", "%s", "\x00", "é"])


@given(st.lists(st.tuples(glue, name), max_size=12), st.lists(name, max_size=3), st.randoms())
def test_no_foreign_name_comes_through(foreign: list[tuple[str, str]], own: list[str], chance) -> None:
    pieces = [piece for pair in foreign for piece in pair] + own
    chance.shuffle(pieces)
    found = reduced(" ".join(pieces), own)
    assert found.isascii()
    assert found.isprintable()
    words = found.split(" ")
    allowed = {*own, *(word for item in own for word in [item.strip(".:/")]), "...", "error", "duplicate", "listener"}
    assert set(words) <= allowed | {"x"}, "only own names and common words"
    assert not set(words) & ({item for _, item in foreign} - set(own))


@given(st.text(), st.lists(st.text(max_size=5), max_size=3))
def test_any_text_is_printable_and_short(message: str, own: list[str]) -> None:
    found = reduced(message * 50, [item for item in own if re.fullmatch(r"[!-~]+", item)])
    assert found.isascii()
    assert found.isprintable()
    assert len(found.split(" ")) <= 61


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "Proto constraint validation failed (Cluster.ConnectTimeout: value must be",
            "proto constraint validation failed ... value must be",
        ),
        (
            "Error adding/updating listener(s) tenant-b/lb/80: duplicate address",
            "error ... listener ... duplicate address",
        ),
        ("route web.example.com: regex '[': missing ]: [", "route web.example.com regex missing"),
        ("", "..."),
    ],
)
def test_examples(said: str, shown: str) -> None:
    assert reduced(said, {"web.example.com"}) == shown


def test_own_words_are_those_of_the_object() -> None:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    path = {"path": "/shop", "pathType": "Prefix", "backend": backend}
    resource = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "site", "namespace": "default"},
        "spec": {"rules": [{"host": "a.example.com", "http": {"paths": [path]}}]},
    }
    service = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"ports": [{"port": 80, "nodePort": 30080}]},
    }
    route = {
        "metadata": {"name": "uid", "namespace": "tenant-a"},
        "spec": {
            "endpoints": [{"addressesReference": {"name": "default"}}],
            "source": {"kubernetes": {"resource": resource, "services": [service]}},
        },
    }
    found = own_words(translate_route(route, Context("tenant-a")))
    assert found == {"uid", "default/site", "a.example.com", "/shop", "tenant-a/default/web/80/30080/l7"}


def test_an_administrator_reads_all_that_is_printable() -> None:
    assert printable("a\x00\n\x1b[31mb\u202ec") == "a [31mb c"
    assert len(printable("x" * 10_000)) == 500
