"""Route: a tenant's layer 7 object (or layer 4 Gateway API route), named by the UID of its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kubelb_common import names
from kubelb_common.api.codecs import Raw
from kubelb_common.api.kind import AGE, Column, Kind, KindInfo, label_column
from kubelb_common.api.meta import CONDITION_LIST, Condition, LoadBalancerEndpoints, ServicePort
from kubelb_common.api.record import Record, field, record

_PRESERVE = {"x-kubernetes-preserve-unknown-fields": True}
_NAMED_OBJECT = {
    **_PRESERVE,
    "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}},
}


@record
class RouteContext(Record):
    """Facts that only the tenant's cluster knows; evidence within this tenant and nowhere else.

    The agent reports and decides nothing. Each fact is sent once where it belongs, not copied into each Route.
    """

    schema: ClassVar[Mapping[str, Any]] = _PRESERVE

    generation: int | None = field(
        "The source object's generation that this Route was made from.",
        default=None,
        schema={"format": "int64", "minimum": 0},
    )
    cluster: str = field("Identity of the tenant's cluster: the UID of its namespace kube-system.", default="")
    namespaces: Mapping[str, Mapping[str, str]] = field(
        "Labels of the namespaces involved, by namespace.", default_factory=dict
    )
    reference_grants: tuple[Raw, ...] = field(
        "ReferenceGrants that name the objects involved.", default=(), schema={"items": _PRESERVE}
    )
    endpoint_nodes: Mapping[str, tuple[str, ...]] = field(
        "Names of the nodes that host a ready endpoint, by `<namespace>/<service>`; only where it matters.",
        default_factory=dict,
    )
    config_maps: tuple[Raw, ...] = field("CA bundles that policies refer to.", default=(), schema={"items": _PRESERVE})


@record
class KubernetesSource(Record):
    """Objects of the tenant's cluster, as far as they are needed."""

    resource: Raw = field(
        "The source object: apiVersion, kind, spec and the metadata that matters. Ingress, Gateway, HTTPRoute, "
        "GRPCRoute, TLSRoute, TCPRoute, UDPRoute or BackendTLSPolicy.",
        default_factory=dict,
        schema=_NAMED_OBJECT,
    )
    services: tuple[Raw, ...] = field(
        "The Services it uses, with their node ports.", default=(), schema={"items": _PRESERVE}
    )
    context: RouteContext = field("Facts that only the tenant's cluster knows.", default_factory=RouteContext)


@record
class RouteSource(Record):
    """Where a Route comes from."""

    kubernetes: KubernetesSource | None = field("A Kubernetes cluster.", default=None)


@record
class RouteSpec(Record):
    """What the tenant asks for."""

    endpoints: tuple[LoadBalancerEndpoints, ...] = field(
        "Where the tenant's cluster answers.", default=(), required=True, schema={"minItems": 1}
    )
    source: RouteSource = field("The source object.", default_factory=RouteSource)


@record
class ResourceState(Record):
    """State of a copy in the management cluster, or of the source as we serve it."""

    api_version: str = field("API version of the object.", default="")
    kind: str = field("Kind of the object.", default="")
    name: str = field("Name in the tenant's cluster.", default="")
    namespace: str = field("Namespace in the tenant's cluster.", default="")
    generated_name: str = field("Name in the management cluster.", default="")
    status: Raw = field(
        "Status of the object, strictly in its kind's own form.", default_factory=dict, schema=_PRESERVE
    )
    conditions: tuple[Condition, ...] = field("State of the copy.", default=(), schema=CONDITION_LIST)


@record
class RouteServiceStatus(ResourceState):
    """State of a tenant's Service that some Envoy still has a cluster for."""

    ports: tuple[ServicePort, ...] = field("Its ports.", default=())


@record
class RouteResourcesStatus(Record):
    """State of the objects behind a Route."""

    source: str = field("Unused.", default="")
    services: Mapping[str, RouteServiceStatus] = field(
        "Services in use, by `<namespace>/<name>` in the tenant's cluster.", default_factory=dict
    )
    route: ResourceState | None = field("The source object.", default=None)


@record
class RouteStatus(Record):
    """What the manager found and did."""

    resources: RouteResourcesStatus = field("State of the objects.", default_factory=RouteResourcesStatus)
    conditions: tuple[Condition, ...] = field(
        "Accepted, ResolvedRefs and Programmed.", default=(), schema=CONDITION_LIST
    )


@record
class Route(Kind):
    """An application-level route that a tenant asks for; its name is the UID of the source object."""

    info: ClassVar[KindInfo] = KindInfo(
        "Route",
        "routes",
        "route",
        columns=(
            label_column("OriginName", names.LABEL_ORIGIN_NAME),
            label_column("OriginNamespace", names.LABEL_ORIGIN_NAMESPACE),
            label_column("OriginResource", names.LABEL_ORIGIN_KIND),
            Column("Programmed", ".status.conditions[?(@.type=='Programmed')].status"),
            AGE,
        ),
    )

    kind: str = field(default="Route")
    spec: RouteSpec = field(default_factory=RouteSpec)
    status: RouteStatus = field(default_factory=RouteStatus)
