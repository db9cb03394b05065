"""Structures that several kinds share: metadata, conditions, endpoints, references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kubelb_common.api.codecs import IntOrString, Raw
from kubelb_common.api.record import CelRule, Record, field, record

PORT_RANGE = {"minimum": 1, "maximum": 65535}
PROTOCOL = {"enum": ["TCP", "UDP"]}
_CONDITION_TYPE = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
)
_CONDITION_REASON = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
#: A condition list is keyed by type, so two writers of different types don't overwrite each other.
CONDITION_LIST = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


@record
class ObjectMeta(Record):
    """The part of an object's metadata that we look at; times are RFC 3339 strings."""

    name: str = field(default="")
    namespace: str = field(default="")
    uid: str = field(default="")
    resource_version: str = field(default="")
    generation: int | None = field(default=None)
    creation_timestamp: str = field(default="")
    deletion_timestamp: str = field(default="")
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = field(default=())
    owner_references: tuple[Raw, ...] = field(default=())

    @property
    def deleting(self) -> bool:
        """Whether deletion was asked for."""
        return bool(self.deletion_timestamp)


@record
class Condition(Record):
    """One observed aspect of the object's state, as in the Kubernetes API conventions."""

    type: str = field(
        "Type of the condition in CamelCase, with a domain prefix where it is not ours.",
        schema={"maxLength": 316, "pattern": _CONDITION_TYPE},
    )
    status: str = field("Whether the condition holds.", schema={"enum": ["True", "False", "Unknown"]})
    reason: str = field(
        "The machine-readable reason for the last transition.",
        default="",
        required=True,
        schema={"minLength": 1, "maxLength": 1024, "pattern": _CONDITION_REASON},
    )
    message: str = field("The same for people.", default="", required=True, schema={"maxLength": 32768})
    last_transition_time: str = field(
        "When the status last changed.", default="", required=True, schema={"format": "date-time"}
    )
    observed_generation: int | None = field(
        "The generation of the object that the condition was found for.",
        default=None,
        schema={"format": "int64", "minimum": 0},
    )


@record
class ObjectReference(Record):
    """A reference to an object; which fields count is said where it is used."""

    schema: ClassVar[Mapping[str, Any]] = {"x-kubernetes-map-type": "atomic"}

    api_version: str = field("API version of the referent.", default="")
    kind: str = field("Kind of the referent.", default="")
    namespace: str = field("Namespace of the referent.", default="")
    name: str = field("Name of the referent.", default="")
    uid: str = field("UID of the referent.", default="")
    resource_version: str = field("A resourceVersion to which the reference is made, if any.", default="")
    field_path: str = field("A piece of the referent, if not the whole object is meant.", default="")


@record
class EndpointAddress(Record):
    """One address of a tenant's node or endpoint; `ip` wins if both fields are set."""

    cel: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            # Compared, not measured: with size() the API server's cost estimate exceeds its budget.
            "(has(self.ip) && self.ip != '') || (has(self.hostname) && self.hostname != '')",
            "ip or hostname must be set",
        ),
    )

    ip: str = field("IPv4 or IPv6 address. A host name is tolerated: content decides, not the field.", default="")
    hostname: str = field("Host name; resolved by the manager.", default="")

    @property
    def address(self) -> str:
        """The address that counts: `ip`, else `hostname`."""
        return self.ip or self.hostname


@record
class EndpointPort(Record):
    """A port at which the endpoints answer."""

    name: str = field("Name of the port; joins it to the LoadBalancer's port of that name.", default="")
    port: int = field("Port number at the endpoint.", schema=PORT_RANGE)
    protocol: str = field("Protocol; TCP if not given.", default="", schema=PROTOCOL)


@record
class LoadBalancerEndpoints(Record):
    """A set of endpoints: every address combined with every port."""

    name: str = field("Name of the set.", default="")
    addresses: tuple[EndpointAddress, ...] = field("Addresses given in place.", default=(), schema={"minItems": 1})
    addresses_reference: ObjectReference | None = field(
        "An Addresses object of the same namespace by its name; it replaces `addresses`.", default=None
    )
    ports: tuple[EndpointPort, ...] = field("Ports of the endpoints.", default=(), schema={"minItems": 1})


@record
class ServicePort(Record):
    """A port of a Service, as in the core API."""

    name: str = field("Name of the port.", default="")
    protocol: str = field("Protocol of the port.", default="TCP", schema={"default": "TCP"})
    app_protocol: str = field("Application protocol, as in the core API.", default="")
    port: int = field("The port that clients connect to.")
    target_port: IntOrString | None = field(
        "The Envoy port that was allocated; allocation is read back from here after a restart.", default=None
    )
    node_port: int | None = field("The node port.", default=None)


@record
class Empty(Record):
    """A structure without fields."""
