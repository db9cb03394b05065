"""Which kinds the agent serves, as it was told: the one list of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kubelb_ccm.controllers.lifecycle import Kind
from kubelb_ccm.controllers.local_nodes import LocalNodes
from kubelb_ccm.controllers.service import ServiceKind
from kubelb_ccm.controllers.source import SourceKind
from kubelb_ccm.options import Options
from kubelb_ccm.sources.adapter import Adapter
from kubelb_ccm.sources.ingress import IngressAdapter
from kubelb_common import names
from kubelb_common.kube import resources
from kubelb_common.kube.port import Resource


@dataclass(frozen=True, slots=True)
class Served:
    """One kind of the tenant's objects, and what it is exported as.

    Attributes:
        name: of its controller.
        kind: what differs between kinds.
        exported: the kind in the management cluster.
        origin_kind: label of its exports; None for a kind that is exported without that label.
        own_annotations: annotations of exports are ours alone, see `export.merge`.
    """

    name: str
    kind: Kind
    exported: Resource
    origin_kind: str | None
    own_annotations: bool


def served(options: Options, local_nodes: LocalNodes | None = None) -> Iterator[Served]:
    """Return the kinds that these options ask for; who serves them needs `local_nodes` (see `ServiceKind`)."""
    service = ServiceKind(
        use_class=options.use_loadbalancer_class,
        cloud_provider=options.enable_cloud_provider,
        local_nodes=local_nodes,
    )
    yield Served("service", service, resources.LOAD_BALANCERS, None, own_annotations=True)
    if not options.disable_ingress_controller:
        yield _route("ingress", resources.INGRESSES, IngressAdapter(use_class=options.use_ingress_class))


def _route(name: str, resource: Resource, adapter: Adapter) -> Served:
    origin_kind = names.origin_kind(adapter.kind, adapter.group)
    return Served(name, SourceKind(resource, adapter), resources.ROUTES, origin_kind, own_annotations=False)
