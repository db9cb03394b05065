"""What an API server does to a Service: defaults, kept values, allocation, validation.

Order on a write: values that the type no longer needs are dropped, values the caller left out are
kept from the old object (node ports by port name), the rest is defaulted, everything is checked, and
only then addresses and node ports are taken, so a refused write takes nothing. Which ports are taken
is read from the stored Services each time; a deleted Service frees its ports at once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kubelb_common.kube.port import Object
from kubelb_common.kube.resources import SERVICES
from kubelb_common.testing.fake import errors

NODE_PORT_FIRST, NODE_PORT_LAST = 30000, 32767
NODE_PORT_DYNAMIC = 30086  # below is the band that the allocator uses last
_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_EXTERNAL = ("NodePort", "LoadBalancer")
_PROTOCOLS = ("TCP", "UDP", "SCTP")


class ServiceAdmission:
    """Defaults, checks and allocation for Services of one fake cluster."""

    def __init__(self, cidr: str, stored: Callable[[], Iterable[Object]]) -> None:
        self._network = ipaddress.ip_network(cidr)
        self._stored = stored

    def admit(self, new: Object, old: Object | None) -> None:
        """Complete `new` in place; raises Invalid."""
        spec = new.setdefault("spec", {})
        _default_type(spec)
        if old is not None:
            _drop_unneeded(spec, old["spec"])
            _keep_values(spec, old["spec"])
        _default(spec)
        name = new["metadata"]["name"]
        others = [item for item in self._stored() if item["metadata"]["uid"] != new["metadata"]["uid"]]
        taken_ports = set(_used_ports(others))
        taken_ips = {ip for item in others for ip in item["spec"].get("clusterIPs") or ()}
        faults = [*_faults(spec, old and old["spec"]), *_port_faults(spec), *_taken(spec, taken_ports, taken_ips)]
        if faults:
            raise errors.invalid(SERVICES, name, *faults)
        self._allocate_ip(spec, taken_ips)
        _allocate_ports(new, taken_ports, share=old is None)

    def _allocate_ip(self, spec: Object, taken: set[str]) -> None:
        if spec["type"] == "ExternalName":
            return
        if not spec.get("clusterIP"):
            first = int(self._network.network_address)
            free = (str(ipaddress.ip_address(first + n)) for n in range(10, self._network.num_addresses - 1))
            spec["clusterIP"] = next(ip for ip in free if ip not in taken)
        spec["clusterIPs"] = [spec["clusterIP"]]


def wants_node_ports(spec: Object) -> bool:
    """Whether the API server allocates node ports for this spec."""
    kind = spec["type"]
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False)


def _default_type(spec: Object) -> None:
    spec.setdefault("type", "ClusterIP")
    if spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True


def _drop_unneeded(spec: Object, old: Object) -> None:
    """Clear what belonged to the old type, where the caller left it unchanged."""
    if old["type"] in _EXTERNAL and spec["type"] not in _EXTERNAL:
        if _node_ports(spec) <= _node_ports(old):
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
        _drop_same(spec, old, "externalTrafficPolicy", "healthCheckNodePort")
    if old["type"] == "LoadBalancer" and spec["type"] != "LoadBalancer":
        _drop_same(spec, old, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if _health_check(old) and not _health_check(spec):
        _drop_same(spec, old, "healthCheckNodePort")
    if old["type"] != "ExternalName" and spec["type"] == "ExternalName":
        _drop_same(spec, old, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")


def _drop_same(spec: Object, old: Object, *fields: str) -> None:
    for field in fields:
        if spec.get(field) == old.get(field):
            spec.pop(field, None)


def _keep_values(spec: Object, old: Object) -> None:
    if spec["type"] != "ExternalName" and old["type"] != "ExternalName" and not spec.get("clusterIP"):
        spec["clusterIP"] = old.get("clusterIP", "")
    if spec["type"] in _EXTERNAL and old["type"] in _EXTERNAL:
        used = _node_ports(spec) & _node_ports(old)
        by_name = {port.get("name", ""): port["nodePort"] for port in old.get("ports") or () if port.get("nodePort")}
        for port in spec.get("ports") or ():
            before = by_name.get(port.get("name", ""))
            if not port.get("nodePort") and before and before not in used:
                port["nodePort"] = before
                used.add(before)
    if _health_check(spec) and _health_check(old) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort")


def _default(spec: Object) -> None:
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", 10800)
    else:
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port["protocol"] = port.get("protocol") or "TCP"
        port["targetPort"] = port.get("targetPort") or port.get("port")
        if not port.get("nodePort"):
            port.pop("nodePort", None)
    if spec["type"] in _EXTERNAL:
        spec["externalTrafficPolicy"] = spec.get("externalTrafficPolicy") or "Cluster"
    if spec["type"] != "ExternalName":
        spec["internalTrafficPolicy"] = spec.get("internalTrafficPolicy") or "Cluster"
        spec["ipFamilies"] = spec.get("ipFamilies") or ["IPv4"]
        spec["ipFamilyPolicy"] = spec.get("ipFamilyPolicy") or _family_policy(spec)
    spec.pop("ports", None) if spec.get("ports") == [] else None


def _family_policy(spec: Object) -> str:
    without_selector = spec.get("clusterIP") == "None" and not spec.get("selector")
    return "RequireDualStack" if without_selector else "SingleStack"


def _faults(spec: Object, old: Object | None) -> Iterator[str]:
    kind = spec["type"]
    if kind not in _TYPES:
        yield f'spec.type: Unsupported value: "{kind}": supported values: {", ".join(_TYPES)}'
    yield from _address_faults(spec)
    if spec["sessionAffinity"] not in {"None", "ClientIP"}:
        yield f'spec.sessionAffinity: Unsupported value: "{spec["sessionAffinity"]}"'
    if kind != "LoadBalancer":
        for field in ("loadBalancerClass", "allocateLoadBalancerNodePorts"):
            if spec.get(field) is not None:
                yield f"spec.{field}: Forbidden: may only be used when `type` is 'LoadBalancer'"
    if kind not in _EXTERNAL and spec.get("externalTrafficPolicy"):
        yield "spec.externalTrafficPolicy: Invalid value: may only be set for externally-accessible services"
    if old is not None:
        yield from _change_faults(spec, old)


def _address_faults(spec: Object) -> Iterator[str]:
    kind, headless = spec["type"], spec.get("clusterIP") == "None"
    if headless and kind in _EXTERNAL:
        yield f"spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for {kind} services"
    if kind == "ExternalName":
        if not spec.get("externalName"):
            yield "spec.externalName: Required value"
        if spec.get("clusterIP"):
            yield "spec.clusterIPs: Invalid value: may not be set for ExternalName services"
    elif not spec.get("ports") and not headless:
        yield "spec.ports: Required value"


def _change_faults(spec: Object, old: Object) -> Iterator[str]:
    before, after = old.get("clusterIP"), spec.get("clusterIP")
    if old["type"] != "ExternalName" and spec["type"] != "ExternalName" and before and after != before:
        yield f'spec.clusterIPs[0]: Invalid value: "{after}": may not change once set'
    both = old["type"] == "LoadBalancer" and spec["type"] == "LoadBalancer"
    if both and spec.get("loadBalancerClass") != old.get("loadBalancerClass"):
        yield "spec.loadBalancerClass: Invalid value: may not change once set"


def _port_faults(spec: Object) -> Iterator[str]:
    ports: list[Object] = spec.get("ports") or []
    names: set[str] = set()
    pairs: set[tuple[Any, Any]] = set()
    node_ports: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        name, number, protocol = port.get("name", ""), port.get("port"), port["protocol"]
        if not name and len(ports) > 1:
            yield f"{where}.name: Required value"
        if name and name in names:
            yield f'{where}.name: Duplicate value: "{name}"'
        if not isinstance(number, int) or not 1 <= number <= 65535:
            yield f"{where}.port: Invalid value: {number}: must be between 1 and 65535, inclusive"
        if protocol not in _PROTOCOLS:
            yield f'{where}.protocol: Unsupported value: "{protocol}": supported values: {", ".join(_PROTOCOLS)}'
        if (protocol, number) in pairs:
            yield f"{where}: Duplicate value: {number}/{protocol}"
        names.add(name)
        pairs.add((protocol, number))
        if node_port := port.get("nodePort"):
            if spec["type"] in {"ClusterIP", "ExternalName"}:
                yield f"{where}.nodePort: Forbidden: may not be used when `type` is '{spec['type']}'"
            if (protocol, node_port) in node_ports:
                yield f"{where}.nodePort: Duplicate value: {node_port}"
            node_ports.add((protocol, node_port))


def _taken(spec: Object, ports: set[int], ips: set[str]) -> Iterator[str]:
    for index, port in enumerate(spec.get("ports") or ()):
        if not (number := port.get("nodePort")):
            continue
        where = f"spec.ports[{index}].nodePort: Invalid value: {number}:"
        if not NODE_PORT_FIRST <= number <= NODE_PORT_LAST:
            yield f"{where} provided port is not in the valid range. The range of valid ports is 30000-32767"
        elif number in ports:
            yield f"{where} provided port is already allocated"
    address = spec.get("clusterIP")
    if address and address != "None" and address in ips:
        yield f'spec.clusterIPs: Invalid value: ["{address}"]: failed to allocate IP {address}: already allocated'


def _allocate_ports(service: Object, taken: set[int], *, share: bool) -> None:
    """Give every port without a node port one; at creation the same port number shares one over protocols."""
    spec = service["spec"]
    ports = spec.get("ports") or ()
    used = taken | _node_ports(spec)
    if wants_node_ports(spec):
        shared: dict[int, tuple[int, set[str]]] = {}
        for port in ports:
            if "nodePort" not in port:
                number, protocols = shared.get(port["port"], (0, set[str]()))
                reusable = share and number and port["protocol"] not in protocols
                port["nodePort"] = number if reusable else _free_port(service, used)
            used.add(port["nodePort"])
            shared.setdefault(port["port"], (port["nodePort"], set()))[1].add(port["protocol"])
    if _health_check(spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = _free_port(service, used)


def _free_port(service: Object, used: set[int]) -> int:
    order: tuple[int, ...] = (*range(NODE_PORT_DYNAMIC, NODE_PORT_LAST + 1), *range(NODE_PORT_FIRST, NODE_PORT_DYNAMIC))
    for number in order:
        if number not in used:
            used.add(number)
            return number
    why = "failed to allocate a nodePort: range is full"
    raise errors.internal(f'Service "{service["metadata"]["name"]}": {why}')


def _used_ports(services: Iterable[Object]) -> Iterator[int]:
    for service in services:
        yield from _node_ports(service["spec"])
        if number := service["spec"].get("healthCheckNodePort"):
            yield number


def _node_ports(spec: Object) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}


def _health_check(spec: Object) -> bool:
    return spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"
