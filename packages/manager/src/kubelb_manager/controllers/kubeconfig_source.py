"""Where tenants reach the management cluster's API server."""

from __future__ import annotations

import yaml

from kubelb_common.faults import Fault
from kubelb_common.kube import resources
from kubelb_common.kube.errors import NotFound
from kubelb_common.kube.port import KubeClient
from kubelb_common.objects import view


async def server(client: KubeClient) -> str:
    """Return the API server's URL as it is known outside the cluster.

    From ConfigMap `kube-public/cluster-info` (kubeadm writes it), else the first address of
    EndpointSlice `default/kubernetes`.

    Raises:
        Fault: neither says where the API server is.
    """
    try:
        info = await client.get(resources.CONFIG_MAPS, "cluster-info", "kube-public")
    except NotFound:
        info = {}
    found = _from_cluster_info(view.text(info, "data", "kubeconfig"))
    if found:
        return found
    try:
        piece = await client.get(resources.ENDPOINT_SLICES, "kubernetes", "default")
    except NotFound:
        piece = {}
    address = view.text(piece, "endpoints", 0, "addresses", 0)
    port = next((item.get("port") for item in view.objects(piece, "ports") if item.get("name") == "https"), None)
    if not address or not port:
        raise Fault(
            "no address of the API server for tenants: neither ConfigMap kube-public/cluster-info nor "
            "EndpointSlice default/kubernetes names one"
        )
    return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"


def _from_cluster_info(text: str) -> str:
    try:
        parsed = yaml.safe_load(text) if text else None
    except yaml.YAMLError:
        return ""
    return view.text(parsed, "clusters", 0, "cluster", "server") if isinstance(parsed, dict) else ""
