"""The lab's network: a bridge, namespaces for control planes and nodes, routed pods.

    lab0 (bridge, 10.99.0.1/16)
     ├── <cluster>-control   eth0 10.99.0.(10+c)
     └── <node>              eth0 10.99.(10+c).(1+n) and LoadBalancer addresses
          └── p-<hash>       eth0 <pod address>/32, routed over a veth without a bridge

Nothing has a route to the outside: the lab's own namespace has no interface but this bridge. Nodes
route to pods of their own cluster only, and masquerade what their pods send elsewhere, so a foreign
pod address is unreachable and never seen.

Pods are not bridged: on a bridge, a ClusterIP that leads to a pod of the same node needs
`br_netfilter`, which an unprivileged user cannot load.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from kubelb_e2e.clusters import arp, ndp
from kubelb_e2e.clusters.local import netns
from kubelb_e2e.clusters.local.model import LAB_ADDRESS, LAB_ADDRESS6, PREFIX, PREFIX6, ClusterSpec, LabSpec, NodeSpec

BRIDGE = "lab0"
_BRIDGE_MAC = "02:99:00:00:00:01"
#: Next hop of every pod; nobody has this address, its neighbour entry is fixed.
_POD_GATEWAY = "169.254.1.1"
_GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
_POD_GATEWAY6 = "fe80::1"
#: Nobody else has an address of ours, and an interface that still asks for a second answers nobody.
_IPV6 = {
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
}
_FORWARDING6 = _IPV6 | {"net/ipv6/conf/all/forwarding": "1"}
_FORWARDING = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
}


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """A pod's network: the name of its namespace under /run/netns, and its addresses, IPv4 first."""

    netns: str
    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return self.addresses[0]


def create_lab(lab: LabSpec) -> None:
    """Create the bridge with the lab's own address and the DNS servers' addresses."""
    lines = [
        "link set lo up",
        f"link add {BRIDGE} address {_BRIDGE_MAC} type bridge stp_state 0 forward_delay 0",
        f"address add {LAB_ADDRESS}/{PREFIX} dev {BRIDGE}",
        *(f"address add {cluster.dns_address}/32 dev {BRIDGE}" for cluster in lab.clusters),
        *([f"address add {LAB_ADDRESS6}/{PREFIX6} dev {BRIDGE} nodad"] if lab.is_dual else []),
        f"link set {BRIDGE} up",
    ]
    netns.ip(lines)


def create_control(cluster: ClusterSpec) -> None:
    """Create the namespace of a cluster's control plane, with routes to the pods of its nodes."""
    netns.add(cluster.netns)
    _plug(cluster.netns, f"c{cluster.index}", cluster.api_address)
    netns.ip([f"route add {node.pod_cidr} via {node.address}" for node in cluster.nodes], cluster.netns)


def create_node(cluster: ClusterSpec, node: NodeSpec) -> None:
    """Create a node's namespace: address, forwarding, routes to the other nodes' pods, masquerade."""
    netns.add(node.netns)
    netns.sysctl(_FORWARDING | (_FORWARDING6 if node.address6 else {}), node.netns)
    _plug(node.netns, f"n{cluster.index}-{node.index}", *node.addresses)
    others = [other for other in cluster.nodes if other.name != node.name]
    netns.ip(
        [
            # A local process's packet to a ClusterIP is routed before kube-proxy rewrites it.
            *(f"route add {cidr} dev eth0" for cidr in node.service_cidrs),
            *(
                f"route add {cidr} via {address}"
                for other in others
                for cidr, address in zip(other.pod_cidrs, other.addresses, strict=True)
            ),
            # Pod addresses that no pod has: refuse at once instead of asking another cluster.
            *(f"route add unreachable {cidr}" for cidr in node.cluster_cidrs),
        ],
        node.netns,
    )
    netns.nft(_masquerade(node), node.netns)


