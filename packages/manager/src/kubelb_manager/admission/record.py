"""The persisted record of host claims: what an entry says, and where it stands.

Claims lie in ConfigMaps of the manager's namespace, `kubelb-host-claims-<number>`: a host's number follows from its
name, so 20,000 hosts are some 300 entries each, a new host rewrites one small object, and no object comes near the
API's limit of 1 MiB. Key: the host, `_` for `*`. Value: the Tenant's name, and once nothing of the tenant names the
host any more, the time since when: `primary` or `primary released 2026-01-31T12:00:00Z`. An admin may write here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_manager import untrusted
from kubelb_manager.desired import meta
from kubelb_manager.ir.model import Host

SHARDS = 64
_PREFIX = "kubelb-host-claims-"
_RELEASED = "released"


class Claim(NamedTuple):
    """Whose a host is. `released`: since when nothing of the tenant names it; None while something does."""

    tenant: str
    released: datetime | None = None


def object_name(host: Host) -> str:
    """Return the name of the ConfigMap that a host's claim stands in."""
    return f"{_PREFIX}{int(names.digest(host), 16) % SHARDS}"


def key(host: Host) -> str:
    """Return the key of a host's entry."""
    return host.replace("*", "_", 1)


def said(claim: Claim) -> str:
    """Return the text of an entry."""
    if claim.released is None:
        return claim.tenant
    return f"{claim.tenant} {_RELEASED} {view.format_time(claim.released)}"


def read(data: Any) -> Iterator[tuple[Host, Claim]]:
    """Yield the claims in a ConfigMap's `data`; what is no claim is left out."""
    for name, text in untrusted.string_items(data):
        claim = _claim(text)
        if claim is not None:
            yield Host(name.replace("_", "*", 1)), claim


def _claim(text: str) -> Claim | None:
    tenant, *rest = text.split()[:3] or [""]
    if not untrusted.is_object_name(tenant):
        return None
    if not rest:
        return Claim(tenant)
    released = view.parse_time(rest[1]) if len(rest) == 2 and rest[0] == _RELEASED else None
    return None if released is None else Claim(tenant, released)


def written(changes: Mapping[Host, Claim | None]) -> dict[str, dict[str, str | None]]:
    """Return changes as merge patches of `data`, by the ConfigMap's name; None removes an entry."""
    patches: dict[str, dict[str, str | None]] = {}
    for host, claim in sorted(changes.items()):
        patches.setdefault(object_name(host), {})[key(host)] = None if claim is None else said(claim)
    return patches


def config_map(name: str, namespace: str, data: Mapping[str, str | None]) -> Object:
    """Return a new object of the record with these entries."""
    labels = {**meta.managed_labels(), names.LABEL_RECORD: names.HOST_CLAIMS}
    out = meta.obj("v1", "ConfigMap", name, namespace, labels=labels)
    return {**out, "data": {key: text for key, text in data.items() if text is not None}}
