"""Who wrote what: the API servers' audit logs (ruling 35)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from kubelb_e2e.clusters.base import Lab

_WRITES = ("create", "update", "patch", "delete", "deletecollection")
_ACCOUNTS = ("kubelb-manager", "kubelb-ccm")


class Write(NamedTuple):
    """One completed write request."""

    cluster: str
    user: str
    verb: str
    resource: str
    name: str
    code: int
    #: The pod's name, or the address that the request came from.
    source: str = ""


def writes(path: Path, cluster: str) -> Iterable[Write]:
    """Return the completed writes in an audit log, in order."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [_write(event, cluster) for line in lines if (event := _completed(line)) is not None]


def writes_of_agents(lab: Lab) -> list[Write]:
    """Return what manager and CCMs wrote in all clusters, Lease renewals apart."""
    found: list[Write] = []
    for cluster in lab.cluster_names:
        for write in writes(lab.audit_log(cluster), cluster):
            account = write.user.rpartition(":")[2]
            if account in _ACCOUNTS and write.resource != "leases":
                found.append(write)
    return found


def _completed(line: str) -> dict[str, Any] | None:
    try:
        event: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None  # the line that is being written
    return event if event.get("stage") == "ResponseComplete" and event.get("verb") in _WRITES else None


def _write(event: dict[str, Any], cluster: str) -> Write:
    target = event.get("objectRef") or {}
    place = "/".join(filter(None, (target.get("namespace"), target.get("name"))))
    resource = "/".join(filter(None, (target.get("resource"), target.get("subresource"))))
    return Write(
        cluster,
        (event.get("user") or {}).get("username", ""),
        event["verb"],
        resource,
        place,
        (event.get("responseStatus") or {}).get("code", 0),
        _source(event),
    )


def _source(event: dict[str, Any]) -> str:
    extra = (event.get("user") or {}).get("extra") or {}
    found = extra.get("authentication.kubernetes.io/pod-name") or event.get("sourceIPs") or [""]
    return str(found[0])
