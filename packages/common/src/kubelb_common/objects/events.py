"""Events (core/v1): one line for people beside the object that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubelb_common.objects import view
from kubelb_common.objects.view import Object

_NAME_MAX = 200
#: What the API server accepts as a message.
MESSAGE_MAX = 1024
#: Where Events about cluster-scoped objects go.
CLUSTER_NAMESPACE = "default"


def warning(obj: Mapping[str, Any], reason: str, message: str, *, key: str, component: str, now: str) -> Object:
    """Return an Event of type Warning.

    Args:
        obj: what it is about.
        reason: a CamelCase word.
        message: for people; cut at what the API server accepts.
        key: makes the name: equal keys about one object are one Event.
        component: who says so.
        now: RFC 3339 time.
    """
    namespace = view.namespace(obj) or CLUSTER_NAMESPACE
    about = {
        "apiVersion": view.text(obj, "apiVersion"),
        "kind": view.kind(obj),
        "name": view.name(obj),
        "namespace": view.namespace(obj),
        "uid": view.uid(obj),
        "resourceVersion": view.resource_version(obj),
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{view.name(obj)[:_NAME_MAX]}.{key}", "namespace": namespace},
        "involvedObject": {name: value for name, value in about.items() if value},
        "type": "Warning",
        "reason": reason,
        "message": message[:MESSAGE_MAX],
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": component,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