def attach_pod(node: NodeSpec, pod_uid: str) -> PodNetwork:
    """Give a pod its network namespace and an address of each of the node's ranges; raises NetworkError.

    Called again for the same pod it returns what the pod has.
    """
    name, device = _pod_names(pod_uid)
    addresses = _pod_addresses(node, _allocate(node, pod_uid))
    if netns.exists(name):
        return PodNetwork(name, addresses)
    netns.add(name)
    if node.pod_cidr6:
        netns.sysctl(_IPV6, name)
    gateways = (_POD_GATEWAY, _POD_GATEWAY6)[: len(addresses)]
    netns.ip(
        [
            f"link add {device} address {_GATEWAY_MAC} type veth peer name eth0 netns {name}",
            f"link set {device} up",
            *(f"route add {_single(address)} dev {device}" for address in addresses),
        ],
        node.netns,
    )
    netns.ip(
        [
            *(f"address add {_single(address)} dev eth0{_at_once(address)}" for address in addresses),
            "link set eth0 up",
            f"route add {_POD_GATEWAY} dev eth0 scope link",
            *(f"neighbour add {gateway} lladdr {_GATEWAY_MAC} dev eth0 nud permanent" for gateway in gateways),
            *(f"route add default via {gateway} dev eth0" for gateway in gateways),
        ],
        name,
    )
    return PodNetwork(name, addresses)


def detach_pod(node: NodeSpec, pod_uid: str) -> None:
    """Take a pod's network away and free its address; nothing happens if it has none."""
    name, device = _pod_names(pod_uid)
    netns.ip([f"link del {device}"], node.netns, force=True)
    netns.delete(name)
    for file in _allocations(node).iterdir():
        if file.name != "last" and file.read_text() == pod_uid:
            file.unlink(missing_ok=True)


def put_address(node: NodeSpec, address: str) -> None:
    """Put a LoadBalancer address on a node and tell the neighbours; harmless if it is there."""
    netns.ip([f"address replace {_single(address)} dev eth0{_at_once(address)}"], node.netns)
    announce = ndp.announce if ":" in address else arp.announce
    netns.call(node.netns, lambda: announce("eth0", address))


def take_address(node: NodeSpec, address: str) -> None:
    """Take a LoadBalancer address from a node; harmless if it is not there."""
    netns.ip([f"address del {_single(address)} dev eth0"], node.netns, force=True)


def _single(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


def _at_once(address: str) -> str:
    """Nobody else in the lab has the address: no time to find out."""
    return " nodad" if ":" in address else ""


def _plug(name: str, port: str, *addresses: str) -> None:
    """Connect namespace `name` to the bridge as eth0 with these addresses, IPv4 first."""
    netns.ip(
        [
            f"link add {port} type veth peer name eth0 netns {name}",
            f"link set {port} master {BRIDGE}",
            f"link set {port} up",
        ]
    )
    lengths = (PREFIX, PREFIX6)
    added = [
        f"address add {address}/{length} dev eth0{_at_once(address)}"
        for address, length in zip(addresses, lengths, strict=False)
    ]
    netns.ip([*added, "link set eth0 up"], name)


def _masquerade(node: NodeSpec) -> str:
    return "".join(
        f"""
table {family} kubelb-lab {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "eth0" {family} saddr {cidr} {family} daddr != {cidr} masquerade
  }}
}}
"""
        for family, cidr in zip(("ip", "ip6"), node.cluster_cidrs, strict=False)
    )


def _pod_addresses(node: NodeSpec, address: str) -> tuple[str, ...]:
    """Return the addresses of a pod from its IPv4 address: in both ranges it has the same number."""
    if not node.pod_cidr6:
        return (address,)
    number = int(ipaddress.ip_address(address)) - int(ipaddress.ip_network(node.pod_cidr).network_address)
    return address, str(ipaddress.ip_network(node.pod_cidr6)[number])


def pod_netns(pod_uid: str) -> str:
    """Return the name of a pod's network namespace."""
    return _pod_names(pod_uid)[0]


def _pod_names(pod_uid: str) -> tuple[str, str]:
    short = hashlib.sha256(pod_uid.encode()).hexdigest()[:10]
    return f"p-{short}", f"v{short}"


def _allocations(node: NodeSpec) -> Path:
    folder = node.directory / "addresses"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _allocate(node: NodeSpec, pod_uid: str) -> str:
    """Return the pod's address; a new one goes round the range, so that a freed one is not reused at once."""
    folder = _allocations(node)
    for file in folder.iterdir():
        if file.name != "last" and file.read_text() == pod_uid:
            return file.name
    hosts = [str(host) for host in ipaddress.ip_network(node.pod_cidr).hosts()][1:]
    last = folder / "last"
    start = hosts.index(last.read_text()) + 1 if last.exists() else 0
    for address in hosts[start:] + hosts[:start]:
        try:
            with (folder / address).open("x") as file_object:
                file_object.write(pod_uid)
        except FileExistsError:
            continue
        last.write_text(address)
        return address
    raise netns.NetworkError(f"node {node.name}: all {len(hosts)} addresses of {node.pod_cidr} are in use")
