"""Services: defaults, cluster addresses, node ports and what is kept of them."""

# ruff: noqa: D102 - a test says what it tests by its name

from __future__ import annotations

from typing import Any

import pytest

from kubelb_common.kube import errors
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.kube.resources import SERVICES
from kubelb_common.testing.contract.support import service

TWO_PORTS = ({"name": "http", "port": 80}, {"name": "https", "port": 443})


def _ports(obj: Object) -> dict[str, int]:
    return {port.get("name", ""): port.get("nodePort", 0) for port in obj["spec"]["ports"]}


def _without_node_ports(obj: Object) -> Object:
    ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in obj["spec"]["ports"]]
    return {**obj, "spec": {**obj["spec"], "ports": ports}}


class ServiceContract:
    """What the API server does to Services."""

    async def test_cluster_ip_defaults(self, client: KubeClient, space: str) -> None:
        made = await client.create(SERVICES, service("one", selector={"a": "b"}), space)
        address = made["spec"].pop("clusterIP")
        assert made["spec"] == {
            "type": "ClusterIP",
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": {"a": "b"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        }
        assert made["status"] == {"loadBalancer": {}}
        assert address.startswith("10.96.")

    async def test_addresses_differ(self, client: KubeClient, space: str) -> None:
        addresses = {
            (await client.create(SERVICES, service(name), space))["spec"]["clusterIP"] for name in ("a", "b", "c")
        }
        assert len(addresses) == 3

    async def test_load_balancer_defaults(self, client: KubeClient, space: str) -> None:
        made = await client.create(SERVICES, service("one", *TWO_PORTS, type="LoadBalancer"), space)
        assert made["spec"]["allocateLoadBalancerNodePorts"] is True
        assert made["spec"]["externalTrafficPolicy"] == "Cluster"
        ports = _ports(made)
        assert len(set(ports.values())) == 2
        assert all(30000 <= port <= 32767 for port in ports.values())

    async def test_session_affinity(self, client: KubeClient, space: str) -> None:
        made = await client.create(SERVICES, service("one", sessionAffinity="ClientIP"), space)
        assert made["spec"]["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
        stored = await client.patch(SERVICES, "one", {"spec": {"sessionAffinity": "None"}}, space)
        assert "sessionAffinityConfig" not in stored["spec"]

    async def test_external_name(self, client: KubeClient, space: str) -> None:
        body = {"metadata": {"name": "one"}, "spec": {"type": "ExternalName", "externalName": "example.test"}}
        made = await client.create(SERVICES, body, space)
        assert made["spec"] == {"type": "ExternalName", "externalName": "example.test", "sessionAffinity": "None"}

    @pytest.mark.parametrize(("selector", "policy"), [({"a": "b"}, "SingleStack"), (None, "RequireDualStack")])
    async def test_headless(self, client: KubeClient, space: str, selector: Any, policy: str) -> None:
        extra = {"selector": selector} if selector else {}
        made = await client.create(SERVICES, service("one", clusterIP="None", **extra), space)
        assert made["spec"]["clusterIPs"] == ["None"]
        assert made["spec"]["ipFamilyPolicy"] == policy

    async def test_headless_without_ports(self, client: KubeClient, space: str) -> None:
        body = {"metadata": {"name": "one"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}}
        assert "ports" not in (await client.create(SERVICES, body, space))["spec"]

    async def test_no_node_ports_wanted(self, client: KubeClient, space: str) -> None:
        body = service("one", *TWO_PORTS, type="LoadBalancer", allocateLoadBalancerNodePorts=False)
        made = await client.create(SERVICES, body, space)
        assert _ports(made) == {"http": 0, "https": 0}

    async def test_turning_node_ports_off_keeps_them(self, client: KubeClient, space: str) -> None:
        made = await client.create(SERVICES, service("one", type="LoadBalancer"), space)
        stored = await client.patch(SERVICES, "one", {"spec": {"allocateLoadBalancerNodePorts": False}}, space)
        assert _ports(stored) == _ports(made)

    async def test_health_check_node_port(self, client: KubeClient, space: str) -> None:
        body = service("one", type="LoadBalancer", externalTrafficPolicy="Local")
        made = await client.create(SERVICES, body, space)
        number = made["spec"]["healthCheckNodePort"]
        assert 30000 <= number <= 32767
        assert number not in _ports(made).values()
        stored = await client.patch(SERVICES, "one", {"spec": {"externalTrafficPolicy": "Cluster"}}, space)
        assert "healthCheckNodePort" not in stored["spec"]

    async def test_replace_keeps_address_and_node_ports(self, client: KubeClient, space: str) -> None:
        made = await client.create(SERVICES, service("one", *TWO_PORTS, type="NodePort"), space)
        stored = await client.replace(SERVICES, service("one", *TWO_PORTS, type="NodePort"), space)
        assert stored["spec"] == made["spec"]
        assert stored["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    async def test_node_ports_are_kept_by_port_name(self, client: KubeClient, space: str) -> None:
        made = await client.create(SERVICES, service("one", *TWO_PORTS, type="NodePort"), space)
        before = _ports(made)
        renumbered = [{"name": "https", "port": 8443}, {"name": "http", "port": 8080}, {"name": "new", "port": 1}]
        after = _ports(await client.patch(SERVICES, "one", {"spec": {"ports": renumbered}}, space))
        assert {name: after[name] for name in before} == before
        assert after["new"] not in before.values()

    async def test_renamed_port_gets_another_node_port(self, client: KubeClient, space: str) -> None:
        before = _ports(await client.create(SERVICES, service("one", *TWO_PORTS, type="NodePort"), space))
        ports = [{"name": "web", "port": 80}, {"name": "https", "port": 443}]
        after = _ports(await client.patch(SERVICES, "one", {"spec": {"ports": ports}}, space))
        assert after["https"] == before["https"]
        assert 30000 <= after["web"] <= 32767

    async def test_node_port_of_an_unnamed_port_is_kept(self, client: KubeClient, space: str) -> None:
        before = _ports(await client.create(SERVICES, service("one", type="NodePort"), space))
        after = await client.patch(SERVICES, "one", {"spec": {"ports": [{"port": 8080, "protocol": "UDP"}]}}, space)
        assert _ports(after) == before

    async def test_node_ports_go_with_the_type(self, client: KubeClient, space: str) -> None:
        made = await client.create(SERVICES, service("one", *TWO_PORTS, type="LoadBalancer"), space)
        as_node_port = await client.patch(SERVICES, "one", {"spec": {"type": "NodePort"}}, space)
        assert _ports(as_node_port) == _ports(made)
        assert "allocateLoadBalancerNodePorts" not in as_node_port["spec"]
        plain = await client.patch(SERVICES, "one", {"spec": {"type": "ClusterIP"}}, space)
        assert _ports(plain) == {"http": 0, "https": 0}
        assert "externalTrafficPolicy" not in plain["spec"]
        assert plain["spec"]["clusterIP"] == made["spec"]["clusterIP"]

    async def test_two_protocols_of_one_port_share_a_node_port(self, client: KubeClient, space: str) -> None:
        ports = ({"name": "tcp", "port": 53, "protocol": "TCP"}, {"name": "udp", "port": 53, "protocol": "UDP"})
        found = _ports(await client.create(SERVICES, service("one", *ports, type="NodePort"), space))
        assert found["tcp"] == found["udp"]

    async def test_chosen_node_port(self, client: KubeClient, space: str) -> None:
        body = service("one", type="NodePort")
        taken = _ports(await client.create(SERVICES, body, space))[""]
        with pytest.raises(errors.Invalid, match="already allocated"):
            await client.create(SERVICES, service("two", {"port": 80, "nodePort": taken}, type="NodePort"), space)
        udp = {"port": 80, "nodePort": taken, "protocol": "UDP"}
        with pytest.raises(errors.Invalid, match="already allocated"):
            await client.create(SERVICES, service("two", udp, type="NodePort"), space)
        await client.delete(SERVICES, "one", space)
        made = await client.create(SERVICES, service("two", {"port": 80, "nodePort": taken}, type="NodePort"), space)
        assert _ports(made) == {"": taken}

    async def test_refused_creation_takes_nothing(self, client: KubeClient, space: str) -> None:
        probe = _ports(await client.create(SERVICES, service("one", type="NodePort"), space))[""]
        await client.delete(SERVICES, "one", space)
        bad = ({"name": "a", "port": 80, "nodePort": probe}, {"name": "b", "port": 81, "nodePort": 99})
        with pytest.raises(errors.Invalid):
            await client.create(SERVICES, service("one", *bad, type="NodePort"), space)
        await client.create(SERVICES, service("one", {"port": 80, "nodePort": probe}, type="NodePort"), space)

    @pytest.mark.parametrize(
        "spec",
        [
            {"clusterIP": "None", "type": "NodePort", "ports": [{"port": 80}]},
            {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 31000}]},
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            {"type": "Other", "ports": [{"port": 80}]},
            {"ports": [{"port": 0}]},
            {"ports": [{"port": 80}, {"port": 81}]},
            {"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]},
            {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]},
            {"ports": [{"port": 80, "protocol": "HTTP"}]},
            {"ports": []},
            {"type": "ExternalName"},
            {"sessionAffinity": "Cookie", "ports": [{"port": 80}]},
            {"loadBalancerClass": "kubelb", "ports": [{"port": 80}]},
            {"externalTrafficPolicy": "Local", "ports": [{"port": 80}]},
        ],
    )
    async def test_invalid(self, client: KubeClient, space: str, spec: Object) -> None:
        with pytest.raises(errors.Invalid):
            await client.create(SERVICES, {"metadata": {"name": "one"}, "spec": spec}, space)

    async def test_address_cannot_change(self, client: KubeClient, space: str) -> None:
        await client.create(SERVICES, service("one"), space)
        with pytest.raises(errors.Invalid):
            await client.patch(SERVICES, "one", {"spec": {"clusterIP": "10.96.200.200", "clusterIPs": None}}, space)

    async def test_load_balancer_class_cannot_change(self, client: KubeClient, space: str) -> None:
        body = service("one", type="LoadBalancer", loadBalancerClass="kubelb")
        await client.create(SERVICES, body, space)
        with pytest.raises(errors.Invalid):
            await client.patch(SERVICES, "one", {"spec": {"loadBalancerClass": "other"}}, space)
        plain = await client.patch(SERVICES, "one", {"spec": {"type": "ClusterIP"}}, space)
        assert "loadBalancerClass" not in plain["spec"]

    async def test_class_cannot_be_set_later(self, client: KubeClient, space: str) -> None:
        await client.create(SERVICES, service("one", type="LoadBalancer"), space)
        with pytest.raises(errors.Invalid):
            await client.patch(SERVICES, "one", {"spec": {"loadBalancerClass": "kubelb"}}, space)

    async def test_name_must_be_a_dns_label(self, client: KubeClient, space: str) -> None:
        for name in ("a.b", "x" * 64, "UPPER"):
            with pytest.raises(errors.Invalid):
                await client.create(SERVICES, service(name), space)

    async def test_generation(self, client: KubeClient, space: str) -> None:
        """Services have no generation: nobody may wait for an observedGeneration of theirs."""
        await client.create(SERVICES, service("one"), space)
        stored = await client.patch(SERVICES, "one", {"spec": {"ports": [{"port": 81}]}}, space)
        assert "generation" not in stored["metadata"]
