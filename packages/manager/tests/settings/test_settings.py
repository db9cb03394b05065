"""Precedence of Config and Tenant, annotation rules, and globs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb_manager.settings.annotations import BUILT_IN_DENIED, AnnotationPolicy, annotation_policy
from kubelb_manager.settings.durations import seconds
from kubelb_manager.settings.globs import annotation_matches, host_allowed
from kubelb_manager.settings.merged import EnvoySettings, GracefulShutdown, Overload, Settings, envoy, merged


def spec(**fields: Any) -> dict[str, Any]:
    return {"spec": fields}


def test_absent_objects_mean_the_defaults() -> None:
    assert merged(None, None) == Settings()
    assert envoy(None, None) == EnvoySettings()
    assert merged({"spec": "text"}, {"spec": ["x"]}) == Settings()


def test_the_tenant_stands_above_config() -> None:
    config = spec(
        loadBalancer={"class": "general"},
        ingress={"class": "nginx"},
        hosts={"allowed": ["*.example.com"]},
        endpoints={"allowed": ["192.0.2.0/24"]},
        deniedAddresses=["10.96.0.0/12"],
    )
    tenant = spec(loadBalancer={"class": "own"}, hosts={"allowed": ["*.a.example.com"]}, deniedAddresses=["10.0.0.0/8"])
    result = merged(config, tenant)
    assert result.load_balancer_class == "own"
    assert result.ingress_class == "nginx"
    assert result.hosts_allowed == ("*.a.example.com",)
    assert result.endpoints_allowed == ("192.0.2.0/24",)
    assert result.denied_addresses == ("10.0.0.0/8", "10.96.0.0/12")


@pytest.mark.parametrize(("general", "own"), [(True, False), (False, True), (True, True), (False, False)])
def test_either_may_disable(general: bool, own: bool) -> None:
    result = merged(spec(loadBalancer={"disable": general}), spec(loadBalancer={"disable": own}))
    assert result.load_balancer_disabled is (general or own)
    assert result.ingress_disabled is False


def test_envoy_settings() -> None:
    config = spec(
        envoyProxy={
            "replicas": 5,
            "image": "general",
            "resources": {"limits": {"cpu": "1"}},
            "gracefulShutdown": {"terminationGracePeriodSeconds": 60},
            "nodeSelector": {"a": "b"},
        }
    )
    tenant = spec(envoyProxy={"replicas": 2, "image": "own"})
    assert envoy(config, tenant) == EnvoySettings(
        image="own", replicas=2, grace_seconds=75, node_selector={"a": "b"}, resources={"limits": {"cpu": "1"}}
    )


@pytest.mark.parametrize(
    ("given", "shutdown", "grace"),
    [
        ({}, GracefulShutdown(True, 60, 5), 300),
        ({"drainTimeout": "1m30s", "minDrainDuration": "1.5s"}, GracefulShutdown(True, 90, 1.5), 300),
        ({"terminationGracePeriodSeconds": 30}, GracefulShutdown(True, 60, 5), 75),
        ({"drainTimeout": "1h", "terminationGracePeriodSeconds": 600}, GracefulShutdown(True, 3600, 5), 3615),
        ({"drainTimeout": "2s", "minDrainDuration": "10s"}, GracefulShutdown(True, 10, 10), 300),
        ({"drainTimeout": "soon", "minDrainDuration": 5}, GracefulShutdown(True, 60, 5), 300),
        ({"disabled": True, "terminationGracePeriodSeconds": 30}, GracefulShutdown(False, 60, 5), 30),
    ],
)
def test_a_pod_has_the_time_to_drain(given: dict[str, Any], shutdown: GracefulShutdown, grace: int) -> None:
    result = envoy(spec(envoyProxy={"gracefulShutdown": given}), None)
    assert (result.shutdown, result.grace_seconds) == (shutdown, grace)


def test_limits_under_load_are_off_unless_enabled() -> None:
    limits = {"maxActiveDownstreamConnections": 10, "maxHeapSizeBytes": 0}
    assert not envoy(spec(envoyProxy={"overloadManager": limits}), None).overload.enabled
    on = envoy(spec(envoyProxy={"overloadManager": {"enabled": True, **limits}}), None)
    assert on.overload == Overload(enabled=True, max_connections=10)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("5m", 300),
        ("1h1.5s", 3601.5),
        ("0s", 0),
        ("250ms", 0.25),
        ("", None),
        ("5", None),
        ("-5s", None),
        ("5s ", None),
    ],
)
def test_durations(text: str, result: float | None) -> None:
    assert seconds(text) == (None if result is None else pytest.approx(result))


def test_nothing_propagates_by_default() -> None:
    assert AnnotationPolicy().apply("service", {"a.example.com/b": "c"}) == {}


def test_allow_list_with_values_and_defaults() -> None:
    policy = annotation_policy(
        {
            "propagatedAnnotations": {"a.example.com/*": "", "mode": "fast, slow"},
            "deniedAnnotations": ["a.example.com/secret*"],
            "defaultAnnotations": {"service": {"mode": "default", "s": "1"}, "all": {"s": "2", "t": "3"}},
        },
        {},
        (),
    )
    given_annotations = {"a.example.com/x": "1", "a.example.com/secret-x": "1", "mode": "medium", "other": "1", "n": 5}
    assert policy.apply("service", given_annotations) == {
        "a.example.com/x": "1",
        "mode": "default",
        "s": "1",
        "t": "3",
    }
    assert policy.apply("ingress", {"mode": "slow"}) == {"mode": "slow", "s": "2", "t": "3"}


def test_the_propagation_policy_is_one_unit() -> None:
    config = {"propagateAllAnnotations": True}
    assert annotation_policy(config, {"propagatedAnnotations": {"x": ""}}, ()).apply("service", {"y": "1"}) == {}
    assert annotation_policy(config, {"propagateAllAnnotations": False}, ()).apply("service", {"y": "1"}) == {}
    assert annotation_policy(config, {}, ()).apply("service", {"y": "1"}) == {"y": "1"}


@pytest.mark.parametrize(
    "key",
    [
        "metallb.universe.tf/address-pool",
        "service.beta.kubernetes.io/aws-load-balancer-internal",
        "external-dns.alpha.kubernetes.io/target",
        "nginx.ingress.kubernetes.io/configuration-snippet",
        "nginx.org/server-snippets",
        "kubelb.k8c.io/anything",
        "kubernetes.io/ingress.class",
        "not a key",
        "../x",
    ],
)
def test_the_built_in_deny_list_stands_above_propagate_all(key: str) -> None:
    policy = AnnotationPolicy(propagate_all=True, propagated=((key, ()),), hosts_allowed=("*",))
    assert policy.apply("service", {key: "x"}) == {}


def test_dns_and_certificate_annotations_need_allowed_hosts() -> None:
    dns = {"external-dns.alpha.kubernetes.io/hostname": "a.example.com, b.example.com"}
    issuer = {"cert-manager.io/cluster-issuer": "x"}
    assert AnnotationPolicy(propagate_all=True).apply("ingress", {**dns, **issuer}) == {}
    allowed = AnnotationPolicy(propagate_all=True, hosts_allowed=("*.example.com",))
    assert allowed.apply("ingress", {**dns, **issuer}) == {**issuer, **dns}
    narrow = AnnotationPolicy(propagate_all=True, hosts_allowed=("a.example.com",))
    assert narrow.apply("ingress", {**dns, **issuer}) == issuer


def test_too_many_annotations_are_cut() -> None:
    many = {f"k{number:03}": "x" * 10_000 for number in range(40)}
    kept = AnnotationPolicy(propagate_all=True).apply("service", many)
    assert 0 < len(kept) < 15


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("a/*", "a/b", True),
        ("a/*", "a/b/c", False),
        ("*", "a/b", False),
        ("*", "a", True),
        ("a?", "ab", True),
        ("a?", "a/", False),
        ("[ab]x", "bx", True),
        ("[^ab]x", "bx", False),
        ("[a-c]x", "bx", True),
        ("[a", "[a", True),
        ("[z-a]", "[z-a]", True),
        ("a.b", "axb", False),
    ],
)
def test_annotation_globs(pattern: str, key: str, matches: bool) -> None:
    assert annotation_matches(pattern, key) is matches


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_glob_answers(pattern: str, key: str) -> None:
    annotation_matches(pattern, key)
    host_allowed((pattern,), key)


def test_built_in_patterns_are_well_formed() -> None:
    assert all(annotation_matches(pattern, pattern.replace("*", "x")) for pattern in BUILT_IN_DENIED)


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("*", "*.com", True),
        ("*.example.com", "*.example.com", True),
        ("?.example.com", "*.example.com", False),
        ("z*.example.com", "*.example.com", False),
        ("*z.example.com", "*.example.com", False),
        ("**", "a.b.c", True),
        ("**.com", "*.example.com", True),
        ("*.example.com", "*.com", False),
        ("EXAMPLE.com", "example.com", True),
        ("ex.mple.com", "example.com", False),
    ],
)
def test_host_globs(pattern: str, host: str, allowed: bool) -> None:
    assert host_allowed((pattern,), host) is allowed
