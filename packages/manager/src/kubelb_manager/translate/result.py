"""What a translation says: a part of the fleet, or why there is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from kubelb_common.kube.port import Object
from kubelb_common.objects.conditions import PARTIALLY_INVALID
from kubelb_manager.ir.model import Host, Part
from kubelb_manager.ports.table import PortKey

ACCEPTED = "Accepted"
RESOLVED_REFS = "ResolvedRefs"

#: Problems named in one message; the rest is counted.
_NAMED_PROBLEMS = 5


class Reason(StrEnum):
    """Why a condition has its status."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    NOT_ACCEPTED = "NotAccepted"

    # of a refusal
    UNSUPPORTED_KIND = "UnsupportedKind"
    INVALID_METADATA = "InvalidMetadata"
    INVALID_SPEC = "InvalidSpec"
    TOO_LARGE = "TooLarge"
    INVALID_HOST = "InvalidHost"
    HOST_NOT_ALLOWED = "HostNotAllowed"
    INVALID_PATH = "InvalidPath"
    INVALID_BACKEND = "InvalidBackend"
    INVALID_ADDRESS = "InvalidAddress"
    ADDRESS_NOT_ALLOWED = "AddressNotAllowed"
    PORT_NOT_ALLOWED = "PortNotAllowed"
    UNSUPPORTED_PROTOCOL = "UnsupportedProtocol"
    UNSUPPORTED_VALUE = "UnsupportedValue"
    NO_PORT_AVAILABLE = "NoPortAvailable"
    ADDRESS_NOT_USABLE = "AddressNotUsable"
    CLIENT_ADDRESS_UNKNOWN = "ClientAddressUnknown"
    DISABLED = "Disabled"
    LIMIT_EXCEEDED = "LimitExceeded"
    HOST_CLAIMED = "HostClaimed"

    # of an unresolved reference, beside some of the above
    BACKEND_NOT_FOUND = "BackendNotFound"
    PORT_NOT_FOUND = "PortNotFound"
    NO_NODE_PORT = "NoNodePort"
    ADDRESSES_NOT_FOUND = "AddressesNotFound"
    ADDRESS_NOT_RESOLVED = "AddressNotResolved"


class Problem(NamedTuple):
    """A reason and a sentence for the tenant, made of our words and cleaned names."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition without time and generation."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Translated:
    """All that follows from one object of the contract in one context.

    Attributes:
        part: what the object asks of its fleet; None if it is refused or nothing is left of it.
        verdicts: Accepted, then ResolvedRefs; always both. PartiallyInvalid if something has no effect.
        services: `namespace/name` of the tenant's Services whose clusters the part uses, sorted.
        copy: the object to make in the management cluster: for an Ingress its native copy, for a
            LoadBalancer the Service `envoy-<name>`. None: there must be no such object.
        hosts: what it names, whoever chooses by them.
        backends: Services of a delegated copy, which it names; they come before it.
        wants: ports of Envoy that a delegated object needs.
        listening: those of them that the part listens on; the others have no port yet.
    """

    part: Part | None
    verdicts: tuple[Verdict, ...]
    services: tuple[str, ...] = ()
    copy: Object | None = None
    hosts: frozenset[Host] = frozenset()
    backends: tuple[Object, ...] = ()
    wants: tuple[PortKey, ...] = ()
    listening: frozenset[PortKey] = frozenset()

    @property
    def pending(self) -> bool:
        """Whether a port of Envoy is still to be given."""
        return not self.listening.issuperset(self.wants)

    @property
    def accepted(self) -> bool:
        """Whether the object is accepted, whatever became of its references."""
        return self.verdicts[0].status == "True"


def refused(problem: Problem) -> Translated:
    """Return the result for an object of which nothing is used."""
    return Translated(
        part=None,
        verdicts=(
            Verdict(ACCEPTED, "False", problem.reason, problem.message),
            Verdict(
                RESOLVED_REFS, "Unknown", Reason.NOT_ACCEPTED, "Not looked at, because the object is not accepted."
            ),
        ),
    )


def accepted(notes: Iterable[str] = ()) -> Verdict:
    """Return Accepted=True; `notes` are sentences about what is accepted without effect."""
    return Verdict(ACCEPTED, "True", Reason.ACCEPTED, " ".join(("The object is accepted.", *notes)))


def partially_invalid(problems: Iterable[Problem]) -> tuple[Verdict, ...]:
    """Return PartiallyInvalid=True with the first problem's reason and all sentences; nothing without problems."""
    distinct = list(dict.fromkeys(problems))
    if not distinct:
        return ()
    return (Verdict(PARTIALLY_INVALID, "True", distinct[0].reason, _sentences(distinct)),)


def resolved_refs(problems: Iterable[Problem]) -> Verdict:
    """Return ResolvedRefs: True without problems, else the first one's reason and all their sentences."""
    distinct = list(dict.fromkeys(problems))
    if not distinct:
        return Verdict(RESOLVED_REFS, "True", Reason.RESOLVED_REFS, "All references are resolved.")
    return Verdict(RESOLVED_REFS, "False", distinct[0].reason, _sentences(distinct))


def _sentences(problems: list[Problem]) -> str:
    text = " ".join(problem.message for problem in problems[:_NAMED_PROBLEMS])
    more = len(problems) - _NAMED_PROBLEMS
    return f"{text} And {more} more." if more > 0 else text
