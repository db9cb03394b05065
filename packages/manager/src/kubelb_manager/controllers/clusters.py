"""Whether more than one cluster exports under a tenant (ruling 21)."""

from __future__ import annotations

from collections.abc import Iterable

from kubelb_common import names
from kubelb_common.kube.port import Object
from kubelb_common.objects import view
from kubelb_common.runtime.store import Change
from kubelb_manager.translate.result import Verdict

ONE_CLUSTER = "OneCluster"
_NAMED = 5


def verdict(home: str, addresses: Iterable[Object]) -> Verdict:
    """Return the condition of a Tenant with these Addresses in its namespace `home`: each cluster writes its own."""
    clusters = sorted({cluster for item in addresses if (cluster := _cluster(item))})
    if len(clusters) < 2:
        return Verdict(ONE_CLUSTER, "True", "OneCluster", "The tenant's objects come from one cluster.")
    more = f" and {len(clusters) - _NAMED} more" if len(clusters) > _NAMED else ""
    text = (
        f"{len(clusters)} clusters use this tenant's credential: {', '.join(clusters[:_NAMED])}{more}. Each keeps to "
        "its own objects. Make a Tenant for each; of a cluster that is gone, remove what it left: kubectl -n "
        f"{home} delete routes,loadbalancers,syncsecrets,addresses -l {names.LABEL_ORIGIN_CLUSTER}=<cluster>"
    )
    return Verdict(ONE_CLUSTER, "False", "SeveralClusters", text)


def moved(change: Change) -> bool:
    """Whether a change of an Addresses object may change the verdict."""
    old, new = (None if item is None else _cluster(item) for item in change)
    return old != new


def _cluster(item: Object) -> str:
    return view.labels(item).get(names.LABEL_ORIGIN_CLUSTER, "")
