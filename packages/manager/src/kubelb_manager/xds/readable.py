"""Tables of resources for people: messages as mappings, what `Any`s hold included."""

from __future__ import annotations

import json
from typing import Any

from kubelb_manager.xds import protos as pb
from kubelb_manager.xds.resources import CLUSTER, ENDPOINTS, EXTENSIONS, LISTENER, ROUTES, RUNTIME, ResourceTable

MESSAGES = {
    CLUSTER: pb.Cluster,
    ENDPOINTS: pb.ClusterLoadAssignment,
    RUNTIME: pb.Runtime,
    EXTENSIONS: pb.TypedExtensionConfig,
    LISTENER: pb.Listener,
    ROUTES: pb.RouteConfiguration,
}


def readable(table: ResourceTable) -> dict[str, list[Any]]:
    """Return the messages of a table by type, in the table's order, with the field names of Envoy's documentation."""
    shown = {
        url.rpartition(".")[2]: [
            pb.MessageToDict(MESSAGES[url].FromString(each.body), preserving_proto_field_name=True)
            for each in table[url].values()
        ]
        for url in MESSAGES
    }
    plain: dict[str, list[Any]] = json.loads(json.dumps(shown))  # no OrderedDicts
    return plain
