"""Builders build what a person would have written."""

from __future__ import annotations

from kubelb_common.testing import builders


def test_service() -> None:
    built = builders.service("web", "shop").port(80, name="http", node_port=30080).label("a", "b").uid("u").build()
    assert built == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "b"}, "uid": "u"},
        "spec": {
            "type": "ClusterIP",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80, "name": "http", "nodePort": 30080}],
        },
    }
    assert "selector" not in builders.service("web").selector().build()["spec"]
    assert builders.service("web").load_balancer(class_="kubelb").build()["spec"]["loadBalancerClass"] == "kubelb"


def test_ingress() -> None:
    built = (
        builders.ingress("shop")
        .rule("a.example", "/", "web", 80)
        .rule("a.example", "/api", "api", "http", path_type="Exact")
        .rule("", "/", "web", 80)
        .default_backend("fallback", 80)
        .tls("cert", "a.example")
        .build()
    )
    web = {"service": {"name": "web", "port": {"number": 80}}}
    assert built["spec"] == {
        "ingressClassName": "kubelb",
        "rules": [
            {
                "host": "a.example",
                "http": {
                    "paths": [
                        {"path": "/", "pathType": "Prefix", "backend": web},
                        {
                            "path": "/api",
                            "pathType": "Exact",
                            "backend": {"service": {"name": "api", "port": {"name": "http"}}},
                        },
                    ]
                },
            },
            {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": web}]}},
        ],
        "defaultBackend": {"service": {"name": "fallback", "port": {"number": 80}}},
        "tls": [{"secretName": "cert", "hosts": ["a.example"]}],
    }
    assert "spec" not in builders.ingress("shop", class_=None).build()


def test_node_pod_and_slice() -> None:
    node = builders.node("n1", "192.0.2.1").ready("False").build()
    assert node["metadata"] == {"name": "n1"}
    assert node["status"]["addresses"] == [{"type": "InternalIP", "address": "192.0.2.1"}]
    assert node["status"]["conditions"] == [{"type": "Ready", "status": "False"}]
    assert builders.pod("p").on("n1").running("10.0.0.1").build()["status"]["podIP"] == "10.0.0.1"
    built = builders.endpoint_slice("web").endpoint("10.0.0.1", node="n1", pod="p").port(8080, name="http").build()
    assert built["metadata"]["labels"] == {"kubernetes.io/service-name": "web"}
    assert built["endpoints"][0]["targetRef"] == {"kind": "Pod", "name": "p", "namespace": "default"}


def test_what_is_built_is_independent() -> None:
    builder = builders.service("web").port(80)
    first = builder.build()
    builder.port(81)
    assert len(first["spec"]["ports"]) == 1
    assert len(builder.build()["spec"]["ports"]) == 2
