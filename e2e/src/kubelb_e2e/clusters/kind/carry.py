"""Images of the catalogue onto the nodes that run them."""

from __future__ import annotations

from collections.abc import Iterable

from kubelb_e2e.clusters.base import MANAGEMENT
from kubelb_e2e.errors import LabError
from kubelb_e2e.images import build

#: What runs only in the management cluster, and what only in tenants; the rest of the catalogue is for all.
_MANAGEMENT = ("kubelb/manager", "kubelb/envoy", "kubelb/standin")
_TENANT = ("kubelb/ccm",)


def wanted(cluster: str, names: Iterable[str]) -> list[str]:
    """Return which images of the catalogue a cluster needs, in order."""
    elsewhere = _TENANT if cluster == MANAGEMENT else _MANAGEMENT
    return [name for name in names if name.partition(":")[0] not in elsewhere]


def check() -> list[str]:
    """Return the catalogue's images; raises LabError if one was not built."""
    if missing := build.missing():
        raise LabError(f"not built yet: {', '.join(missing)}; build them: make images")
    return list(build.names())
